"""Launch a hand-made plan in a child of the test, as root or as the ordinary user, and tell what came of it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import launch
from sandrun.errors import SandrunError, StepError
from sandrun.plan.format import Plan
from tests.support import PATH, Who, in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Watch:
    """The least that a supervisor decides: the command shares our session and process group."""

    new_session = own_group = foreground = False
    terminal = -1
    ignored = 0
    held = -1
    group = None
    relay = broker = None

    @staticmethod
    def clear() -> None:
        """Other children of this process are the test's."""


class Ran(NamedTuple):
    """How a launch ended: what the command did, or in `error` and below why it was not launched."""

    status: int
    """As subprocess has it: negative for a signal. For an error, sandrun's exit status."""
    out: bytes = b""
    err: bytes = b""
    error: str = ""
    message: str = ""
    hint: str = ""
    step: str = ""
    errno: int = 0


def launched(
    who: Who | None,
    *argv: str | bytes,
    values: Mapping[bytes, bytes] | None = None,
    before: Callable[[], object] | None = None,
    watch: Any = Watch,
    **fields: Any,
) -> Ran:
    """Run `argv` by a plan of these fields, after `before()`, and wait for it."""
    words = tuple(os.fsencode(word) for word in argv)
    fields.setdefault("env_pass", (b"PATH",))
    plan = Plan(executable=fields.pop("executable", words[0]), argv=words, **fields)
    return in_child(lambda: run_here(plan, values or {}, before, watch), who)


def run_here(
    plan: Plan, values: Mapping[bytes, bytes], before: Callable[[], object] | None = None, watch: Any = Watch
) -> Ran:
    """As `launched`, in this process, whose standard streams are lost to it."""
    os.environ["PATH"] = PATH
    output = [os.memfd_create("out"), os.memfd_create("err")]
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    for number, fd in enumerate(output, 1):
        os.dup2(fd, number)
    if before is not None:
        before()
    open_before = os.listdir("/proc/self/fd")
    try:
        child = launch.launch(plan, values, watch)
    except SandrunError as error:
        assert os.listdir("/proc/self/fd") == open_before, "a descriptor leaked"
        assert not has_children(), "a process is left"
        return failed(error)
    status = ended(child)
    assert os.listdir("/proc/self/fd") == open_before, "a descriptor leaked"
    for path in child.private:
        os.rmdir(path)
    return Ran(status, *map(whole, output))


def ended(child: launch.Child) -> int:
    """The exit status of a child, as subprocess has it; with all that is left of it cleared away."""
    status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    os.close(child.pidfd)
    if child.init:
        os.kill(child.init[0], signal.SIGKILL)
        os.waitpid(child.init[0], 0)
        os.close(child.init[1])
    return status


def failed(error: SandrunError) -> Ran:
    """What an error says."""
    step, number = (error.step, error.errno) if isinstance(error, StepError) else ("", 0)
    return Ran(error.status, b"", b"", type(error).__name__, error.message, error.hint or "", step, number)


def whole(fd: int) -> bytes:
    """All that was written to a memfd."""
    return os.pread(fd, 1 << 20, 0)


def has_children() -> bool:
    """Whether this process has a child, alive or not."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def proc_status(text: bytes) -> dict[str, str]:
    """The fields of /proc/PID/status (proc(5))."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.decode().splitlines())}


STATUS = ("/bin/cat", "/proc/self/status")
