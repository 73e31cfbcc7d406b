"""What the doctor concludes, for every kernel: protections as the plan keeps them, mechanisms as they were tried."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import kernel as kernels
from sandrun import libc
from sandrun.cli import doctor as verb
from sandrun.doctor import probes, protections
from sandrun.doctor.mechanisms import RELEASES, mechanisms, usable, why_no_namespace
from sandrun.doctor.packages import MODULES, packages
from sandrun.doctor.probes import Facts, Trial
from sandrun.doctor.protections import CHECKS, Machine, verdict
from sandrun.doctor.rows import NO, OK, PARTIAL, Row
from sandrun.errors import ProblemsError, SandrunError, UnsupportedError
from sandrun.kernel import FILTERING, NAMESPACES, PROBED, Kernel
from sandrun.kernel import USERNS_MOST as MOST
from sandrun.kernel import USERNS_RESTRICT as RESTRICT
from sandrun.plan.format import CGROUP_BELOW
from sandrun.plan.resolve import resolve
from sandrun.primitives import cgroup_probe, landlock, namespaces
from sandrun.primitives.cgroup_place import Cgroup
from sandrun.profile import load
from sandrun.profile.keys import KEYS
from tests.fakes import debian_host, file, program
from tests.support import in_child

if TYPE_CHECKING:
    from collections.abc import Sequence

ABIS = range(11)
ALL_CAPS = (1 << 41) - 1
USERS = {"root": 0, "user": 1000}
WORKS = Trial("done")
FACTS = Facts(
    landlock=WORKS,
    landlock_errata=0,
    seccomp=WORKS,
    notify=WORKS,
    ids=WORKS,
    namespaces=tuple((name, WORKS) for name in NAMESPACES),
    cgroup=Cgroup(2, CGROUP_BELOW, (("memory", "/c"), ("pids", "/c")), ("/c",), ("8:0",), "", ""),
)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decided about a filter is decided before it is compiled, which takes most of the time."""
    monkeypatch.setattr("sandrun.plan.syscalls.compile_filter", lambda *_: (b"",))


def a_kernel(abi: int = 10, uid: int = 1000, **fields: Any) -> Kernel:
    return Kernel(
        release="6.0.0",
        landlock_abi=abi,
        landlock_state="available" if abi else "missing",
        seccomp_actions=frozenset({"allow", "errno"}),
        capabilities=0 if uid else ALL_CAPS,
        uid=uid,
    )._replace(**fields)


def rows(kernel: Kernel) -> dict[str, Row]:
    return {row.name: row for row in protections.protections(kernel)}


def mechanism(name: str, kernel: Kernel, facts: Facts) -> Row:
    return {row.name: row for row in mechanisms(kernel, facts)}[name]


# --- protections ---------------------------------------------------------------------------------------------------

OK_FROM = {
    # name: the first ABI with which nothing of it is lost, as the kernel's documentation has it
    "read files": 1,
    "write files": 1,
    "execute files": 1,
    "truncate files": 1,
    "metadata, nothing writable": 1,
    "ioctl(2) on devices": 5,
    "deny in a readable tree": 1,
    "private temporary directory": 1,
    "hidden home": 1,
    "private home": 1,
    "no /proc": 1,
    "minimal /dev": 1,
    "connect to TCP ports": 4,
    "bind TCP ports": 4,
    "send to UDP ports": 10,
    "bind UDP ports": 10,
    "connect to one unix socket": 9,
    "signals to other processes": 6,
    **dict.fromkeys(("no connecting", "no listening", "no unix sockets", "socket families", "deny endpoints"), 0),
    **dict.fromkeys(("syscalls", "syscalls of other architectures", "capabilities", "no_new_privs"), 0),
    **dict.fromkeys(("limits of setrlimit(2)", "environment", "inherited descriptors"), 0),
    **dict.fromkeys(("terminal, shared", "terminal, new session", "terminal of its own"), 0),
    "time limit, end of the whole tree": 0,
}
NEVER = {
    "metadata, something writable",
    "deny in a writable tree",
    "deny writing in a writable tree",
    "/proc of its own",
    "overlay",
    "connect to one host",
    "loopback of its own",
    "AppArmor profile",
    "SELinux context",
    "memory of the whole tree",
    "number of processes",
    "processor time",
    "input and output a second",
    "view of other processes",
    "host name of its own",
    "namespaces of its own",
}
"""What needs a mechanism that this version does not use."""
ROOT_ONLY = {
    "another user",
    "another group",
    "other groups",
    "ambient capabilities",
    "securebits",
    "root directory of its own",
}


def test_every_check_is_expected_to_be_something() -> None:
    """The tables above have every check once, by a name of its own."""
    names = [check.name for check in CHECKS]
    assert sorted(names) == sorted([*OK_FROM, *NEVER, *ROOT_ONLY])


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("abi", ABIS)
def test_protections_by_kernel(abi: int, user: str) -> None:
    """Each protection is whole from the ABI that brings it on, and not before."""
    found = rows(a_kernel(abi, USERS[user]))
    whole = {name for name, since in OK_FROM.items() if abi >= since} | (ROOT_ONLY if user == "root" else set())
    assert {name for name, row in found.items() if row.state == OK} == whole


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("abi", ABIS)
def test_the_doctor_and_a_launch_agree(abi: int, user: str) -> None:
    """ok: a launch that asks for it is planned and loses nothing of it. Otherwise it is refused, with the same words."""
    kernel = a_kernel(abi, USERS[user])
    every = [key.path for key in KEYS if key.protection]
    for check, row in zip(CHECKS, protections.protections(kernel), strict=True):
        others = [key for key in every if key != check.key.removesuffix(".nofile")]
        flags = [(key, text, "--flag") for key, text in check.flags]
        host = Machine(kernel.uid)
        if row.state == OK or (check.is_loss and row.state == PARTIAL):
            resolution = resolve(load(["none"], flags, optional=others), kernel, host, ["/bin/sh"])
            kept = [record for record in resolution.enforcement if record.key == check.key]
            assert [record.state for record in kept] == ["enforced"] * len(kept)
            assert set(row.by) == {name for record in kept for name in record.mechanisms}
        else:
            with pytest.raises(UnsupportedError) as caught:
                resolve(load(["none"], flags, optional=others), kernel, host, ["/bin/sh"])
            assert set(row.why) == {problem.message for problem in caught.value.problems}


@pytest.mark.parametrize("abi", ABIS)
def test_what_is_not_whole_says_why_and_what_to_do(abi: int) -> None:
    """Nothing is refused without a reason; only what no kernel can give has no remedy."""
    for row in rows(a_kernel(abi)).values():
        assert bool(row.why) == (row.state != OK)
        assert row.hints or row.state == OK or row.name == "metadata, something writable"
        assert bool(row.by) == (row.state != NO)


def test_partial_is_what_an_optional_protection_keeps() -> None:
    """A part that some mechanism keeps where the key is optional is said, with that mechanism."""
    found = rows(a_kernel(7))
    assert found["view of other processes"].state == PARTIAL
    assert found["view of other processes"].by == ("landlock", "seccomp")
    assert found["memory of the whole tree"].by == ("setrlimit",)
    assert found["overlay"].state == NO
    assert found["another user"].state == NO


def test_ranges_of_ids_are_those_of_the_machine() -> None:
    """Whether an ordinary user can be another one hangs on what the real subuid(5) says, not on the doctor's own host."""
    kernel = a_kernel(10, **dict.fromkeys(NAMESPACES, True))
    helpers = {f"/usr/bin/{name}": program(mode=0o4755) for name in ("newuidmap", "newgidmap")}
    ranges = {path: file(b"alice:100000:65536\n") for path in ("/etc/subuid", "/etc/subgid")}
    assert kernel.uid == 1000
    for tree, state in ((helpers | ranges, OK), (helpers, NO), ({}, NO)):
        found = {row.name: row for row in protections.protections(kernel, debian_host(tree=tree))}
        assert found["another user"].state == state
        assert bool(found["another user"].hints) == (state != OK)


def test_every_protection_has_a_check() -> None:
    """A key that a kernel could fail to keep is in the doctor's table."""
    checked = {check.key for check in CHECKS} | {key for check in CHECKS for key, _ in check.flags}
    grants = {"filesystem.create", "network.private"}  # they grant, and promise nothing of their own
    syscalls = {key.path for key in KEYS if key.table == "syscalls"}  # one record for all of them
    missing = {key.path for key in KEYS if key.protection} - checked - grants - syscalls
    assert missing <= {"rlimits"}
    assert "rlimits.nofile" in checked


def test_without_seccomp() -> None:
    """What only a filter can keep is not promised."""
    found = rows(a_kernel(10, seccomp_filter=False))
    for name in ("syscalls", "no connecting", "no unix sockets", "terminal, shared", "socket families"):
        assert found[name].state == NO, name
    assert found["signals to other processes"].state == PARTIAL
    assert found["read files"].state == OK


# --- what was tried ------------------------------------------------------------------------------------------------


def test_what_does_not_work_is_not_promised() -> None:
    """A mechanism that answers and then refuses is none for the protections."""
    kernel = usable(a_kernel(7, uid=0), FACTS._replace(landlock=Trial("enter a ruleset", errno.E2BIG)))
    assert (kernel.landlock_abi, kernel.landlock_state) == (0, "refused")
    assert rows(kernel)["read files"].why == ("filesystem.read cannot be enforced: an outer sandbox refuses Landlock",)
    kernel = usable(a_kernel(7, uid=0), FACTS._replace(seccomp=Trial("load a filter", errno.EPERM)))
    assert rows(kernel)["syscalls"].state == NO
    kernel = usable(a_kernel(7, uid=0), FACTS._replace(ids=Trial("change user and groups", errno.EINVAL)))
    assert rows(kernel)["another user"].state == NO
    assert rows(kernel)["securebits"].state == OK


def test_a_missing_landlock_keeps_its_reason() -> None:
    """That it is not built in, or not switched on, is not taken for an outer sandbox."""
    kernel = a_kernel(0, landlock_state="disabled")
    assert (
        usable(kernel, FACTS._replace(landlock=Trial("enter a ruleset", errno.EOPNOTSUPP))).landlock_state == "disabled"
    )
    assert mechanism("Landlock", kernel, FACTS).hints == ("boot with landlock in the list of lsm=",)


def test_landlock_says_what_its_abi_lacks() -> None:
    """Every right that this ABI lacks is named with the ABI that has it."""
    assert mechanism("Landlock", a_kernel(10), FACTS).state == OK
    row = mechanism("Landlock", a_kernel(3), FACTS._replace(landlock_errata=5))
    assert row.state == PARTIAL
    assert "bind_tcp, connect_tcp: ABI 4" in row.why[0]
    assert "ABI 4: Linux 6.7" in row.hints[0]
    assert row.by == ("ABI 3, errata 0x5 fixed",)
    named = " ".join(mechanism("Landlock", a_kernel(1), FACTS).why)
    for table in (landlock.FS_ABI, landlock.NET_ABI, landlock.SCOPES_ABI):
        assert [name for name, abi in table.items() if (name in named) != (abi > 1)] == []
    assert mechanism("Landlock", a_kernel(7), FACTS._replace(landlock=Trial("enter", errno.E2BIG))).state == NO


def test_releases_are_those_of_the_readme() -> None:
    """The Linux of each ABI is the same here and in the README's table."""
    readme = (protections.__file__).rpartition("/sandrun/")[0] + "/README.md"
    with open(readme, encoding="utf-8") as file:
        table = [line.split(" | ") for line in file if line.startswith("| ")]
    assert {
        int(row[0][2:]): row[1] for row in table if row[0][2:].isdecimal() and row[1] in RELEASES.values()
    } == RELEASES


NEW, MAP, MOUNT = "make a user namespace", "map ids in it", "mount in it"


@pytest.mark.parametrize(
    ("trial", "sysctls", "fields", "why", "hint"),
    [
        (Trial(NEW, errno.ENOSPC), {MOST: "0"}, {}, f"{MOST} is 0", f"{MOST}=15000"),
        (Trial(NEW, errno.ENOSPC), {MOST: "96365"}, {}, "outer user namespace", "raise"),
        (Trial(NEW, errno.EUSERS), {}, {}, "nested too deep", "fewer"),
        (Trial(NEW, errno.EINVAL), {}, {}, "this kernel has none", "CONFIG_USER_NS"),
        (Trial(NEW, errno.EPERM), {"kernel.unprivileged_userns_clone": "0"}, {}, "userns_clone is 0", "userns_clone=1"),
        (Trial(NEW, errno.EPERM), {}, {"seccomp_mode": FILTERING}, "seccomp", "docker run"),
        (Trial(NEW, signal=31), {}, {"seccomp_mode": FILTERING}, "seccomp", "docker run"),
        (Trial(NEW, errno.EPERM), {}, {}, "chroot", "outside"),
        (Trial(MAP, errno.EPERM), {RESTRICT: "1"}, {}, f"{RESTRICT} is 1", f"{RESTRICT}=0"),
        (Trial(MOUNT, errno.EACCES), {RESTRICT: "1"}, {}, f"{RESTRICT} is 1", "userns"),
        (Trial(MOUNT, errno.EACCES), {RESTRICT: "0"}, {}, "security module", "outside"),
        (Trial(MOUNT, errno.EPERM), {}, {}, "an outer sandbox", "outside"),
    ],
)
def test_why_no_user_namespace(
    trial: Trial, sysctls: dict[str, str], fields: dict[str, Any], why: str, hint: str
) -> None:
    """The cause is told by what failed, and where, before any guess; each has its own remedy."""
    facts = FACTS._replace(
        namespaces=tuple((name, trial) for name in NAMESPACES), sysctls=tuple(sysctls.items()), **fields
    )
    said = why_no_namespace(trial, a_kernel(), facts)
    assert why in said[0]
    assert hint in said[1]
    row = mechanism("user namespaces", a_kernel(), facts)
    assert row.state == NO
    assert str(trial) in row.why


def test_restrictions_of_users_do_not_explain_root() -> None:
    """The two sysctls bind unprivileged users only."""
    facts = FACTS._replace(sysctls=(("kernel.unprivileged_userns_clone", "0"), (RESTRICT, "1")))
    assert "chroot" in why_no_namespace(Trial(NEW, errno.EPERM), a_kernel(uid=0), facts)[0]


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("ptrace restricted (Yama)", {}, {"kernel.yama.ptrace_scope": "1"}),
        ("ptrace restricted (Yama)", {"kernel.yama.ptrace_scope": "0"}, {"kernel.yama.ptrace_scope": "3"}),
        ("TIOCSTI refused by the kernel", {}, {"dev.tty.legacy_tiocsti": "0"}),
        ("TIOCSTI refused by the kernel", {"dev.tty.legacy_tiocsti": "1"}, {"dev.tty.legacy_tiocsti": "0"}),
    ],
)
def test_sysctls(name: str, bad: dict[str, str], good: dict[str, str]) -> None:
    """A value that leaves a way open is named with the command that closes it, if the kernel has that sysctl."""
    row = mechanism(name, a_kernel(), FACTS._replace(sysctls=tuple(bad.items())))
    assert row.state == NO
    assert ("sysctl -w" in row.hints[0]) == bool(bad)
    assert mechanism(name, a_kernel(), FACTS._replace(sysctls=tuple(good.items()))).state == OK


def test_capabilities() -> None:
    """None, some or all of this kernel's; those missing are named."""
    assert mechanism("capabilities to keep", a_kernel(uid=1), FACTS).state == NO
    assert mechanism("capabilities to keep", a_kernel(uid=0), FACTS).state == OK
    row = mechanism("capabilities to keep", a_kernel(uid=0, capabilities=ALL_CAPS & ~(1 << 24)), FACTS)
    assert (row.state, row.why) == (PARTIAL, ("not held: CAP_SYS_RESOURCE",))


def test_root_of_a_user_namespace_is_not_told_to_become_root() -> None:
    """With the capabilities and without the ids, the way out is another one."""
    facts = FACTS._replace(ids=Trial("change user and groups", errno.EPERM))
    assert "user namespace" in mechanism("change of user and groups", a_kernel(uid=0), facts).hints[0]
    assert mechanism("change of user and groups", a_kernel(uid=1), facts).hints == ("run it as root",)


# --- control groups ------------------------------------------------------------------------------------------------


def test_a_group_that_cannot_be_made_is_no_fact() -> None:
    """`cgroup` is the version only where groups can be made."""
    denied = Cgroup(2, reason="no control group can be made below /c", hint="systemd-run -p Delegate=yes")
    assert dict(usable(a_kernel(), FACTS).probed)["cgroup"] == 2
    assert dict(usable(a_kernel(), FACTS._replace(cgroup=denied)).probed)["cgroup"] == 0
    assert mechanism("control groups", a_kernel(), FACTS).by == ("version 2", "memory pids")
    assert "Delegate" in mechanism("control groups", a_kernel(), FACTS._replace(cgroup=denied)).hints[0]


# --- trials --------------------------------------------------------------------------------------------------------


def fail() -> None:
    raise OSError(errno.EXDEV, "")


def die() -> None:
    os.kill(os.getpid(), signal.SIGSYS)


def test_attempt() -> None:
    """The first step that fails is named, with its errno or the signal; what follows is not done."""
    good, bad, deadly = ("good", lambda: None), ("bad", fail), ("deadly", die)
    assert probes.attempt((good, good)).works
    assert probes.attempt((good, bad, deadly)) == Trial("bad", errno.EXDEV)
    assert probes.attempt((good, deadly, bad)) == Trial("deadly", signal=signal.SIGSYS)
    assert str(Trial("bad", errno.EXDEV)) == "bad: Invalid cross-device link (EXDEV)"
    assert not probes.attempt((("odd", lambda: int("x")),)).works


def test_attempt_leaves_nothing() -> None:
    """No process, no descriptor, no core file: a trial is over when it answers."""

    def left() -> set[str]:
        before = set(os.listdir("/proc/self/fd"))
        probes.attempt((("deadly", die),))
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        return set(os.listdir("/proc/self/fd")) - before

    # In a process of its own, which has no children of other tests.
    assert in_child(left) == set()


def test_no_process_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of processes the doctor cannot tell, and says that."""

    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(SandrunError, match=r"cannot try anything: fork: .*EAGAIN"):
        probes.attempt(())


def test_a_trial_is_undone() -> None:
    """What a trial did to its child is not done to us."""
    before = (libc.prctl(libc.PR_GET_NO_NEW_PRIVS), libc.prctl(libc.PR_GET_SECCOMP), os.getresuid())
    namespaces = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "pid", "net")}
    probes.probe(kernels.probe())
    assert (libc.prctl(libc.PR_GET_NO_NEW_PRIVS), libc.prctl(libc.PR_GET_SECCOMP), os.getresuid()) == before
    assert {name: os.readlink(f"/proc/self/ns/{name}") for name in namespaces} == namespaces


# --- facts for `require` -------------------------------------------------------------------------------------------


def test_only_what_is_asked_for_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch forks for a fact only if its profile requires that fact."""

    def tried(*_: object) -> Trial:
        raise AssertionError("not asked for")

    monkeypatch.setattr(namespaces, "attempt", tried)
    monkeypatch.setattr(cgroup_probe, "probe", tried)
    kernel = a_kernel()
    assert probes.with_facts(kernel, load(["none"], require=["landlock>=4", "root", "seccomp"]).require) is kernel
    with pytest.raises(AssertionError):
        probes.with_facts(kernel, load(["none"], require=["userns"]).require)


@pytest.mark.parametrize("name", PROBED)
def test_a_fact_is_found_or_not(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A required fact holds where its trial works, fails where not, and fails where nobody tried."""
    profile = load(["none", "programs"], [("filesystem.read", "/usr", "--read")], require=[name])
    host = debian_host()
    for trial, met in ((("", 0, 0), True), (("make namespaces", errno.EPERM, 0), False)):
        monkeypatch.setattr(namespaces, "attempt", lambda _, trial=trial: trial)
        monkeypatch.setattr(cgroup_probe, "probe", lambda met=met: FACTS.cgroup if met else Cgroup(2))
        kernel = probes.with_facts(a_kernel(), profile.require)
        if met:
            resolve(profile, kernel, host, ["/bin/true"])
        else:
            with pytest.raises(UnsupportedError, match=f"required here: {name}"):
                resolve(profile, kernel, host, ["/bin/true"])
    with pytest.raises(UnsupportedError, match=f"required here: {name}"):
        resolve(profile, a_kernel(), host, ["/bin/true"])


# --- profiles ------------------------------------------------------------------------------------------------------


def judged(name: str, kernel: Kernel, trouble: Sequence[str] = ()) -> protections.Verdict:
    return verdict(load([f"builtin:{name}"]), kernel, debian_host(), lambda _: trouble)


def test_verdicts() -> None:
    """Nothing lost, what is lost and optional by key, or refused with the reasons; a failed launch is a refusal."""
    assert judged("strict", a_kernel(7)).state == protections.RUNS
    default = judged("default", a_kernel(7))
    assert default.state == protections.LOSES
    assert {key for key, _ in default.lost} == {"process.isolate", "filesystem.proc"}
    none = judged("default", a_kernel(0))
    assert none.state == protections.REFUSED
    assert any("this kernel has no Landlock" in why for why in none.why)
    assert none.hints
    failed = judged("default", a_kernel(7), ["cannot grant /dev/shm: gone"])
    assert (failed.state, failed.why, failed.lost) == (protections.REFUSED, ("cannot grant /dev/shm: gone",), ())


@pytest.mark.parametrize("abi", ABIS)
def test_verdict_and_launch_agree(abi: int) -> None:
    """`default` is refused exactly where a launch of it is."""
    try:
        resolve(load(["builtin:default"]), a_kernel(abi), debian_host(), ["/bin/sh"])
        refused = False
    except ProblemsError:
        refused = True
    assert (judged("default", a_kernel(abi)).state == protections.REFUSED) == refused


# --- packages and words --------------------------------------------------------------------------------------------


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The five are here, with versions; one that cannot be imported says why."""
    assert {package.name for package in packages() if package.version and not package.problem} == set(MODULES.values())
    monkeypatch.setitem(__import__("sys").modules, "tomli", None)
    broken = [package for package in packages() if package.problem]
    assert [package.name for package in broken] == ["tomli"]


def test_text_is_for_a_terminal_or_not() -> None:
    """Colours stand around the state alone, and what others could have named cannot reach the terminal."""
    row = {"name": "no unix sockets", "state": NO, "found": ["a\x1b[2J"], "why": ["b\x07"], "hints": [], "notes": []}
    system = {"release": "6", "arch": "x", "uid": 1, "container": "\x1b]0;x", "security_modules": ["yama"]}
    document = {
        "system": system | {"python": "3", "libseccomp": "2"},
        "facts": {"root": False, "landlock": 3},
        "mechanisms": [row],
        "protections": [row],
        "profiles": [row],
    }
    plain = verb.text(document)
    assert "\x1b" not in plain
    assert "\x07" not in plain
    assert "facts: root no, landlock 3\n" in plain
    assert "security modules: yama\n" in plain
    coloured = verb.text(document, colours=True)
    assert "  no unix sockets  \x1b[31mno     \x1b[0m  a\\x1b[2J\n" in coloured
    assert coloured.replace("\x1b[31m", "").replace("\x1b[0m", "") == plain
