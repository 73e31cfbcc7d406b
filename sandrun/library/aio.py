"""`create_subprocess_exec`: a confined command under asyncio, as `asyncio.create_subprocess_exec` has it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import IO, TYPE_CHECKING, Any, TypeVar

from sandrun.library.process import END, EXPLAIN, LAUNCHER_SECONDS
from sandrun.library.start import Start, pipe
from sandrun.library.status import Status, Told

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from types import TracebackType

    from sandrun.library.start import Argument
    from sandrun.library.words import Source

T = TypeVar("T")
LIMIT = 65536
"""As asyncio's: how much a stream buffers, and the longest line."""


class Process(Told):
    """A confined command, with the methods and attributes of `asyncio.subprocess.Process`.

    `communicate` that is cancelled ends the whole tree; `wait` that is cancelled does not, so that a command can be given
    more time. `async with` ends the tree on the way out.
    """

    def __init__(self, process: asyncio.subprocess.Process, status: Status) -> None:
        self._process = process
        self._status = status
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self.pid = process.pid
        """The launcher's; see `command_pid`."""

    @property
    def returncode(self) -> int | None:
        """None while it runs; the command's exit status; negative for the signal that ended the command."""
        raw = self._process.returncode
        if raw is None:
            return None
        self._status.finish()
        return self._status.returncode(raw)

    @property
    def ending(self) -> str | None:
        """As `Popen.ending`."""
        return None if self.returncode is None else self._status.ending()

    async def wait(self) -> int:
        """Wait for the command to end; its `returncode`."""
        raw = await self._process.wait()
        self._status.finish()
        return self._status.returncode(raw)

    async def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:  # noqa: A002 (asyncio's name)
        """Write `input`, read until the end of the output, and wait. Ends the tree if it is cancelled or fails."""
        try:
            out = await self._process.communicate(input)
        except BaseException:
            await self.end()
            raise
        await self.wait()
        return out

    def send_signal(self, sig: int) -> None:
        """Send a signal to the command; SIGKILL ends its whole tree."""
        if sig != signal.SIGKILL:
            self._process.send_signal(sig)
            return
        self._process.send_signal(END)
        self._process.send_signal(signal.SIGCONT)  # a stopped launcher hears nothing

    def terminate(self) -> None:
        """Send SIGTERM to the command."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the command and all that it started."""
        self.send_signal(signal.SIGKILL)

    async def end(self, seconds: float = LAUNCHER_SECONDS) -> None:
        """`kill`, and wait; the launcher itself is killed if it has not ended after `seconds`.

        Goes on when it is cancelled itself: nothing is to be left.
        """
        if self._process.returncode is None:
            _, cancelled = await _through(self._end(seconds))
            if cancelled:
                raise cancelled
        self._status.finish()

    async def _end(self, seconds: float) -> None:
        try:
            self.kill()
            await asyncio.wait_for(self._process.wait(), seconds)
        except ProcessLookupError:  # it has ended, and nobody was told yet
            await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def __aenter__(self) -> Process:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()


async def _through(work: Coroutine[Any, Any, T]) -> tuple[T, asyncio.CancelledError | None]:
    """Await `work` to its end: its result, and the cancellation that came in between."""
    task = asyncio.ensure_future(work)
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    return task.result(), cancelled


async def _decided(status: Status, launcher: asyncio.subprocess.Process) -> None:
    """Wait until the command runs, or never will. As `Status.wait`, the end of the launcher counts by itself."""
    loop = asyncio.get_running_loop()
    known = loop.create_future()

    def read() -> None:
        if not status.read() and not known.done():
            known.set_result(None)

    os.set_blocking(status.fd, False)
    loop.add_reader(status.fd, read)
    ended = asyncio.ensure_future(launcher.wait())
    try:
        await asyncio.wait([known, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(status.fd)
        ended.cancel()


async def create_subprocess_exec(
    program: Argument,
    *args: Argument,
    profile: Source | Iterable[Source] = "default",
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    limit: int = LIMIT,
    cwd: str | bytes | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Iterable[int] = (),
    start_new_session: bool = False,
    process_group: int | None = None,
    explain: bool = False,
    **overrides: Any,
) -> Process:
    """Start a command with only what `profile` grants it, and return when it runs.

    Arguments are those of `asyncio.create_subprocess_exec` and of `sandrun.run`. Raises SandrunError if it cannot be
    launched.
    """
    start = Start([program, *args], profile, overrides, env, pass_fds, EXPLAIN if explain else ())
    read, write = pipe()
    status = Status(read)
    try:
        launcher, cancelled = await _through(
            asyncio.create_subprocess_exec(
                *start.words(write),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                limit=limit,
                cwd=cwd,
                env=start.environment,
                pass_fds=start.fds(write),
                start_new_session=start_new_session,
                process_group=process_group,
            )
        )
    except BaseException:
        status.close()
        raise
    finally:
        os.close(write)
        start.close()
    process = Process(launcher, status)
    try:
        if cancelled:
            raise cancelled
        await _decided(status, launcher)
    except BaseException:
        await process.end()
        raise
    if launcher.returncode is not None:
        status.finish()
    if not status.started:
        await launcher.communicate()  # which closes all pipes
        raise status.error(await process.wait())
    if explain:
        os.set_blocking(status.fd, True)
        status.keep_reading()
    return process
