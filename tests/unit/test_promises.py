"""pledge's promises: all of OpenBSD's names, each a set of calls that exist, none of them a way out."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from sandrun.kernel import Kernel
from sandrun.plan.draft import Draft
from sandrun.plan.syscalls import resolve_syscalls
from sandrun.policy import promises, syscalls
from sandrun.policy._syscalls import NUMBERS, SETS
from sandrun.profile.model import Origin, Profile, Value
from tests import bpf_sim as sim

PLEDGE_2 = (
    "stdio rpath wpath cpath dpath tmppath inet mcast fattr chown flock unix dns getpw sendfd recvfd tape tty proc exec"
    " prot_exec settime ps vminfo id pf route wroute audio video bpf unveil error disklabel vmm"
)
TOKENS = {"x86_64": sim.X86_64, "aarch64": sim.AARCH64}
AT_FDCWD = 0xFFFFFF9C
O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_CLOEXEC = 1, 2, 0o100, 0o1000, 0o2000000
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
THREAD, FORK, VFORK = 0x3D0F00, 0x01200011, 0x4111


class Promised:
    """The filter of some promises; called, it says whether a call is allowed."""

    def __init__(self, *names: str, arch: str = "x86_64") -> None:
        values = tuple(Value(name, Origin("p.toml", "syscalls.promises")) for name in names)
        self.draft = Draft(Profile("p", values=MappingProxyType({"syscalls.promises": values})))
        resolve_syscalls(self.draft, Kernel(arch=arch))
        assert not self.draft.problems
        self.arch = arch

    def __call__(self, name: str, *args: int) -> bool:
        number = NUMBERS[self.arch][name]
        return sim.verdict(self.draft.fields["seccomp"], number, args, TOKENS[self.arch]) == sim.ALLOW


def test_every_promise_of_openbsd() -> None:
    """All names of pledge(2) are accepted, and no others."""
    assert sorted(promises.PROMISES) == sorted(PLEDGE_2.split())


@pytest.mark.parametrize("name", sorted(promises.PROMISES))
def test_a_promise_names_what_exists(name: str) -> None:
    """Each entry is a set or a call of one of the architectures, and each limit an argument that the call has."""
    for entry in promises.calls(name):
        assert syscalls.complaint(entry) is None
        native = any(syscalls.meaning(entry, arch).numbers for arch in syscalls.ARCHES)
        assert native or entry in SETS["@default"], entry
    for call, when in promises.limited(name):
        assert all(test.number < syscalls.argument_count(call) for test in when)
        assert promises.calls(name).count(call) <= (name in {"cpath", "tmppath", "flock", "prot_exec"})


@pytest.mark.parametrize("name", sorted(promises.PROMISES))
def test_no_promise_opens_the_kernel(name: str) -> None:
    """No promise reaches mounts, modules, other processes' memory, bpf, keyrings, io_uring or new namespaces."""
    allowed = Promised(name)
    closed = "mount fsopen open_tree pivot_root chroot init_module finit_module ptrace process_vm_readv pidfd_getfd bpf"
    closed += " perf_event_open keyctl add_key io_uring_setup userfaultfd unshare setns reboot swapon kexec_load iopl"
    closed += " open_by_handle_at quotactl acct clone3"
    assert {call for call in closed.split() if allowed(call)} == set()
    assert not allowed("ioctl", 0, 0x5412)
    assert not allowed("ioctl", 0, 0x541C)
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert not allowed("clone", 1 << bit | 17)
        assert not allowed("clone", 1 << bit | THREAD)
    assert allowed("clock_settime") == (name == "settime")
    assert allowed("setuid") == (name == "id")
    assert allowed("mprotect", 0, 0, PROT_EXEC) == (name == "prot_exec")
    assert allowed("socket", 17, 3, 0) is False


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_stdio_starts_a_program(arch: str) -> None:
    """What the loader, the C libraries and Python call before main, by each promise."""
    for name in ("stdio", "error", "inet"):
        allowed = Promised(name, arch=arch)
        calls = "execve brk munmap mremap read pread64 close newfstatat fstat readlinkat getcwd set_tid_address"
        calls += " set_robust_list rseq rt_sigaction rt_sigprocmask sigaltstack getrandom futex lseek getdents64 dup"
        calls += " exit_group write writev gettid getpid getuid clock_gettime nanosleep ppoll pipe2 wait4 uname madvise"
        if arch == "x86_64":
            calls += " arch_prctl access readlink poll pipe dup2 stat"
        assert {call for call in calls.split() if not allowed(call)} == set()
        assert allowed("openat", AT_FDCWD, 0, O_CLOEXEC)
        assert allowed("mmap", 0, 4096, PROT_READ | PROT_EXEC, 2)
        assert allowed("mmap", 0, 4096, PROT_READ | PROT_WRITE, 34)
        assert allowed("mprotect", 0, 4096, PROT_READ)
        assert allowed("clone", THREAD)
        assert allowed("prlimit64", 0, 3, 0, 0x7FFF0000)
        assert allowed("ioctl", 1, 0x5401)
        assert allowed("fcntl", 1, 1)


def test_stdio_is_no_more_than_that() -> None:
    """Only reading, only threads, only its own limits, and no page both written and executed."""
    allowed = Promised("stdio")
    for flags in (O_WRONLY, O_RDWR, 3, O_CREAT, O_TRUNC, 0o20200000):
        assert not allowed("openat", AT_FDCWD, 0, flags)
        assert not allowed("open", 0, flags)
    for high in (0, 1 << 32):
        assert not allowed("mmap", 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC | high, 34)
        assert not allowed("mprotect", 0, 4096, PROT_EXEC | high)
    assert not allowed("prlimit64", 0, 3, 0x7FFF0000, 0)
    assert not allowed("prlimit64", 1, 3, 0, 0x7FFF0000)
    assert {allowed("clone", flags) for flags in (FORK, VFORK, 17)} == {False}
    assert {allowed("socket", family) for family in (1, 2, 10, 16)} == {False}
    assert not allowed("fcntl", 1, 6)
    closed = "kill unlink mkdir rename chmod chown connect bind listen setuid setsid mknod link truncate"
    assert {call for call in closed.split() if allowed(call)} == set()


def test_clone3_falls_back_to_clone() -> None:
    """A thread of glibc tries clone3 first; only ENOSYS makes it use clone."""
    draft = Promised("stdio").draft
    assert sim.verdict(draft.fields["seccomp"], NUMBERS["x86_64"]["clone3"]) == sim.ERRNO | sim.ENOSYS


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("wpath", [("openat", 0, 0, O_WRONLY | O_TRUNC), ("truncate",)], [("openat", 0, 0, O_WRONLY | O_CREAT)]),
        ("cpath", [("openat", 0, 0, O_RDWR | O_CREAT), ("unlink",), ("rename",), ("mkdir",)], [("mknod",)]),
        ("inet", [("socket", 2), ("socket", 10), ("connect",), ("listen",)], [("socket", 1), ("socket", 16)]),
        ("unix", [("socket", 1), ("bind",)], [("socket", 2), ("socket", 16)]),
        (
            "dns",
            [("socket", 2), ("socket", 16, 3, 0), ("connect",)],
            [("socket", 16, 3, 15), ("listen",), ("socket", 1)],
        ),
        ("proc", [("clone", FORK), ("clone", VFORK), ("kill",), ("prlimit64", 0, 3, 1)], [("prlimit64", 9, 3, 1)]),
        ("exec", [("execveat",)], [("clone", FORK)]),
        ("fattr", [("chmod",), ("utimensat",)], [("chown",)]),
        ("chown", [("chown",), ("fchownat",)], [("chmod",)]),
        ("flock", [("flock",), ("fcntl", 0, 6)], [("unlink",)]),
        ("tty", [("ioctl", 0, 0x5402), ("ioctl", 0, 0x5410), ("openat", 0, 0, O_RDWR)], [("ioctl", 0, 0x5423)]),
        ("prot_exec", [("mmap", 0, 0, 7), ("mprotect", 0, 0, 5)], []),
        ("id", [("setuid",), ("setgroups",), ("prlimit64", 0, 3, 1)], [("kill",), ("prlimit64", 9, 3, 1)]),
        ("settime", [("clock_settime",)], [("reboot",)]),
        ("audio", [("ioctl", 3, 0xC0045002)], []),
        ("unveil", [("landlock_restrict_self",)], [("openat", 0, 0, O_WRONLY)]),
    ],
)
def test_what_each_promise_adds(name: str, yes: list[tuple], no: list[tuple]) -> None:  # type: ignore[type-arg]
    """The heart of each promise, with garbage in the unused halves of its integers."""
    allowed = Promised(name)
    assert {call: allowed(*call) for call in yes} == dict.fromkeys(yes, True)
    assert {call: allowed(*call) for call in no} == dict.fromkeys(no, False)
    stdio = Promised("stdio")
    assert not all(stdio(*call) for call in yes)


@pytest.mark.parametrize(
    "name", ["sendfd", "recvfd", "tape", "ps", "vminfo", "pf", "bpf", "error", "disklabel", "vmm", "mcast"]
)
def test_promises_without_a_meaning_here_say_so(name: str) -> None:
    """They are accepted, grant what stdio does, and the record says it."""
    draft, stdio = Promised(name).draft, Promised("stdio").draft
    assert draft.fields["seccomp"] == stdio.fields["seccomp"]
    assert any(note.startswith(f"promise {name}: ") for note in draft.protections[0].notes)


def test_promises_add_up() -> None:
    """Two promises allow what each does."""
    allowed = Promised("inet", "unix", "proc", "flock")
    assert allowed("socket", 2)
    assert allowed("socket", 1)
    assert allowed("clone", FORK)
    assert allowed("fcntl", 0, 6)
    assert not allowed("socket", 16)
