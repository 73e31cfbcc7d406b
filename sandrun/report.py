"""What sandrun tells: messages, the dry run, and the record of a run, as text for people and JSON for programs.

Both forms of a dry run come from one document (`describe`), so that they cannot disagree. Values of environment
variables are in no document: a Plan does not hold them. Every document starts with `"sandrun": 1`, the version of its
keys. Bytes that are not UTF-8 appear in JSON as lone surrogates (`\\udcff`), as Python reads them.

Imported on every launch: what only a document needs is imported where it is made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sandrun import errors
from sandrun.plan.format import KEEP, NICE_KEEP, UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.plan.draft import Protection
    from sandrun.plan.format import Plan
    from sandrun.plan.resolve import Resolution
    from sandrun.primitives.cgroup import Events
    from sandrun.profile.model import Profile
    from sandrun.supervise import Outcome

SCHEMA = 1
SIGSYS = 31
TTY_NAMES = ("inherit", "protected", "new-session", "pty")
WAYS = ("", "version 1", "version 2", "version 2, sandrun steps aside", "version 2, a scope of systemd")
"""By CGROUP_* of the plan's format."""
BPF_INSTRUCTION = 8
LONGEST_LINE = 4096


def printable(text: str) -> str:
    """`text` with everything escaped that a terminal could act on, or that is no character: names may be hostile."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def _shorten(line: str) -> str:
    """Both ends of a line that would fill the screen: what a message names can be 128 kB long, and its reason is last."""
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} [...] {line[-LONGEST_LINE // 4 :]}"


def say(lines: Iterable[str]) -> None:
    """Write messages to stderr, each behind `sandrun: `. If stderr takes none there is nobody left to tell."""
    data = "".join(f"sandrun: {_shorten(printable(line))}\n" for line in lines).encode()
    try:
        _write(2, data)
    except OSError:
        return


def warn(warnings: Iterable[str]) -> None:
    """`say` them as warnings."""
    say(f"warning: {warning}" for warning in warnings)


def emit(text: str) -> None:
    """Write what was asked for to stdout.

    A reader that went away (`| head`) has what it wanted. Any other failure is a SandrunError: what was asked for has
    not been delivered.
    """
    try:
        _write(1, text.encode("utf-8", "surrogateescape"))
    except BrokenPipeError:
        return
    except OSError as error:
        raise errors.SandrunError(f"cannot write: standard output: {reason(error)}") from None


def reason(error: OSError) -> str:
    """`strerror (ENAME)`."""
    import errno  # noqa: PLC0415 (only when something failed)

    name = errno.errorcode.get(error.errno or 0, "")
    return f"{error.strerror} ({name})" if name else str(error)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def to_json(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    """One JSON text with a final newline; ASCII, so that any bytes survive any reader."""
    import json  # noqa: PLC0415 (10 ms that a plain launch does not pay)

    return json.dumps(document, indent=indent) + "\n"


# --- the record of the run -----------------------------------------------------------------------------------------


def status(outcome: Outcome) -> int:
    """The exit status of a command that ran: its own, 128 + n for a signal, 124 for the timeout."""
    if outcome.timed_out:
        return errors.EXIT_TIMEOUT
    return 128 + outcome.signal if outcome.signal else outcome.status


def ending(outcome: Outcome) -> list[str]:
    """The lines for stderr about how the command ended, where its status alone would leave the user guessing."""
    lines: list[str] = []
    if outcome.timed_out:
        lines.append("the command was ended by the timeout")
    elif outcome.signal == SIGSYS:
        lines.append("the command died of SIGSYS: it made a syscall that the profile refuses with kill-process")
        lines.append('hint: the kernel log names it (journalctl -k -g type=1326, "syscall=")')
    if outcome.resources:
        lines += _limits_reached(outcome.resources)
    if outcome.survivors:
        lines.append("cannot end processes of the command: " + ", ".join(map(str, outcome.survivors)))
    lines += [f"cannot remove: {path}: {why}" for path, why in _left(outcome)]
    return lines


def _limits_reached(events: Events) -> list[str]:
    """What a limit of the control group did: SIGKILL and EAGAIN alone do not tell."""
    lines = []
    if events.oom_kills:
        limit = f"its limit of {_size(events.memory_limit)} (resources.memory)" if events.memory_limit else "a limit"
        lines.append(f"out of memory: the command reached {limit}, and the kernel killed processes of it")
    if events.pids_refused:
        lines.append("the command reached its limit of processes (resources.pids): some could not be started")
    return lines


def _size(amount: int) -> str:
    """Bytes as a profile writes them."""
    for unit, factor in (("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if amount and not amount % factor:
            return f"{amount // factor}{unit}"
    return str(amount)


def _resources(events: Events | None) -> dict[str, Any] | None:
    if events is None:
        return None
    return {
        "out_of_memory": events.oom_kills > 0,
        "oom_kills": events.oom_kills,
        "memory_peak": events.memory_peak if events.memory_peak >= 0 else None,
        "pids_refused": events.pids_refused,
        "throttled": round(events.throttled, 6),
    }


def _left(outcome: Outcome) -> list[tuple[str, str]]:
    return [(os.fsdecode(path), reason(OSError(number, os.strerror(number)))) for path, number in outcome.left]


def not_enforced(enforcement: Iterable[Protection]) -> list[str]:
    """At most one warning: what was asked for, made optional, and is not kept here."""
    lost = [f"{protection.key} ({'; '.join(protection.lost)})" for protection in enforcement if protection.lost]
    return ["not enforced here: " + "; ".join(lost)] if lost else []


def run_document(
    command: Sequence[str],
    exit_status: int,
    *,
    resolution: Resolution | None = None,
    outcome: Outcome | None = None,
    lines: Sequence[str] = (),
) -> dict[str, Any]:
    """The record that `--report` writes, of a run (`outcome`) or of a failure (`lines`), or of both.

    Times are seconds, `max_rss` is bytes. `started` is whether the command itself ever ran.
    """
    ended: dict[str, Any] | None = None
    if outcome is not None:
        ended = {
            "how": "timeout" if outcome.timed_out else "signal" if outcome.signal else "exit",
            "status": outcome.status,
            "signal": outcome.signal,
            "wall": round(outcome.wall, 6),
            "user": round(outcome.user, 6),
            "system": round(outcome.system, 6),
            "max_rss": outcome.max_rss,
            "resources": _resources(outcome.resources),
            "killed": outcome.killed,
            "survivors": list(outcome.survivors),
            "left": [{"path": path, "reason": why} for path, why in _left(outcome)],
        }
    return {
        "sandrun": SCHEMA,
        "command": list(command),
        "status": exit_status,
        "started": outcome is not None and bool(outcome.started),
        "errors": list(lines),
        "warnings": list(resolution.warnings) if resolution else [],
        "outcome": ended,
        "protections": protections(resolution.enforcement) if resolution else [],
    }


# --- the dry run ---------------------------------------------------------------------------------------------------


def protections(enforcement: Iterable[Protection]) -> list[dict[str, Any]]:
    """Each protection of the record, as JSON holds it."""
    return [
        {
            "key": protection.key,
            "state": protection.state,
            "mechanisms": list(protection.mechanisms),
            "requested": list(protection.requested),
            "lost": list(protection.lost),
            "notes": list(protection.notes),
        }
        for protection in enforcement
    ]


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


def _bits(mask: int, names: Mapping[str, int]) -> list[str]:
    """The names of the bits in a mask, in their order; a bit without a name is shown by its number."""
    named = {bit: name for name, bit in names.items()}
    return [named.get(1 << n, f"bit {n}") for n in range(mask.bit_length()) if mask >> n & 1]


def _filesystem(plan: Plan) -> dict[str, Any]:
    from sandrun.primitives import landlock  # noqa: PLC0415

    return {
        "landlock_abi": plan.landlock_abi,
        "handled": _bits(plan.landlock_fs, landlock.FS),
        "grants": [
            {"path": os.fsdecode(path), "access": _bits(access, landlock.FS)} for access, _, path in plan.path_rules
        ],
        "holes": [os.fsdecode(path) for path in plan.holes],
        "create": [os.fsdecode(path) for path in plan.create],
        "private": {
            "variables": [os.fsdecode(name) for name in plan.private_dirs],
            "access": _bits(plan.private_access, landlock.FS),
        },
    }


def _network(plan: Plan) -> dict[str, Any]:
    from sandrun.primitives import landlock  # noqa: PLC0415

    return {
        "handled": _bits(plan.landlock_net, landlock.NET),
        "ports": [{"port": port, "access": _bits(access, landlock.NET)} for access, port in plan.port_rules],
        "scoped": _bits(plan.landlock_scoped, landlock.SCOPES),
    }


def _syscalls(plan: Plan) -> dict[str, Any]:
    from hashlib import sha256  # noqa: PLC0415

    return {
        "programs": [
            {"instructions": len(program) // BPF_INSTRUCTION, "sha256": sha256(program).hexdigest()}
            for program in plan.seccomp
        ]
    }


def _privileges(plan: Plan) -> dict[str, Any]:
    from sandrun.primitives import caps  # noqa: PLC0415

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
    import resource  # noqa: PLC0415

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
    if not filesystem["handled"]:
        return ["files: not restricted"]
    lines = [f"files (Landlock ABI {filesystem['landlock_abi']}):"]
    lines += [f"  {grant['path']}: {', '.join(grant['access'])}" for grant in filesystem["grants"]]
    lines += [f"  {path}: denied" for path in filesystem["holes"]]
    lines += [f"  {path}: made if absent" for path in filesystem["create"]]
    private = filesystem["private"]
    lines += [f"  ${name}: a new directory, {', '.join(private['access'])}" for name in private["variables"]]
    return lines


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {'unlimited' if item is None else item}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
