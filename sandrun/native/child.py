"""Start the child of a supervisor in Python: the native program walks the steps of `sandrun.steps`, not a fork of this one.

LIGHT. What stands beside the child (relay, observer, broker, control group, directories of overlays) is this process's; its
descriptors go to the child with their numbers. All the rest is in a document in a sealed memfd: `SRCHILD\\0`, then
little-endian records `tag:u16 length:u32 payload` as in a plan, tags from 0: the numbers (u64, see `_numbers`; all ones for
none), the plan, the environment, the private directories, upper and work directory of each overlay (lists of bytes), the
descriptors of the control groups (u64).

No Python runs between the start of the process and execve(2), so a process with threads may do this too.
"""

from __future__ import annotations

import os
import struct

from sandrun import libc, native
from sandrun.primitives import fds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.plan.format import Plan
    from sandrun.steps import Watch

MAGIC = b"SRCHILD\0"
VERSION = 1
_NONE = 2**64 - 1
_NEW_SESSION, _OWN_GROUP, _FOREGROUND = 1, 2, 4
_SIGNALS = tuple(signal for signal in range(1, libc.NSIG + 1) if signal not in (32, 33))
"""All but the two that the C library uses itself (nptl(7))."""


class Spawned:
    """A child on its way to the command.

    `pid` is the first process, the maker: a child of this one. `reader` is where it tells, as a forked one does: records
    `steps.RECORD`, and the end of the file once the command has been executed or has failed to be. `answer` is where one
    byte is written when the ids that it asked for (`steps.IDS`) are mapped, -1 if it will not ask. Both are the caller's to
    close.
    """

    __slots__ = ("answer", "pid", "reader")

    def __init__(self, pid: int, reader: int, answer: int) -> None:
        self.pid = pid
        self.reader = reader
        self.answer = answer


def spawn(
    plan: Plan,
    watch: Watch,
    environment: Sequence[bytes],
    private: Sequence[bytes] = (),
    overlays: Sequence[tuple[bytes, bytes]] = (),
) -> Spawned:
    """Start a process that walks the steps of this plan and executes its command, with all that `watch` decided.

    `environment` is the command's, `NAME=value` each; `private` are the directories made for `plan.private_dirs`, and
    `overlays` the upper and work directory of each overlay. Returns as soon as the process has been started. It first makes
    the namespaces, then starts the init process, if the plan has a pid namespace, and that of the command; both are
    children of this process as well, whose ids it tells (INIT, COMMAND), and it ends. The caller reaps all three. The first
    record may be NOT_SERVED: the plan is not as the native program does it, or something in the way of it was found before
    anything was done. Then `sandrun.steps`, in a fork, has the words for it or can do it.

    It may be called from any thread, at any time: nothing of this process is changed, no descriptor is inheritable in it at
    any moment, and signals are blocked in the child until the step that resets them. The kernel kills the command when the
    *thread* that called this ends (PR_SET_PDEATHSIG, prctl(2)), so that one is to live as long as the command. Descriptors
    of `plan.pass_fds` are inherited as they are. Raises OSError if the program cannot be started.
    """
    opened: list[int] = []
    try:
        reader, writer = _opened(opened, os.pipe2(os.O_CLOEXEC))
        asked, answer = _opened(opened, os.pipe2(os.O_CLOEXEC)) if plan.id_helpers else (-1, -1)
        (supervisor,) = _opened(opened, (os.pidfd_open(os.getpid()),))
        relay = watch.relay.channel if watch.relay else -1
        calls = watch.broker.channel if watch.broker else -1
        groups = tuple(watch.group.joins) if watch.group else ()
        given = (watch.terminal, writer, supervisor, watch.held, relay, calls, asked)
        place = watch.broker.place if watch.broker and plan.observe else 0
        data = _document(plan, _numbers(watch, given, place), environment, private, overlays, groups)
        (document,) = _opened(opened, (fds.sealed("sandrun-child", data),))
        pid = os.posix_spawn(
            native.BINARY,
            (b"sandrun-exec", b"--child", b"%d" % document),
            {},  # what the command gets must not act on a program that is not confined yet
            # To their own numbers: in the child alone they are no longer close-on-exec.
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in {document, *given, *groups, *plan.hold} if fd > 2],
            setsigmask=_SIGNALS,
        )
        for fd in (reader, answer):
            if fd >= 0:
                opened.remove(fd)
    finally:
        for fd in opened:
            os.close(fd)
    return Spawned(pid, reader, answer)


def _opened(opened: list[int], fds: tuple[int, ...]) -> tuple[int, ...]:
    opened += fds
    return fds


def _numbers(watch: Watch, given: Iterable[int], place: int) -> tuple[int, ...]:
    flags = _NEW_SESSION * watch.new_session | _OWN_GROUP * watch.own_group | _FOREGROUND * watch.foreground
    effective, permitted, _ = libc.capget()
    fds = (fd if fd >= 0 else _NONE for fd in given)
    return (VERSION, flags, watch.ignored, *fds, place, permitted, effective)


def _document(
    plan: Plan,
    numbers: Sequence[int],
    environment: Iterable[bytes],
    private: Iterable[bytes],
    overlays: Iterable[tuple[bytes, bytes]],
    groups: Sequence[int],
) -> bytes:
    records = (
        struct.pack(f"<{len(numbers)}Q", *numbers),
        plan.to_bytes(),
        _strings(environment),
        _strings(private),
        _strings(path for both in overlays for path in both),
        struct.pack(f"<{len(groups)}Q", *groups),
    )
    return MAGIC + b"".join(struct.pack("<HI", tag, len(data)) + data for tag, data in enumerate(records))


def _strings(items: Iterable[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)
