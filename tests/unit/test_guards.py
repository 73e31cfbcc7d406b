"""What each guard refuses and what it leaves, asked of the compiled filter with garbage in the upper halves."""

from __future__ import annotations

import errno
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from sandrun.kernel import Kernel
from sandrun.plan.draft import Draft
from sandrun.plan.syscalls import resolve_syscalls
from sandrun.policy import guards
from sandrun.policy._syscalls import NUMBERS
from sandrun.profile import load
from sandrun.profile.model import Profile
from tests import bpf_sim as sim

if TYPE_CHECKING:
    from sandrun.plan.draft import Guard

HIGH = 0xDEADBEEF << 32
TOKENS = {"x86_64": sim.X86_64, "aarch64": sim.AARCH64}
UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK = 1, 2, 10, 16, 17, 38, 40
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
CLOEXEC, NONBLOCK = 0o2000000, 0o4000
TCP, UDP, SCTP, UDPLITE, MPTCP = 6, 17, 132, 136, 262


NOTHING = Profile("p", values=MappingProxyType({}))


class Filter:
    """The filter of these guards and of a profile, on one architecture; answers with the errno's name, "allow" or "kill"."""

    def __init__(self, wanted: tuple[Guard, ...], arch: str = "x86_64", profile: Profile = NOTHING) -> None:
        draft = Draft(profile)
        draft.guards.extend(wanted)
        resolve_syscalls(draft, Kernel(arch=arch))
        assert not draft.problems
        self.arch, self.programs = arch, draft.fields["seccomp"]

    def __call__(self, name: str, *args: int) -> str:
        found = sim.verdict(self.programs, NUMBERS[self.arch][name], args, TOKENS[self.arch])
        if found == sim.ALLOW:
            return "allow"
        return errno.errorcode[found & 0xFFFF] if found & 0xFFFF0000 == sim.ERRNO else hex(found)


@pytest.fixture(params=["x86_64", "aarch64"])
def arch(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_terminal_injection(arch: str) -> None:
    """TIOCSTI and TIOCLINUX are refused whatever the upper half; other terminal requests work."""
    asked = Filter(guards.terminal_injection(), arch)
    for request in (0x5412, 0x541C):
        assert {asked("ioctl", 0, request | high) for high in (0, 1 << 32, HIGH)} == {"EPERM"}
    assert {asked("ioctl", 0, request | HIGH) for request in (0x5401, 0x5413, 0x5410, 0x5411, 0)} == {"allow"}


def test_namespaces(arch: str) -> None:
    """Every CLONE_NEW flag in clone and unshare; threads, fork and unsharing files work; clone3 is ENOSYS."""
    asked = Filter(guards.namespaces(), arch)
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert {asked("clone", 1 << bit | 17 | high) for high in (0, HIGH)} == {"EPERM"}
        assert {asked("unshare", 1 << bit | high) for high in (0, HIGH)} == {"EPERM"}
    assert asked("unshare", 0x80) == "EPERM"
    assert asked("clone", 0x3D0F00) == "allow"  # pthread_create
    assert asked("clone", 0x01200011 | HIGH) == "allow"  # fork
    assert asked("unshare", 0x400) == "allow"  # CLONE_FILES
    assert (asked("clone3"), asked("setns")) == ("ENOSYS", "EPERM")


def test_prlimit_other(arch: str) -> None:
    """Only pid 0, the caller itself."""
    asked = Filter(guards.prlimit_other(), arch)
    assert {asked("prlimit64", pid) for pid in (0, HIGH)} == {"allow"}
    assert {asked("prlimit64", pid) for pid in (1, 0xFFFFFFFF, 1 << 31, 1 | HIGH)} == {"EPERM"}


def test_metadata() -> None:
    """Mode, owner, times, attributes and inode flags; reading and writing files stays."""
    asked = Filter(guards.metadata())
    refused = "chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat utime utimes futimesat utimensat setxattr"
    refused += " lsetxattr fsetxattr removexattr lremovexattr fremovexattr setxattrat removexattrat file_setattr"
    assert {asked(name) for name in refused.split()} == {"EPERM"}
    assert {asked("ioctl", 3, request | HIGH) for request in (0x40086602, 0x401C5820, 0x5000940E)} == {"EPERM"}
    assert {asked("ioctl", 3, request) for request in (0x5401, 0x80086601, 0x801C581F)} == {"allow"}
    assert {asked(name) for name in ("getxattr", "statx", "openat", "write", "file_getattr")} == {"allow"}


def test_subvolumes(arch: str) -> None:
    """Making, snapshotting and removing a btrfs subvolume need no file opened to write."""
    asked = Filter(guards.subvolumes(), arch)
    requests = (0x50009401, 0x5000940E, 0x5000940F, 0x50009417, 0x50009418, 0x5000943F)
    assert {asked("ioctl", 3, request | high) for request in requests for high in (0, HIGH)} == {"EPERM"}
    assert {asked("ioctl", 3, request) for request in (0x40049409, 0x50009402, 0x5401)} == {"allow"}


def opens(arch: str) -> list[tuple[str, tuple[int, ...]]]:
    """The calls that open an existing file, and what stands before their flags."""
    return [("openat", (0, 0)), ("open_by_handle_at", (0, 0))] + ([("open", (0,))] if arch == "x86_64" else [])


def test_truncate_by_path(arch: str) -> None:
    """truncate, and O_TRUNC with O_RDONLY, for which Landlock asks no right to write; openat2 is ENOSYS."""
    asked = Filter(guards.truncate_by_path(), arch)
    for name, before in opens(arch):
        assert {asked(name, *before, flags | HIGH) for flags in (0o1000, 0o1100)} == {"EACCES"}
        assert {asked(name, *before, flags) for flags in (0, 0o1001, 0o1002, 0o1101, 0o3, 0o2000000)} == {"allow"}
    assert (asked("truncate"), asked("openat2"), asked("ftruncate")) == ("EACCES", "ENOSYS", "allow")


def test_open_without_access(arch: str) -> None:
    """Access mode 3, with any other flags; openat2 is ENOSYS."""
    asked = Filter(guards.open_without_access(), arch)
    for name, before in opens(arch):
        assert {asked(name, *before, flags | HIGH) for flags in (0o3, 0o1003, 0o403, 0o2000003)} == {"EACCES"}
        assert {asked(name, *before, flags) for flags in (0, 0o1, 0o2, 0o1000, 0o2000002)} == {"allow"}
    assert asked("openat2") == "ENOSYS"


def test_no_sockets(arch: str) -> None:
    """No family at all; connected stream and packet pairs remain, datagram pairs do not."""
    asked = Filter(guards.socket_families({}), arch)
    for family in (UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK, 0, 45, 0xFFFFFFFF):
        assert {asked("socket", family | high, STREAM, 0) for high in (0, HIGH)} == {"EAFNOSUPPORT"}
    for kind in (STREAM, SEQPACKET, STREAM | CLOEXEC, SEQPACKET | NONBLOCK):
        assert asked("socketpair", UNIX | HIGH, kind | HIGH) == "allow"
    for kind in (DGRAM, RAW, DGRAM | CLOEXEC, 0, 10):
        assert asked("socketpair", UNIX | HIGH, kind | HIGH) == "EPERM"
    assert {asked("socketpair", family, STREAM) for family in (0, 2, 30)} == {"EAFNOSUPPORT"}


def test_socket_families(arch: str) -> None:
    """TCP only: no other type or protocol of its families, and no other family."""
    tcp = ((STREAM, (0, TCP)),)
    asked = Filter(guards.socket_families({INET: tcp, INET6: tcp}), arch)
    for family in (INET, INET6):
        for kind in (STREAM, STREAM | CLOEXEC | NONBLOCK):
            assert {asked("socket", family | HIGH, kind | HIGH, protocol | HIGH) for protocol in (0, TCP)} == {"allow"}
            refused = (MPTCP, SCTP, UDPLITE, UDP, 1, 256, 0xFFFFFFFF)
            assert {asked("socket", family, kind, protocol) for protocol in refused} == {"EPERM"}
        for kind in (DGRAM, RAW, SEQPACKET, 4, 6, 10, 0, DGRAM | CLOEXEC):
            assert {asked("socket", family | HIGH, kind, protocol) for protocol in (0, TCP, UDP, 255)} == {"EPERM"}
    assert {asked("socket", family, STREAM, 0) for family in (UNIX, NETLINK, PACKET, ALG, VSOCK, 3)} == {"EAFNOSUPPORT"}


def test_socket_families_with_udp_and_unix() -> None:
    """What is granted is granted together, and a family without a list entirely."""
    both = ((STREAM, (0, TCP)), (DGRAM, (0, UDP)))
    asked = Filter(guards.socket_families({INET: both, UNIX: None, NETLINK: None}))
    assert {asked("socket", INET, STREAM, TCP), asked("socket", INET, DGRAM, UDP), asked("socket", INET, DGRAM, 0)} == {
        "allow"
    }
    crossed = ((STREAM, UDP), (DGRAM, TCP), (DGRAM, UDPLITE), (DGRAM, 1), (RAW, 0))
    assert {asked("socket", INET, kind, protocol) for kind, protocol in crossed} == {"EPERM"}
    assert {asked("socket", family, kind, 9) for family in (UNIX, NETLINK) for kind in (STREAM, DGRAM, RAW)} == {
        "allow"
    }
    assert {asked("socketpair", UNIX, kind) for kind in (STREAM, DGRAM, SEQPACKET)} == {"allow"}
    assert asked("socket", INET6, STREAM, 0) == "EAFNOSUPPORT"


def test_ports_and_fast_open(arch: str) -> None:
    """listen, bind and MSG_FASTOPEN in each of the three calls that take it."""
    asked = Filter((*guards.no_listen(), *guards.no_bind(), *guards.tcp_fast_open()), arch)
    assert (asked("listen"), asked("bind"), asked("connect")) == ("EACCES", "EACCES", "allow")
    for name, before in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        assert {asked(name, *[0] * before, 0x20000000 | more) for more in (0, 0x4000, HIGH)} == {
            "ENOTSUP"
        }  # EOPNOTSUPP
        assert {asked(name, *[0] * before, flags | HIGH) for flags in (0, 0x4000, 0x40)} == {"allow"}


def test_io_uring(arch: str) -> None:
    """All three calls."""
    asked = Filter(guards.io_uring(), arch)
    assert {asked(f"io_uring_{name}") for name in ("setup", "enter", "register")} == {"EPERM"}


def test_the_syscalls_of_ordinary_programs() -> None:
    """What the built-in block `programs` stops, on which the default profile stands; what programs do stays."""
    asked = Filter(guards.namespaces(), profile=load(("programs",), ()))
    refused = "mount umount2 pivot_root chroot fsopen fsmount fsconfig fspick move_mount open_tree open_tree_attr"
    refused += " mount_setattr init_module finit_module delete_module clock_settime settimeofday adjtimex clock_adjtime"
    refused += " reboot kexec_load kexec_file_load swapon swapoff iopl ioperm ptrace perf_event_open pidfd_getfd"
    refused += " process_vm_readv process_vm_writev kcmp add_key request_key keyctl bpf userfaultfd fanotify_init acct"
    refused += " quotactl open_by_handle_at lookup_dcookie modify_ldt personality"
    assert {name: asked(name) for name in refused.split()} == dict.fromkeys(refused.split(), "EPERM")
    assert (asked("ioctl", 0, 0x5423 | HIGH), asked("ioctl", 0, 0x5424)) == ("EPERM", "allow")
    kept = "read openat clone execve socket ioctl clock_gettime prctl seccomp landlock_restrict_self rseq futex"
    assert {name: asked(name) for name in kept.split()} == dict.fromkeys(kept.split(), "allow")


def test_set_id_bits(arch: str) -> None:
    """Neither bit by any call that makes a file or changes its mode; a mode that is not used is not looked at."""
    asked = Filter(guards.set_id_bits(), arch)
    old = {"chmod": 1, "creat": 1, "mknod": 1} if arch == "x86_64" else {}
    for name, before in ({"fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "mknodat": 2} | old).items():
        assert {asked(name, *[0] * before, mode | HIGH) for mode in (0o4755, 0o2755, 0o6000)} == {"EPERM"}
        assert {asked(name, *[0] * before, mode | HIGH) for mode in (0o755, 0o1777, 0o100644)} == {"allow"}
    for name, before in ({"openat": 2} | ({"open": 1} if arch == "x86_64" else {})).items():
        front = [0] * before
        assert {asked(name, *front, flags | HIGH, 0o4755) for flags in (0o100, 0o1102, 0o20200000)} == {"EPERM"}
        assert {asked(name, *front, flags, 0o6755) for flags in (0, 2, 0o1001, 0o200000)} == {"allow"}
        assert {asked(name, *front, flags, 0o644) for flags in (0o100, 0o20200000)} == {"allow"}
    assert asked("openat2") == "ENOSYS"


def test_together_they_stay_short() -> None:
    """The filter of a network profile is loaded at every start: the whole of it within two pages of instructions."""
    tcp = ((STREAM, (0, TCP)), (DGRAM, (0, UDP)))
    wanted = guards.socket_families({INET: tcp, INET6: tcp}) + guards.terminal_injection() + guards.namespaces()
    wanted += (
        guards.prlimit_other() + guards.metadata() + guards.io_uring() + guards.set_id_bits() + guards.tcp_fast_open()
    )
    programs = Filter(wanted).programs
    assert sum(len(program) for program in programs) < 8 * 1800
    assert len(programs) <= 4
