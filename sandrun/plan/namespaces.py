"""Which namespaces the command gets: those that its protections ask for, those that an expert named, and what these need.

Each part of the plan says by `use` what it needs, and asks `missing` before; `finish` adds the user namespace around
them, and the network namespace that then costs next to nothing.
"""

from __future__ import annotations

from sandrun.kernel import NAMESPACES
from sandrun.plan.draft import accept
from sandrun.policy import guards
from sandrun.primitives import caps, landlock
from sandrun.primitives.namespaces import KINDS, names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.profile.model import Profile

SYS_PTRACE = caps.mask(("CAP_SYS_PTRACE",))
GRANTS = ("connect", "bind", "unix", "families")
"""The keys of `[network]` that open something."""
IDS = ("privileges.user", "privileges.group", "privileges.groups")
"""They take a user namespace where nobody may change ids directly."""
OWN_IDS = "in a user namespace the command has its caller's ids only, and no capabilities that count outside"
NOT_ASKED = "which nothing here asks for"
"""Why there is none where one could be had, for the middle of a sentence."""


def wanted(profile: Profile) -> bool:
    """Whether the keys about processes and the network ask for a namespace."""
    switches = map(profile.scalar, ("process.isolate", "network.loopback"))
    return any(value is not None and value.value is True for value in switches) or any(
        key in profile.values for key in ("process.hostname", "process.namespaces", *IDS)
    )


def wants_user(profile: Profile) -> bool:
    """Whether the profile names the user namespace itself."""
    return any(value.value == "user" for value in profile.items("process.namespaces"))


def missing(draft: Draft, kernel: Kernel, kinds: int) -> str:
    """Why namespaces of these kinds cannot be had for this command, "" if they can."""
    around = kinds | (KINDS["user"] if kernel.needs_userns else 0)
    if any(kind & around == kind and not getattr(kernel, name) for name, kind in NAMESPACES.items()):
        return kernel.namespace_reason or "this kernel does not have it"
    fields = draft.fields
    if around & KINDS["user"] and (
        fields.get("permitted") or (fields.get("set_groups") and not fields.get("id_helpers"))
    ):
        return OWN_IDS
    return ""


def use(draft: Draft, kinds: int) -> None:
    """The command gets namespaces of these kinds."""
    draft.fields["namespaces"] = draft.fields.get("namespaces", 0) | kinds


def resolve_namespaces(draft: Draft, kernel: Kernel) -> None:
    """`process.hostname` and `process.namespaces`."""
    hostname = draft.profile.scalar("process.hostname")
    if hostname is not None:
        reason = missing(draft, kernel, KINDS["uts"])
        if reason:
            draft.lose(
                "process.hostname",
                f"a host name of its own needs a uts namespace: {reason}",
                _leave_out("process.hostname"),
            )
        else:
            use(draft, KINDS["uts"])
            draft.fields["hostname"] = str(hostname.value).encode("utf-8", "surrogateescape")
            draft.record("process.hostname", "uts namespace")
    kept = 0
    for value in draft.profile.items("process.namespaces"):
        kind = KINDS[str(value.value)]
        if kind == KINDS["pid"]:
            kind |= KINDS["mount"]  # where else could its proc(5) be mounted
        reason = missing(draft, kernel, kind)
        if reason:
            lost = f"a {names(kind)[-1]} cannot be had: {reason}"
            draft.lose("process.namespaces", lost, _leave_out("process.namespaces"), requested=(str(value.origin),))
        else:
            kept |= kind
    if kept:
        use(draft, kept)
        draft.record("process.namespaces", *names(kept))


def finish(draft: Draft, kernel: Kernel, host: Host) -> None:
    """What the namespaces of this plan need; call it when all parts have said what they use.

    A network namespace is added where nothing of the network is granted: half a millisecond for a second wall.
    """
    fields = draft.fields
    kinds = fields.get("namespaces", 0)
    if not kinds:
        return
    if kinds & KINDS["pid"]:
        # The process group may be shared with processes outside, which no pid namespace hides from it.
        draft.guards.extend(
            guards.process_group(signals=not fields.get("landlock_scoped", 0) & landlock.SCOPES["signal"])
        )
        _check_tracing(draft, kernel)
    if not any(draft.profile.items(f"network.{key}") for key in GRANTS) and not missing(draft, kernel, KINDS["net"]):
        kinds |= KINDS["net"]
    if kinds & KINDS["net"]:
        _record_network(draft)
    if kernel.needs_userns:
        kinds |= KINDS["user"]
    if kinds & KINDS["user"] and not fields.get("id_helpers"):
        uid, gid = host.uid, host.gid
        fields["uid_map"], fields["gid_map"] = b"%d %d 1\n" % (uid, uid), b"%d %d 1\n" % (gid, gid)
    fields["namespaces"] = kinds


def _check_tracing(draft: Draft, kernel: Kernel) -> None:
    """What keeps CAP_SYS_PTRACE out of the init process is a Landlock domain beside the command's (landlock(7))."""
    domain = any(draft.fields.get(name) for name in ("landlock_fs", "landlock_net", "landlock_scoped"))
    if draft.fields.get("permitted", 0) & SYS_PTRACE and not (domain and kernel.landlock_abi):
        lost = "CAP_SYS_PTRACE reaches the init process, which has the caller's environment in its memory"
        draft.lose("process.isolate", lost, "leave the capability out", "pid namespace")


def _record_network(draft: Draft) -> None:
    for at, record in enumerate(draft.protections):
        if record.key in ("network.connect", "network.bind"):
            draft.protections[at] = record._replace(mechanisms=(*record.mechanisms, *names(KINDS["net"])))


def _leave_out(key: str) -> str:
    return f"remove it, or {accept(key)}"
