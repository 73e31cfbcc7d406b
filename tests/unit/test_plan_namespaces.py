"""Which namespaces a plan has, on kernels with and without them, and what the record says."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import kernel as kernels
from sandrun import libc
from sandrun.errors import UnsupportedError
from sandrun.kernel import NAMESPACES, Kernel, with_namespaces
from sandrun.plan.namespaces import wanted
from sandrun.plan.resolve import Resolution, resolve
from sandrun.primitives import namespaces
from sandrun.profile import load
from tests.fakes import debian_host

if TYPE_CHECKING:
    from sandrun.plan.draft import Protection

ALL_CAPS = (1 << 41) - 1
SYS_ADMIN = 1 << 21
OWN = libc.CLONE_NEWPID | libc.CLONE_NEWNS | libc.CLONE_NEWIPC
READ = ("filesystem.execute", "@system")
ISOLATE = ("process.isolate", "true")


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandrun.plan.syscalls.compile_filter", lambda *_: (b"",))


def a_kernel(abi: int = 10, uid: int = 1000, **fields: Any) -> Kernel:
    fields = {**dict.fromkeys(NAMESPACES, True), **fields}
    return Kernel(
        landlock_abi=abi,
        landlock_state="available" if abi else "missing",
        seccomp_actions=frozenset({"allow", "errno"}),
        capabilities=0 if uid else ALL_CAPS,
        uid=uid,
    )._replace(**fields)


def planned(kernel: Kernel, *written: tuple[str, str], optional: tuple[str, ...] = ()) -> Resolution:
    profile = load(["none"], [(key, text, key) for key, text in (READ, *written)], optional=optional)
    return resolve(profile, kernel, debian_host(kernel.uid), ["/bin/true"])


def record(resolution: Resolution, key: str) -> Protection:
    return next(one for one in resolution.enforcement if one.key == key)


def test_isolation_of_a_user() -> None:
    """An ordinary user gets a user namespace around the others, with its own ids; nothing else tells that it is there."""
    found = planned(a_kernel(), ISOLATE)
    assert found.plan.namespaces & OWN == OWN
    assert found.plan.namespaces & libc.CLONE_NEWUSER
    assert (found.plan.uid_map, found.plan.gid_map) == (b"1000 1000 1\n", b"1000 1000 1\n")
    kept = record(found, "process.isolate")
    assert kept.mechanisms == ("mount namespace", "pid namespace", "ipc namespace", "landlock", "seccomp")
    assert kept.state == "enforced"


def test_isolation_of_root() -> None:
    """Root makes them directly; root without CAP_SYS_ADMIN as in a container goes as a user does."""
    found = planned(a_kernel(uid=0), ISOLATE).plan
    assert found.namespaces & (OWN | libc.CLONE_NEWUSER) == OWN
    assert (found.uid_map, found.gid_map) == (b"", b"")
    found = planned(a_kernel(uid=0, capabilities=ALL_CAPS & ~SYS_ADMIN), ISOLATE).plan
    assert found.namespaces & libc.CLONE_NEWUSER
    assert found.uid_map == b"0 0 1\n"


@pytest.mark.parametrize("level", ["signals", "false"])
def test_no_more_than_is_asked_for(level: str) -> None:
    """Signals alone are kept without a namespace."""
    assert planned(a_kernel(), ("process.isolate", level)).plan.namespaces == 0


@pytest.mark.parametrize("lacking", ["mountns", "pidns", "ipcns"])
def test_isolation_that_cannot_be_had(lacking: str) -> None:
    """Without one of the namespaces it is a problem that names the reason and the remedy; optional, a partial record."""
    kernel = a_kernel(**{lacking: False}, namespace_reason="because of this: do that")
    with pytest.raises(UnsupportedError, match="hiding them takes a pid namespace: because of this: do that"):
        planned(kernel, ISOLATE)
    kept = record(planned(kernel, ISOLATE, optional=("process.isolate",)), "process.isolate")
    assert (kept.state, kept.mechanisms) == ("partial", ("landlock", "seccomp"))
    kept = record(planned(kernel._replace(landlock_abi=5), ISOLATE, optional=("process.isolate",)), "process.isolate")
    assert kept.state == "lost"
    assert "signals to other processes are not kept back" in kept.lost[0]


def test_isolation_below_the_signal_scope() -> None:
    """A pid namespace needs no Landlock ABI; what reaches the shared process group by number 0 is refused."""
    kept = record(planned(a_kernel(2), ISOLATE), "process.isolate")
    assert kept.state == "enforced"
    assert kept.mechanisms == ("mount namespace", "pid namespace", "ipc namespace", "seccomp")


@pytest.mark.parametrize("fields", [(("privileges.user", "nobody"),), (("privileges.capabilities", "CAP_CHOWN"),)])
def test_other_ids_and_capabilities_want_no_user_namespace(fields: tuple[tuple[str, str], ...]) -> None:
    """In a user namespace with one id in it neither would be what was asked for."""
    kernel = a_kernel(uid=0, capabilities=ALL_CAPS & ~SYS_ADMIN)
    with pytest.raises(UnsupportedError, match="in a user namespace the command has its caller's ids only"):
        planned(kernel, ISOLATE, *fields)
    assert planned(a_kernel(uid=0), ISOLATE, *fields).plan.namespaces & OWN == OWN


def test_network_namespace_as_a_second_wall() -> None:
    """Where others are made anyway and nothing of the network is granted, its namespace is recorded besides the filter."""
    found = planned(a_kernel(), ISOLATE)
    assert found.plan.namespaces & libc.CLONE_NEWNET
    assert record(found, "network.connect").mechanisms == ("seccomp", "network namespace")
    for granted in (("network.connect", "tcp:443"), ("network.bind", "*"), ("network.unix", "@all")):
        assert not planned(a_kernel(), ISOLATE, granted).plan.namespaces & libc.CLONE_NEWNET
    assert not planned(a_kernel(netns=False), ISOLATE).plan.namespaces & libc.CLONE_NEWNET


def test_loopback() -> None:
    """TCP and UDP are open in a network namespace of the command's own; no Landlock rule stands in their way."""
    found = planned(a_kernel(), ("network.loopback", "true"))
    assert found.plan.namespaces & libc.CLONE_NEWNET
    assert (found.plan.loopback, found.plan.landlock_net, found.plan.port_rules) == (1, 0, ())
    assert record(found, "network.loopback").mechanisms == ("network namespace",)
    assert record(found, "network.connect").notes == ("its own loopback interface only",)
    both = planned(a_kernel(), ("network.loopback", "true"), ("network.connect", "tcp:443"))
    assert both.plan.egress_listen == ((6, 443),), "the world is behind the relay, its own servers beside it"
    with pytest.raises(UnsupportedError, match="a loopback of its own needs a network namespace: why"):
        planned(a_kernel(netns=False, namespace_reason="why"), ("network.loopback", "true"))
    found = planned(a_kernel(netns=False), ("network.loopback", "true"), optional=("network.loopback",))
    assert (found.plan.loopback, found.plan.landlock_net & 0b11) == (0, 0b11)
    denied = planned(a_kernel(), ("network.loopback", "true"), ("network.deny", "*"))
    assert denied.plan.loopback == 0


def test_hostname() -> None:
    """It is the uts namespace's, or a loss."""
    found = planned(a_kernel(), ("process.hostname", "box"))
    assert found.plan.hostname == b"box"
    assert found.plan.namespaces & libc.CLONE_NEWUTS
    with pytest.raises(UnsupportedError, match="a host name of its own needs a uts namespace: why"):
        planned(a_kernel(utsns=False, namespace_reason="why"), ("process.hostname", "box"))
    assert (
        planned(a_kernel(utsns=False), ("process.hostname", "x"), optional=("process.hostname",)).plan.hostname == b""
    )


@pytest.mark.parametrize("name", namespaces.KINDS)
def test_namespaces_by_name(name: str) -> None:
    """Each kind can be asked for by name; a pid namespace brings a mount namespace for its proc(5)."""
    found = planned(a_kernel(uid=0), ("process.namespaces", name))
    kinds = namespaces.KINDS[name] | (libc.CLONE_NEWNS if name == "pid" else 0)
    assert found.plan.namespaces & ~libc.CLONE_NEWNET == kinds & ~libc.CLONE_NEWNET
    assert f"{'network' if name == 'net' else name} namespace" in record(found, "process.namespaces").mechanisms
    with pytest.raises(UnsupportedError, match="cannot be had: why"):
        planned(a_kernel(uid=0, **{f"{name}ns": False}, namespace_reason="why"), ("process.namespaces", name))


def test_ptrace_capability_needs_a_landlock_domain() -> None:
    """Without one it would reach the init process, which is a copy of the supervisor."""
    capable = (ISOLATE, ("privileges.capabilities", "CAP_SYS_PTRACE"))
    assert record(planned(a_kernel(uid=0), *capable), "process.isolate").state == "enforced"
    everything = [(f"filesystem.{key}", "@all") for key in ("read", "write", "execute")]
    with pytest.raises(UnsupportedError, match="CAP_SYS_PTRACE reaches the init process"):
        planned(a_kernel(0, uid=0), *capable, *everything)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ((), False),
        ((("process.isolate", "signals"),), False),
        ((ISOLATE,), True),
        ((("network.loopback", "true"),), True),
        ((("process.hostname", "x"),), True),
        ((("process.namespaces", "ipc"),), True),
    ],
)
def test_who_wants_to_know(written: tuple[tuple[str, str], ...], expected: bool) -> None:
    """A launch looks for namespaces only if its profile could use one."""
    assert wanted(load(["none"], [(key, text, key) for key, text in written])) is expected


# --- the facts -------------------------------------------------------------------------------------------------------


def test_one_trial_where_all_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """One child finds that everything works, with a user namespace only where one is needed."""
    tried: list[int] = []

    def attempt(kinds: int) -> tuple[str, int, int]:
        tried.append(kinds)
        return "", 0, 0

    monkeypatch.setattr(namespaces, "attempt", attempt)
    bare = dict.fromkeys(NAMESPACES, False)
    found = with_namespaces(a_kernel(**bare))
    assert all(getattr(found, name) for name in NAMESPACES)
    assert tried.pop() == namespaces.ALL
    found = with_namespaces(a_kernel(uid=0, **bare))
    assert (found.mountns, found.userns) == (True, False)
    assert tried == [namespaces.ALL & ~libc.CLONE_NEWUSER]
    assert with_namespaces(a_kernel(uid=0, **bare), user=True).userns


def test_one_missing_kind_does_not_lose_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is then tried by itself, and the reason is that of the first that fails."""

    def attempt(kinds: int) -> tuple[str, int, int]:
        return ("make a time namespace", errno.EINVAL, 0) if kinds & libc.CLONE_NEWTIME else ("", 0, 0)

    monkeypatch.setattr(namespaces, "attempt", attempt)
    monkeypatch.setattr(kernels, "_sysctl", lambda _: "")
    found = with_namespaces(a_kernel())
    assert [name for name in NAMESPACES if not getattr(found, name)] == ["timens"]
    assert "this kernel has none" in found.namespace_reason
