"""Compiled filters in the kernel: what the simulator says is what a process gets."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from sandrun import libc
from sandrun.kernel import Kernel
from sandrun.plan.draft import Draft
from sandrun.plan.syscalls import resolve_syscalls
from sandrun.policy import guards
from sandrun.policy._syscalls import NUMBERS
from sandrun.profile.model import Origin, Profile, SyscallRule, Value
from tests import bpf_sim as sim
from tests.support import ChildDiedError, Who, in_child, need, need_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sandrun.plan.draft import Guard

MACHINE = os.uname().machine
TOKEN = {"x86_64": sim.X86_64, "aarch64": sim.AARCH64}.get(MACHINE, 0)
TIOCSTI, TIOCGWINSZ = 0x5412, 0x5413

_libc = ctypes.CDLL(None, use_errno=True)


def syscall(name: str | int, *args: int) -> int:
    """The raw call with 64-bit arguments: its result, or minus its errno."""
    number = NUMBERS[MACHINE][name] if isinstance(name, str) else name
    registers = [ctypes.c_uint64(value % (1 << 64)) for value in args]
    ctypes.set_errno(0)
    result = int(_libc.syscall(ctypes.c_long(number), *registers))
    return -ctypes.get_errno() if result == -1 else result


def programs(more: Iterable[Guard] = (), **keys: list[object] | str) -> tuple[bytes, ...]:
    """The filter of these keys of [syscalls] and these guards, for this machine."""
    need(MACHINE in NUMBERS, f"sandrun knows no syscalls of {MACHINE}")
    values = {
        f"syscalls.{key}": tuple(
            Value(entry, Origin("p.toml", key)) for entry in (found if isinstance(found, list) else [found])
        )
        for key, found in keys.items()
    }
    draft = Draft(Profile("p", values=MappingProxyType(values)))
    draft.guards.extend(more)
    resolve_syscalls(draft, Kernel(arch=MACHINE))
    assert not draft.problems
    made: tuple[bytes, ...] = draft.fields["seccomp"]
    return made


def load(made: tuple[bytes, ...]) -> None:
    """As the launch does it, in this process."""
    ready = [libc.SockFprog(program) for program in made]
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    for program in ready:
        libc.seccomp(libc.SECCOMP_SET_MODE_FILTER, 0, program)


def confined(made: tuple[bytes, ...], attempt: Callable[[], object], who: Who) -> object:
    """What `attempt` returns in a child of this user under this filter."""

    def run() -> object:
        load(made)
        return attempt()

    return in_child(run, who)


def ended_by(made: tuple[bytes, ...], attempt: Callable[[], object], who: Who) -> int:
    """The signal that ended a child of this user during `attempt` under this filter."""
    with pytest.raises(ChildDiedError) as death:
        confined(made, attempt, who)
    return death.value.signal


def test_terminal_input_with_high_bits(who: Who) -> None:
    """`TIOCSTI | 1 << 32` is TIOCSTI to the kernel: refused with and without the bit, the window size is not."""
    leader, terminal = pty.openpty()

    def attempt() -> list[int]:
        window = ctypes.create_string_buffer(8)
        letter = ctypes.create_string_buffer(b"x")
        requests = ((TIOCSTI, letter), (TIOCSTI | 1 << 32, letter), (TIOCGWINSZ | 1 << 32, window))
        return [syscall("ioctl", terminal, request, ctypes.addressof(place)) for request, place in requests]

    try:
        assert confined(programs(guards.terminal_injection()), attempt, who) == [-errno.EPERM, -errno.EPERM, 0]
        control = in_child(attempt, who)
        assert control[0] == control[1]  # the kernel sees no difference
        assert control[2] == 0
    finally:
        os.close(leader)
        os.close(terminal)


def test_socket_family_with_high_bits(who: Who) -> None:
    """`AF_INET | 1 << 32` is AF_INET to the kernel; an unlisted family is refused in both forms."""

    def attempt() -> list[bool]:
        return [
            syscall("socket", family, 1, 0) == -errno.EAFNOSUPPORT for family in (2, 2 | 1 << 32, 10, 1, 1 | 7 << 40)
        ]

    made = programs(guards.socket_families({1: None}))
    assert confined(made, attempt, who) == [True, True, True, False, False]
    assert in_child(attempt, who)[:2] == [False, False]


def test_no_sockets_but_connected_pairs(who: Who) -> None:
    """A datagram pair could still be sent from to any path; a stream pair leads nowhere else."""

    def attempt() -> list[int]:
        place = ctypes.addressof(ctypes.create_string_buffer(8))
        return [min(syscall("socketpair", 1, kind | socket.SOCK_CLOEXEC, 0, place), 0) for kind in (1, 5, 2, 3)]

    assert confined(programs(guards.socket_families({})), attempt, who) == [0, 0, -errno.EPERM, -errno.EPERM]
    assert in_child(attempt, who) == [0, 0, 0, 0]


def test_threads_start_without_clone3(who: Who) -> None:
    """clone3 answers ENOSYS, so the C library starts threads and processes with clone; namespaces are refused."""

    def attempt() -> list[int]:
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(syscall("gettid")))
        thread.start()
        thread.join()
        done = subprocess.run(["/bin/true"], check=False).returncode
        new_user = 0x10000000
        return [
            len(seen),
            done,
            syscall("clone3", 0, 0),
            syscall("unshare", new_user),
            syscall("unshare", new_user | 1 << 40),
        ]

    expected = [1, 0, -errno.ENOSYS, -errno.EPERM, -errno.EPERM]
    assert confined(programs(guards.namespaces()), attempt, who) == expected


def test_unknown_numbers_are_not_there(who: Who) -> None:
    """A number that nobody knows yet answers ENOSYS, and so does one beyond every table."""
    made = programs(allow=["@known"], default="kill-process")
    assert confined(made, lambda: [syscall(number) for number in (9999, 600, 1 << 20)], who) == [-errno.ENOSYS] * 3


def test_every_refusal_is_the_kernels_answer_too(who: Who) -> None:
    """Each refused number, with and without arguments that matter, answers in the kernel as in the simulator.

    Only refused calls are made: they never run.
    """
    wanted = guards.metadata() + guards.io_uring() + guards.namespaces() + guards.socket_families({})
    more = (*guards.prlimit_other(), *guards.tcp_fast_open(), *guards.set_id_bits())
    opens = (*guards.truncate_by_path(), *guards.open_without_access())
    made = programs((*wanted, *more, *opens), allow=["@system-service"], deny=["@keyring"])
    samples = [(0,) * 6, (1,) * 6, (2 | 1 << 32, 1, 0, 0x20000000, 0, 0), (0x1000, 0x1000, 0x200, 0x20000000, 0, 0)]
    samples += [(0xFFFFFFFF << 32 | 5, 0x5412, 0x203, 0, 0, 0), (0x02000000, 0x40086602 | 1 << 33, 0x20000000, 0, 0, 0)]
    expected = {}
    for number in (*NUMBERS[MACHINE].values(), 2000):
        for args in samples:
            verdict = sim.verdict(made, number, args, TOKEN)
            if verdict & 0xFFFF0000 == sim.ERRNO:
                expected[number, args] = -(verdict & 0xFFFF)
    assert len(expected) > 400

    def attempt() -> dict[tuple[int, tuple[int, ...]], int]:
        answers = {key: syscall(key[0], *key[1]) for key in expected}
        return {key: value for key, value in answers.items() if value != expected[key]}

    assert confined(made, attempt, who) == {}


def test_a_killing_rule_kills(who: Who) -> None:
    """The process ends by SIGSYS where the argument is so, and runs on where it is not."""
    made = programs(rules=[SyscallRule("getpriority", 0, "eq", 1, "kill-process")])
    assert confined(made, lambda: syscall("getpriority", 0, 0) > 0, who) is True
    assert ended_by(made, lambda: syscall("getpriority", 1 | 1 << 32, 0), who) == signal.SIGSYS


def test_x32_numbers_are_killed(who: Who) -> None:
    """The numbers of x32 would be another way to every call."""
    need(MACHINE == "x86_64", "x32 belongs to x86_64")
    made = programs(guards.terminal_injection())
    assert ended_by(made, lambda: syscall(NUMBERS["x86_64"]["getpid"] | sim.X32_BIT), who) == signal.SIGSYS


def test_i386_calls_are_killed(who: Who) -> None:
    """`int 0x80` enters the kernel with other numbers: 20 is getpid there, and writev here."""
    need(MACHINE == "x86_64", "int 0x80 belongs to x86_64")

    def attempt() -> int:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(bytes.fromhex("b814000000 cd80 c3"))  # mov eax, 20; int 0x80; ret
        function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        return int(function())

    assert ended_by(programs(guards.terminal_injection()), attempt, who) == signal.SIGSYS


def run(made: tuple[bytes, ...], who: Who, *argv: str, data: str = "") -> tuple[int, str, str]:
    """Execute a program under a filter, loaded just before execve."""
    process = who.popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: load(made),
    )
    output, errors = process.communicate(data, timeout=60)
    return process.returncode, output, errors


STARTS = [
    (("true",), "", ""),
    (("cat",), "abc", "abc"),
    (("sort",), "b\na\n", "a\nb\n"),
    (("/bin/sh", "-c", "echo hello"), "", "hello\n"),
    (("awk", "{ print $2 }"), "a b\n", "b\n"),
]


@pytest.mark.parametrize("default", ["errno", "kill-process"])
@pytest.mark.parametrize(
    ("argv", "data", "output"), STARTS, ids=lambda value: value[0] if isinstance(value, tuple) else None
)
def test_filters_start_with_stdio_alone(argv: tuple[str, ...], data: str, output: str, default: str, who: Who) -> None:
    """The promise stdio is enough for filters to start, read, write and end; with kill-process nothing is missed."""
    made = programs(promises=["stdio"], default=default)
    assert run(made, who, need_program(argv[0]), *argv[1:], data=data) == (0, output, "")


def test_bash_wants_more(who: Who) -> None:
    """bash opens /dev/tty for writing (tty) and looks its user up (getpw); a plain errno it takes as it comes."""
    argv = (need_program("bash"), "-c", "read x; echo $x $((1+2))")
    for keys in ({"promises": ["stdio"]}, {"promises": ["stdio", "tty", "getpw"], "default": "kill-process"}):
        assert run(programs(**keys), who, *argv, data="hi\n") == (0, "hi 3\n", "")


PYTHON = """
import threading, json, decimal, sys
thread = threading.Thread(target=lambda: print("thread", flush=True))
thread.start(); thread.join()
print(json.dumps(sorted(sys.stdin.read().split())))
"""


def test_python_starts_with_stdio_alone(who: Who) -> None:
    """The interpreter, its imports and its threads; but no child, no socket, no file to write."""
    made = programs(promises=["stdio"])
    assert run(made, who, sys.executable, "-I", "-S", "-c", PYTHON, data="b a") == (0, 'thread\n["a", "b"]\n', "")
    code = "import os\nfor attempt in {}:\n  try: attempt()\n  except OSError as error: print(error.errno)"
    attempts = "(os.fork, lambda: open('new', 'w'), lambda: __import__('socket').socket(), lambda: os.kill(1, 0))"
    assert run(made, who, sys.executable, "-I", "-S", "-c", code.format(attempts)) == (0, "1\n1\n1\n1\n", "")


def test_promises_for_a_shell_that_starts_programs(who: Who) -> None:
    """stdio, rpath, proc and exec run a pipeline; cpath and wpath are needed to write a file."""
    reading = programs(promises=["stdio", "rpath", "proc", "exec"])
    assert run(reading, who, "/bin/sh", "-c", "echo b a | tr ' ' '\\n' | sort | head -n 1") == (0, "a\n", "")
    status, _, errors = run(reading, who, "/bin/sh", "-c", "echo x > made")
    assert status != 0
    assert "Operation not permitted" in errors
    writing = programs(promises=["stdio", "rpath", "proc", "exec", "wpath", "cpath"])
    assert run(writing, who, "/bin/sh", "-c", "echo x > made && cat made && rm made") == (0, "x\n", "")


def test_an_allow_list_of_systemds_runs_programs(who: Who) -> None:
    """`@system-service` without its privileged part, as systemd's documentation recommends it."""
    made = programs(allow=["@system-service"], deny=["@privileged", "@resources"])
    assert run(made, who, "/bin/sh", "-c", "ls / | sort | head -n 1")[0] == 0
    assert run(made, who, sys.executable, "-I", "-S", "-c", "import os; os._exit(os.system('exit 3') >> 8)")[0] == 3
