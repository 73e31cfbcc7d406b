"""The caller's side of a confined worker. Whatever comes from there is taken for an attack until it has been read.

One socket pair is all that the two share; it is the worker's standard input. The caller never blocks on it: it waits for the
socket and for the end of the launcher at once, so that a worker that closes, stops reading, floods or lingers is one that
ends, and a process that keeps the socket open after the worker's end keeps nobody waiting.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

from sandrun.library import interpreter, sent, wire
from sandrun.library.call_errors import CallTimeoutError, WireError, WorkerDiedError
from sandrun.library.process import Popen
from sandrun.library.words import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from sandrun.library.status import Denial
    from sandrun.library.words import Source

END_SECONDS = 5.0
"""How long a worker that has told its result, or has closed its end, may take to leave by itself."""
_CHUNK = 1 << 18
_LONGEST_WAIT = 1_000_000.0
"""Seconds of one poll(2), which takes milliseconds in an int."""
_SPIN_SECONDS = 0.01
"""Between looks at a socket that is readable without data: urgent bytes make it so (unix(7), MSG_OOB)."""


class Worker:
    """A confined process that runs jobs, one after the other. `end` leaves nothing of it, however it behaves."""

    def __init__(
        self, profile: Source | Iterable[Source], overrides: dict[str, Any], paths: tuple[str, ...], max_size: int
    ) -> None:
        """Start it. Raises SandrunError as `sandrun.Popen` does, and ArgumentError for an input."""
        if "stdin" in overrides:
            raise ArgumentError("cannot take the argument stdin: hand the function its input as an argument of its own")
        self.paths = paths
        self.max_size = max_size
        self._read = bytearray()
        self._greeted = False
        self._pidfd = -1
        self._socket, theirs = socket.socketpair()
        try:
            options = interpreter.merged(overrides, paths)
            self._process = Popen(interpreter.words(), profile=profile, stdin=theirs.fileno(), **options)
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
            self._socket.setblocking(False)
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def ask(self, job: sent.Job, deadline: float | None) -> tuple[bytes, bytes]:
        """Have a job done: the kind and body of the answer, which nobody has looked into yet.

        Raises WorkerDiedError, WireError, CallTimeoutError; the worker is of no use after any of them.
        """
        if not self._greeted:
            kind, body = self._receive(deadline)
            if kind != wire.HELLO or body:
                raise WireError("cannot use what the worker wrote: it is no result")
            self._greeted = True
        self._nothing_more()
        self._send(sent.message(job), deadline)
        kind, body = self._receive(deadline)
        allowed = (wire.RAISED, wire.REFUSED, wire.PICKLED if job.pickled else wire.VALUE)
        if kind not in allowed:
            raise WireError("cannot use what the worker wrote: it is no result")
        self._nothing_more()
        return kind, body

    def is_ready(self) -> bool:
        """Whether it waits for a job: it lives, and has written nothing that nobody asked for."""
        return not self._read and self._take() is None and not self._leaves(0)

    def finish(self) -> None:
        """Tell it that there are no more jobs and see it leave. Raises what `ask` does, for one that does not leave in order."""
        self._socket.shutdown(socket.SHUT_WR)
        if not self._leaves(time.monotonic() + END_SECONDS):
            raise WorkerDiedError(
                "cannot use the result: the worker told it and did not end: it has been killed",
                hint="something that the function started has taken hold of the worker",
            )
        self._nothing_more()
        returncode = self._process.wait()
        if returncode:
            raise WorkerDiedError(
                f"cannot use the result: the worker told it and then {self._how(returncode)}", returncode=returncode
            )

    def end(self) -> None:
        """Kill the worker and all that it started; more than once is fine."""
        self._socket.close()
        try:
            if self._process.poll() is None:
                self._process.end()
        finally:
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    def kill(self) -> None:
        """Kill it from another thread: the one that waits for an answer gets a WorkerDiedError."""
        if self._process.returncode is None:
            self._process.kill()

    @property
    def denials(self) -> tuple[Denial, ...]:
        """What the worker was refused, once it has ended, if `explain` was asked for."""
        return self._process.denials or ()

    # --- one side, and the other ---

    def _send(self, data: bytes, deadline: float | None) -> None:
        view = memoryview(data)
        while view:
            events = self._wait(select.POLLOUT, deadline)
            if events & select.POLLIN:
                self._unasked()
            if not events:
                raise self._died()
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionError):
                raise self._died() from None

    def _unasked(self) -> None:
        """Something can be read while a job is sent: an end, an attack, or an urgent byte, which is nothing."""
        data = self._take()
        if data == b"":
            raise self._died()
        if data:
            raise WireError("cannot use what the worker wrote: an answer before it was asked")
        time.sleep(_SPIN_SECONDS)

    def _receive(self, deadline: float | None) -> tuple[bytes, bytes]:
        """The next frame, whole."""
        self._fill(wire.HEADER.size, deadline)
        kind, length = wire.header(bytes(self._read[: wire.HEADER.size]), self.max_size)
        end = wire.HEADER.size + length
        self._fill(end, deadline)
        body = bytes(self._read[wire.HEADER.size : end])
        del self._read[:end]
        return kind, body

    def _fill(self, size: int, deadline: float | None) -> None:
        """Have at least this many bytes read."""
        while len(self._read) < size:
            events = self._wait(select.POLLIN, deadline)
            data = self._take()
            if data is None and events & select.POLLIN:
                time.sleep(_SPIN_SECONDS)
            elif data == b"" or data is None:
                raise self._died()
            else:
                self._read += data

    def _take(self) -> bytes | None:
        """What is there to be read: b"" at its end, None for nothing now."""
        try:
            return self._socket.recv(_CHUNK)
        except BlockingIOError:
            return None
        except ConnectionError:
            return b""

    def _nothing_more(self) -> None:
        """Nothing is there to be read: what was written before it was asked for, or after it was told, is an attack."""
        if self._read or self._take():
            raise WireError("cannot use what the worker wrote: more than one result")

    def _wait(self, events: int, deadline: float | None) -> int:
        """The events of the socket once there are some; 0 if the launcher has ended. Raises CallTimeoutError."""
        poll = select.poll()
        poll.register(self._socket, events | select.POLLIN)
        poll.register(self._pidfd, select.POLLIN)
        found: dict[int, int] = {}
        while not found:
            left = _LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise CallTimeoutError("the function took too long: it has been killed")
            found = dict(poll.poll(min(left, _LONGEST_WAIT) * 1000))
        return found.get(self._socket.fileno(), 0)

    def _leaves(self, limit: float) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, limit - time.monotonic()) * 1000))

    # --- how it ended ---

    def _died(self) -> WorkerDiedError:
        """The error for a worker that is gone, or has closed its end of the socket."""
        left = self._leaves(time.monotonic() + END_SECONDS)
        if not left:
            self._process.end()
        returncode = self._process.wait()
        how = self._how(returncode) if left else "closed its end and lived on: it has been killed"
        if not self._greeted:
            return WorkerDiedError(
                f"cannot start a worker: it {how} before it was ready",
                hint="a worker is a Python: see what it printed, and whether the profile lets it start (sandrun --explain)",
                returncode=returncode,
                denials=self.denials,
            )
        part = f" after {len(self._read)} bytes of an answer" if self._read else ""
        hint = None
        if returncode == -signal.SIGSYS:
            hint = "its filter killed it for a system call that the profile does not allow; explain=True tells which"
        if self.denials:
            hint = wire.shown("it was refused: " + "; ".join(f"{one.what}: {one.reason}" for one in self.denials))
        return WorkerDiedError(
            f"no result: the worker {how}{part}", hint=hint, returncode=returncode, denials=self.denials
        )

    def _how(self, returncode: int) -> str:
        if self._process.ending == "timeout":
            return "was ended by the timeout of its profile"
        if returncode >= 0:
            return f"ended with status {returncode}"
        try:
            return f"was killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"was killed by signal {-returncode}"
