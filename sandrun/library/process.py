"""`Popen`: a confined command as `subprocess.Popen` has it."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import IO, TYPE_CHECKING, Any

from sandrun.library.quick import end
from sandrun.library.start import Start, pipe, youngest
from sandrun.library.status import Status, Told

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.library.start import Argument
    from sandrun.library.words import Source

END = signal.SIGALRM
"""Has the supervisor kill the command and clear away all of its tree, then end."""
EXPLAIN = ("--explain",)
LAUNCHER_SECONDS = 10.0
"""How long a launcher may take for that before it is killed itself."""


class Popen(Told, subprocess.Popen[Any]):
    """A command that runs confined, with the methods and attributes of `subprocess.Popen`.

    `args` is the command; `profile` and `overrides` are as for `sandrun.run`. The constructor returns when the command
    runs. `pid` is the launcher's: signals that are sent to it reach the command (sandrun(1)), and `kill` ends the whole tree.
    `returncode` is negative for a command that a signal ended.
    Raises SandrunError if the command cannot be launched, with the message that the command line would print.
    """

    def __init__(
        self,
        args: Argument | Sequence[Argument],
        *,
        profile: Source | Iterable[Source] = "default",
        bufsize: int = -1,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        cwd: str | bytes | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        start_new_session: bool = False,
        process_group: int | None = None,
        explain: bool = False,
        _extra: Sequence[str] = (),
        **overrides: Any,
    ) -> None:
        self._raw: int | None = None
        start = Start(args, profile, overrides, env, pass_fds, (*_extra, *(EXPLAIN if explain else ())))
        read, write = pipe()
        self._status = Status(read)
        words = start.words(write)
        try:
            super().__init__(
                words,
                bufsize=bufsize,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=start.environment,
                pass_fds=start.fds(write),
                text=text,
                encoding=encoding,
                errors=errors,
                start_new_session=start_new_session,
                process_group=process_group,
            )
            begun, write = write, -1
            os.close(begun)
            start.close()
            self.args = args
            self._status.wait(self.pid)
        except BaseException:
            if write >= 0:
                os.close(write)
            start.close()
            self._abandon(words)
            raise
        if not self._status.started:
            self._close_pipes()
            status = self.wait()
            raise self._status.error(status)
        if explain:
            self._status.keep_reading()

    # --- how it ended ---

    @property
    def returncode(self) -> int | None:
        """None while it runs; the command's exit status; negative for the signal that ended the command."""
        if self._raw is None:
            return None
        self._status.finish()
        return self._status.returncode(self._raw)

    @returncode.setter
    def returncode(self, value: int | None) -> None:
        self._raw = value

    @property
    def ending(self) -> str | None:
        """How the command ended: "exited", "signalled" or "timeout" (of the profile); None while it runs.

        "lost" if the launcher was killed, so that nobody told.
        """
        if self._raw is None:
            return None
        self._status.finish()
        return self._status.ending()

    # --- signals ---

    def send_signal(self, sig: int) -> None:
        """Send a signal to the command; SIGKILL ends its whole tree."""
        if sig != signal.SIGKILL:
            super().send_signal(sig)
            return
        super().send_signal(END)
        super().send_signal(signal.SIGCONT)  # a stopped launcher hears nothing

    def kill(self) -> None:
        """End the command and all that it started."""
        self.send_signal(signal.SIGKILL)

    def end(self, seconds: float = LAUNCHER_SECONDS) -> None:
        """`kill`, and wait; the launcher itself is killed if it has not ended after `seconds`."""
        self.kill()
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            super().send_signal(signal.SIGKILL)
            self.wait()

    def _abandon(self, words: list[str]) -> None:
        """End what was begun, in a constructor that fails, whether its process id is known or not."""
        try:
            pid = getattr(self, "pid", None)
            if self._raw is None and self._status.is_heard():
                end(pid or youngest(words))
                self._raw = -signal.SIGKILL
            elif pid:
                self.end()
        finally:
            self._close_pipes()
            self._status.close()

    def _close_pipes(self) -> None:
        for name in ("stdin", "stdout", "stderr"):
            stream = getattr(self, name, None)  # not there yet, if the constructor failed early
            if stream:
                stream.close()
