"""The dry run: a resolved plan as a document, and that document as text for people.

Both forms come from the one document, so that they cannot disagree. No value of an environment variable is in it.
"""

from __future__ import annotations

import os
import resource
import socket
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from sandrun.plan.format import KEEP, NICE_KEEP, UNLIMITED, Plan
from sandrun.primitives import caps, landlock, namespaces, view
from sandrun.report import SCHEMA, printable, protections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile

TTY_NAMES = ("inherit", "protected", "new-session", "pty")
WAYS = ("", "version 1", "version 2", "version 2, sandrun steps aside", "version 2, a scope of systemd")
"""By CGROUP_* of the plan's format."""
VIEW_NAMES = (
    *(
        "tree",
        "bind",
        "tmpfs",
        "proc",
        "devpts",
        "overlay",
        "directory",
        "file",
        "symlink",
        "root",
        "chroot",
        "content",
    ),
)
"""By VIEW_* of the view."""
VIEW_FLAGS = {
    "read-only": view.READ_ONLY | view.SEALED,
    "devices": view.DEVICES,
    "noexec": view.NO_EXECUTE,
}
CONTENT = (view.VIEW_FILE, view.VIEW_CONTENT)
"""The operations whose source is what a file holds."""
BPF_INSTRUCTION = 8
PROTOCOLS = {6: "tcp", 17: "udp"}
ANY_PORT = (0, 65535)


def describe(profile: Profile, resolution: Resolution) -> dict[str, Any]:
    """The whole plan as a document: what `--dry-run --json` prints, and what the text is made from."""
    plan = resolution.plan
    return {
        "sandrun": SCHEMA,
        "profile": {
            "name": profile.name,
            "layers": list(profile.layers),
            "replaced": [f"{value.value} ({value.origin})" for value in profile.replaced],
        },
        "command": {
            "executable": os.fsdecode(plan.executable),
            "argv": [os.fsdecode(word) for word in plan.argv],
            "cwd": os.fsdecode(plan.cwd) or None,
        },
        "protections": protections(resolution.enforcement),
        "filesystem": _filesystem(plan),
        "network": _network(plan),
        "syscalls": _syscalls(plan),
        "privileges": _privileges(plan),
        "process": {
            "umask": None if plan.umask == KEEP else f"{plan.umask:03o}",
            "nice": None if plan.nice == NICE_KEEP else plan.nice,
            "tty": TTY_NAMES[plan.tty],
            "namespaces": [name for name, kind in namespaces.KINDS.items() if plan.namespaces & kind],
            "hostname": os.fsdecode(plan.hostname) or None,
            "pass_fds": list(plan.pass_fds),
        },
        "environment": {
            "pass": [os.fsdecode(name) for name in plan.env_pass],
            "set": [os.fsdecode(name) for name in plan.env_set],
        },
        "rlimits": _rlimits(plan),
        "resources": _group(plan),
        "time": {
            "timeout": None if plan.deadline_ms == KEEP else plan.deadline_ms / 1000,
            "grace": plan.grace_ms / 1000,
        },
        "warnings": list(resolution.warnings),
    }


def part_of_record(profile: Profile, resolution: Resolution) -> dict[str, Any]:
    """The plan as a record of a run holds it: without what the record has itself."""
    document = describe(profile, resolution)
    return {key: value for key, value in document.items() if key not in ("sandrun", "protections", "warnings")}


def _bits(mask: int, names: Mapping[str, int]) -> list[str]:
    """The names of the bits in a mask, in their order; a bit without a name is shown by its number."""
    named = {bit: name for name, bit in names.items()}
    return [named.get(1 << n, f"bit {n}") for n in range(mask.bit_length()) if mask >> n & 1]


def _filesystem(plan: Plan) -> dict[str, Any]:
    return {
        "landlock_abi": plan.landlock_abi,
        "handled": _bits(plan.landlock_fs, landlock.FS),
        "grants": [
            {"path": os.fsdecode(path), "access": _bits(access, landlock.FS)}
            for access, _, path in (*plan.path_rules, *plan.view_rules)
        ],
        "holes": [os.fsdecode(path) for path in plan.holes],
        "create": [os.fsdecode(path) for path in plan.create],
        "private": {
            "variables": [os.fsdecode(name) for name in plan.private_dirs],
            "access": _bits(plan.private_access, landlock.FS),
        },
        "view": [
            {
                "operation": VIEW_NAMES[operation],
                "path": os.fsdecode(path),
                "source": None if operation in CONTENT else os.fsdecode(source) or None,
                "flags": [name for name, flag in VIEW_FLAGS.items() if flags & flag],
            }
            for operation, flags, path, source in plan.view
        ],
    }


def _network(plan: Plan) -> dict[str, Any]:
    return {
        "handled": _bits(plan.landlock_net, landlock.NET),
        "ports": [{"port": port, "access": _bits(access, landlock.NET)} for access, port in plan.port_rules],
        "scoped": _bits(plan.landlock_scoped, landlock.SCOPES),
        "relay": _relay(plan.egress),
        **({"broker": _broker(plan)} if plan.broker_filter else {}),
    }


def _broker(plan: Plan) -> dict[str, Any]:
    """What the supervisor connects to for the command."""
    rules = {"connect": plan.broker_rules, "deny": plan.broker_deny}
    return {key: list(dict.fromkeys(text.decode() for _, _, _, text in found)) for key, found in rules.items()}


def _relay(egress: bytes) -> dict[str, Any] | None:
    """What the relay serves, and the sandbox that it enters; None where there is none."""
    if not egress:
        return None
    plan = Plan.from_bytes(egress)
    return {
        "connect": [_rule(*rule) for rule in plan.relay_rules],
        "deny": [_rule(*rule) for rule in plan.relay_deny],
        "private": [network.decode() for network in plan.relay_private],
        "names": {name.decode(): socket.inet_ntoa(number.to_bytes(4)) for number, _, name, _ in plan.relay_names},
        "publish": [f"{PROTOCOLS[number]}:{port}" for number, port in plan.publish],
        "uid": None if plan.uid == KEEP else plan.uid,
        "landlock_abi": plan.landlock_abi,
        "ports": [port for _, port in plan.port_rules],
        "syscalls": _syscalls(plan),
    }


def _rule(number: int, ports: int, kind: bytes, host: bytes) -> str:
    """A rule of the relay as an endpoint is written."""
    first, last = ports >> 16, ports & 0xFFFF
    where = "*" if kind == b"any" else f"[{host.decode()}]" if b":" in host else host.decode()
    span = "" if (first, last) == ANY_PORT else f":{first}" if first == last else f":{first}-{last}"
    return f"{PROTOCOLS[number]}:{where}{span}"


def _syscalls(plan: Plan) -> dict[str, Any]:
    return {
        "programs": [
            {"instructions": len(program) // BPF_INSTRUCTION, "sha256": sha256(program).hexdigest()}
            for program in plan.seccomp
        ]
    }


def _privileges(plan: Plan) -> dict[str, Any]:
    sets = ("bounding", "permitted", "inheritable", "ambient")
    return {
        "uid": None if plan.uid == KEEP else plan.uid,
        "gid": None if plan.gid == KEEP else plan.gid,
        "groups": list(plan.groups) if plan.set_groups else None,
        **{name: list(caps.names(getattr(plan, name))) for name in sets},
        "securebits": plan.securebits,
        "no_new_privs": bool(plan.no_new_privs),
    }


def _rlimits(plan: Plan) -> dict[str, Any]:
    names = {getattr(resource, name): name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_")}
    rows = [(number, [None if limit == UNLIMITED else limit for limit in limits]) for number, *limits in plan.rlimits]
    return {names.get(number, str(number)): {"soft": soft, "hard": hard} for number, (soft, hard) in rows}


def _group(plan: Plan) -> dict[str, Any]:
    """The control group as it will be made: the directories, and what is written to its files."""
    if not plan.cgroup_way:
        return {}
    parents = [os.fsdecode(parent) for parent in plan.cgroup_parents]
    written = [os.fsdecode(file + b"=" + value) for _, _, file, value in plan.cgroup_limits]
    return {"by": WAYS[plan.cgroup_way], "below": parents, "limits": written}


def text(document: Mapping[str, Any]) -> str:
    """A dry run for people, from the document of `describe`."""
    lines: list[str] = []
    command, profile = document["command"], document["profile"]
    lines.append("command: " + " ".join([command["executable"], *command["argv"][1:]]))
    lines.append("profile: " + (profile["name"] or "none"))
    lines += [f"replaced: {entry}" for entry in profile["replaced"]]
    lines.append("protections:")
    for protection in document["protections"]:
        lines += _protection_lines(protection)
    lines += _grant_lines(document["filesystem"])
    network = document["network"]
    if network["ports"]:
        lines.append("ports:")
        lines += [f"  {row['port']}: {', '.join(row['access'])}" for row in network["ports"]]
    lines += _relay_lines(network["relay"] or {})
    for key, rules in network.get("broker", {}).items():
        lines += [f"connections by the supervisor, {key}: {', '.join(rules)}"] if rules else []
    lines.append("syscall filters:")
    lines += [
        f"  {row['instructions']} instructions, sha256 {row['sha256']}" for row in document["syscalls"]["programs"]
    ]
    for section in ("privileges", "process", "environment", "rlimits", "resources", "time"):
        if not document[section]:
            continue
        lines.append(f"{section}:")
        lines += [f"  {key}: {_words(value)}" for key, value in document[section].items() if value is not None]
    lines += [f"warning: {warning}" for warning in document["warnings"]]
    return "".join(f"{printable(line)}\n" for line in lines)


def _protection_lines(protection: Mapping[str, Any]) -> list[str]:
    by = ", ".join(protection["mechanisms"]) or "nothing"
    lines = [f"  {protection['key']}: {protection['state']} by {by}"]
    lines.append("    requested by " + ", ".join(protection["requested"]))
    lines += [f"    lost: {lost}" for lost in protection["lost"]]
    lines += [f"    note: {note}" for note in protection["notes"]]
    return lines


def _grant_lines(filesystem: Mapping[str, Any]) -> list[str]:
    lines = _view_lines(filesystem["view"])
    if not filesystem["handled"]:
        return [*lines, "files: not restricted"]
    lines.append(f"files (Landlock ABI {filesystem['landlock_abi']}):")
    lines += [f"  {grant['path']}: {', '.join(grant['access'])}" for grant in filesystem["grants"]]
    lines += [f"  {path}: denied" for path in filesystem["holes"]]
    lines += [f"  {path}: made if absent" for path in filesystem["create"]]
    private = filesystem["private"]
    lines += [f"  ${name}: a new directory, {', '.join(private['access'])}" for name in private["variables"]]
    return lines


def _relay_lines(relay: Mapping[str, Any]) -> list[str]:
    """What is reached through the relay; its own sandbox is in the document only."""
    lines = ["relay:"] if relay else []
    words = {"connect": "connect", "deny": "never", "private": "names may resolve to", "publish": "shown on the host"}
    lines += [f"  {word}: {', '.join(relay[key])}" for key, word in words.items() if relay and relay[key]]
    names = relay["names"] if relay else {}
    return lines + [f"  {name} is {address} inside" for name, address in names.items()]


def _view_lines(records: list[dict[str, Any]]) -> list[str]:
    lines = ["view:"] if records else []
    for record in records:
        source = f" of {record['source']}" if record["source"] not in (None, record["path"]) else ""
        flags = f" ({', '.join(record['flags'])})" if record["flags"] else ""
        lines.append(f"  {record['path']}: {record['operation']}{source}{flags}")
    return lines


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {'unlimited' if item is None else item}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
