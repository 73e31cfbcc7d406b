"""The syscalls that processes were killed for, from the kernel's log, where it may be read (/dev/kmsg, dmesg_restrict).

A filter that answers with kill-process wins over the observer's notification, so nothing else knows of that call.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from sandrun.explain.denials import Denial, Who
from sandrun.explain.remedies import Remedy
from sandrun.policy import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.why.judge import Judge

PATH = "/dev/kmsg"
LONGEST = 8192
"""A record is never longer (Documentation/ABI/testing/dev-kmsg)."""
MOST = 100_000
SIGSYS = 31
_KILLED = re.compile(
    rb'audit: type=1326 .* pid=(?P<pid>\d+) comm=\S+ exe="(?P<program>[^"]*)" sig=31 .* syscall=(?P<number>\d+) '
)
NOT_KNOWN = Remedy(text='the kernel log names it: journalctl -k -g type=1326, "syscall="')


class Killed(NamedTuple):
    """One process that a filter killed."""

    pid: int
    program: str
    number: int


class KernelLog:
    """What the kernel logs from now on; nothing where its log may not be read."""

    def __init__(self) -> None:
        try:
            self._fd = os.open(PATH, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self._fd = -1

    def killed(self) -> Iterator[Killed]:
        """The processes that filters killed since then, whoever's they are. Ends the reading."""
        if self._fd < 0:
            return
        try:
            for _ in range(MOST):
                try:
                    record = os.read(self._fd, LONGEST)
                except BrokenPipeError:
                    continue  # older records were overwritten meanwhile
                except OSError:
                    return
                found = _KILLED.search(record)
                if found:
                    yield Killed(int(found["pid"]), os.fsdecode(found["program"]), int(found["number"]))
        finally:
            os.close(self._fd)
            self._fd = -1


def denials(log: KernelLog, pids: frozenset[int], judge: Judge, arch: str, when: float) -> Iterator[Denial]:
    """Those of the command, whose processes are `pids`; one of which nothing is known, if the log tells of none."""
    found = [killed for killed in log.killed() if killed.pid in pids]
    for pid, program, number in found:
        name = syscalls.name_of(number, arch)
        who = (Who(program, pid, when),)
        try:
            answer = judge.syscall(name)
        except ValueError:
            yield Denial("syscall", name, f"syscall {name}", "it is of another architecture", who=who, fatal=True)
            continue
        yield Denial(
            "syscall", name, f"syscall {name}", answer.reason, answer.entries, ("seccomp",), who=who, fatal=True
        )
    if not found:
        words = "a syscall that the filters kill for"
        yield Denial("syscall", "", words, "the process died of SIGSYS", (), ("seccomp",), fatal=True, remedy=NOT_KNOWN)
