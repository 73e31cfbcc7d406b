"""Why the adapter of pyseccomp is as it is: each trap of the library, shown here. If one of these fails, the library
has changed, and `primitives/seccomp_compile.py` may shed what closes that trap."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sandrun.primitives.seccomp_compile import Rule, compile_filter, compile_program, load_pyseccomp
from sandrun.primitives.seccomp_match import Refusal, cubes
from tests import bpf_sim as sim
from tests.support import need

if TYPE_CHECKING:
    from types import ModuleType

SOCKET, IOCTL, WRITE, MSEAL = 41, 16, 1, 462
AF_UNIX, AF_INET = 1, 2
TIOCSTI = 0x5412
EPERM = sim.ERRNO | sim.EPERM
EAFNOSUPPORT = sim.ERRNO | sim.EAFNOSUPPORT


@pytest.fixture(name="lib")
def _lib() -> ModuleType:
    need(os.uname().machine == "x86_64", "these numbers are x86_64's")
    return load_pyseccomp()


def export(program: Any) -> bytes:
    fd = os.memfd_create("contract")
    with os.fdopen(fd, "w+b") as file:
        program.export_bpf(file)
        return os.pread(fd, 1 << 20, 0)


def test_an_unconditional_rule_swallows_argument_rules(lib: ModuleType) -> None:
    """Raw: `KILL ioctl(TIOCSTI)` beside `ALLOW ioctl` allows TIOCSTI, in either order. Ours: it is refused."""
    for order in (1, -1):
        program = lib.SyscallFilter(lib.ERRNO(errno.EPERM))
        rules = [(lib.ALLOW, IOCTL, ()), (lib.KILL_PROCESS, IOCTL, (lib.Arg(1, lib.EQ, TIOCSTI),))][::order]
        for action, number, tests in rules:
            program.add_rule(action, number, *tests)
        assert sim.run(export(program), IOCTL, (0, TIOCSTI)) == sim.ALLOW
    wanted = [Refusal(IOCTL, sim.KILL_PROCESS, [{1: cubes("eq", (TIOCSTI,), 0, 32)}])]
    assert sim.verdict(compile_filter("x86_64", {IOCTL: sim.ALLOW}, wanted), IOCTL, (0, TIOCSTI)) == sim.KILL_PROCESS


def test_a_second_unconditional_rule_is_ignored(lib: ModuleType) -> None:
    """Raw: the first of two actions wins silently. Ours: an error."""
    program = lib.SyscallFilter(lib.ALLOW)
    program.add_rule(EPERM, SOCKET)
    program.add_rule(lib.KILL_PROCESS, SOCKET)
    assert sim.run(export(program), SOCKET) == EPERM
    with pytest.raises(ValueError, match="two kinds"):
        compile_program("x86_64", sim.ALLOW, [Rule(SOCKET, EPERM), Rule(SOCKET, sim.KILL_PROCESS)])


def test_equal_compares_64_bits(lib: ModuleType) -> None:
    """Raw: a denied socket(AF_INET) is passed by `AF_INET | 1 << 32`. Ours: refused, as the kernel sees AF_INET."""
    program = lib.SyscallFilter(lib.ALLOW)
    program.add_rule(EPERM, SOCKET, lib.Arg(0, lib.EQ, AF_INET))
    assert sim.run(export(program), SOCKET, (AF_INET | 1 << 32,)) == sim.ALLOW
    wanted = [Refusal(SOCKET, EPERM, [{0: cubes("eq", (AF_INET,), 0, 32)}])]
    assert sim.verdict(compile_filter("x86_64", {SOCKET: sim.ALLOW}, wanted), SOCKET, (AF_INET | 1 << 32,)) == EPERM


def test_one_default_action_for_known_and_unknown(lib: ModuleType) -> None:
    """Raw: an allow-list answers unknown numbers like refused ones, and no C library falls back on EPERM. Ours: ENOSYS."""
    program = lib.SyscallFilter(lib.ERRNO(errno.EPERM))
    program.add_rule(lib.ALLOW, WRITE)
    assert (sim.run(export(program), SOCKET), sim.run(export(program), 9999)) == (EPERM, EPERM)
    programs = compile_filter("x86_64", {WRITE: sim.ALLOW, SOCKET: EPERM}, [])
    assert (sim.verdict(programs, SOCKET), sim.verdict(programs, 9999)) == (EPERM, sim.ERRNO | sim.ENOSYS)


def test_an_action_equal_to_the_default_is_an_error(lib: ModuleType) -> None:
    """Raw: PermissionError. Ours: such a rule changes nothing and is left out."""
    with pytest.raises(PermissionError):
        lib.SyscallFilter(lib.ALLOW).add_rule(lib.ALLOW, WRITE)
    assert sim.run(compile_program("x86_64", sim.ALLOW, [Rule(WRITE, sim.ALLOW)]), WRITE) == sim.ALLOW


def test_numbers_are_cut_off(lib: ModuleType) -> None:
    """Raw: `2**32 + 1` is taken for 1, write. Ours: an error."""
    program = lib.SyscallFilter(lib.ALLOW)
    program.add_rule(EPERM, (1 << 32) + WRITE)
    assert sim.run(export(program), WRITE) == EPERM
    with pytest.raises(ValueError, match="not a syscall number"):
        compile_program("x86_64", sim.ALLOW, [Rule((1 << 32) + WRITE, EPERM)])


def test_pseudo_numbers_are_taken_and_do_nothing(lib: ModuleType) -> None:
    """Raw: a call of another architecture has a negative number, whose rule vanishes. Ours: an error."""
    number = lib.resolve_syscall(lib.Arch.X86_64, "socketcall")
    assert number < 0
    program = lib.SyscallFilter(lib.ALLOW)
    before = export(program)
    program.add_rule(EPERM, number)
    assert export(program) == before
    with pytest.raises(ValueError, match="not a syscall number"):
        compile_program("x86_64", sim.ALLOW, [Rule(number, EPERM)])


def test_names_are_cut_off_at_a_nul(lib: ModuleType) -> None:
    """Raw: `read\\0x` is read. Ours: names are looked up in our own tables, where it is none."""
    from sandrun.policy import syscalls

    assert lib.resolve_syscall(lib.Arch.X86_64, "read\0x") == 0
    assert syscalls.complaint("read\0x") is not None


def test_newer_names_are_unknown_but_their_numbers_work(lib: ModuleType) -> None:
    """Raw: this library may not know mseal by name. Ours: numbers only, so it does not have to."""
    assert lib.resolve_syscall(lib.Arch.X86_64, "no_such_call") == -1
    assert sim.run(compile_program("x86_64", sim.ALLOW, [Rule(MSEAL, EPERM)]), MSEAL) == EPERM


def test_two_tests_of_one_argument_are_an_error(lib: ModuleType) -> None:
    """Raw: EINVAL. Ours: one masked test an argument, whatever was asked."""
    with pytest.raises(OSError, match="Invalid argument"):
        lib.SyscallFilter(lib.ALLOW).add_rule(EPERM, IOCTL, lib.Arg(1, lib.GE, 1), lib.Arg(1, lib.LE, 9))
    programs = compile_filter("x86_64", {IOCTL: sim.ALLOW}, [Refusal(IOCTL, EPERM, [{1: cubes("ge", (7,), 0, 32)}])])
    assert [sim.verdict(programs, IOCTL, (0, value)) for value in (6, 7, 1 << 32)] == [sim.ALLOW, EPERM, sim.ALLOW]


def test_export_wants_a_real_file(lib: ModuleType) -> None:
    """Raw: what has no descriptor cannot be written to. Ours: a memfd."""
    import io

    with pytest.raises(io.UnsupportedOperation):
        lib.SyscallFilter(lib.ALLOW).export_bpf(io.BytesIO())
    descriptors = set(os.listdir("/proc/self/fd"))
    compile_program("x86_64", sim.ALLOW, [Rule(WRITE, EPERM)])
    assert set(os.listdir("/proc/self/fd")) <= descriptors


def test_foreign_abis_are_killed_only_if_told(lib: ModuleType) -> None:
    """Raw: the answer is KILL_THREAD, after which the process goes on. Ours: KILL_PROCESS."""
    program = lib.SyscallFilter(lib.ALLOW)
    assert sim.run(export(program), WRITE, (), sim.I386) == sim.KILL_THREAD
    assert sim.run(compile_program("x86_64", sim.ALLOW, []), WRITE, (), sim.I386) == sim.KILL_PROCESS
    assert sim.run(compile_program("x86_64", sim.ALLOW, []), WRITE | sim.X32_BIT) == sim.KILL_PROCESS


NESTED = """
import sys
from sandrun import libc
from sandrun.primitives.seccomp_compile import Rule, compile_program, load_pyseccomp
libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, 0, libc.SockFprog(bytes.fromhex(sys.argv[1])))
if sys.argv[2] == "ours":
    compile_program("x86_64", 0x7fff0000, [Rule(1, 0x80000000), Rule(2, 0x7ffc0000)])
else:
    import pyseccomp
    pyseccomp.SyscallFilter(pyseccomp.ALLOW).add_rule(pyseccomp.LOG, 2)
"""


def test_it_compiles_what_this_kernel_admits_to(lib: ModuleType) -> None:
    """Raw: inside a sandbox that refuses seccomp(2), KILL_PROCESS and LOG are EINVAL. Ours: a program is a program."""
    outer = compile_program("x86_64", sim.ALLOW, [Rule(317, sim.ERRNO | sim.ENOSYS)]).hex()
    done = {
        which: subprocess.run([sys.executable, "-c", NESTED, outer, which], capture_output=True, text=True)
        for which in ("raw", "ours")
    }
    assert "OSError: [Errno 22]" in done["raw"].stderr
    assert (done["ours"].returncode, done["ours"].stderr) == (0, "")


SPY = """
import sys
def hook(event, args):
    if event == "subprocess.Popen":
        print(args[0], args[1][:2])
sys.addaudithook(hook)
"""


def test_its_import_starts_processes() -> None:
    """Raw: at least one child process (ldconfig or a compiler). Ours: none."""
    raw = subprocess.run([sys.executable, "-c", SPY + "import pyseccomp"], capture_output=True, text=True, check=True)
    assert raw.stdout
    code = SPY + "from sandrun.primitives.seccomp_compile import load_pyseccomp; load_pyseccomp()"
    ours = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ours.stdout == ""
