"""The validator of an output: a command that judges the copy, and is confined itself, since what it reads is hostile.

It runs under the built-in profile `strict` with the copy as its standard input, sealed, and may read what
`validator_read` names besides. Its status 0 is yes. What it says is a part of the message, as far as it fits in one line.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from sandrun.brokered.checks import RefusedError
from sandrun.errors import EXIT_SANDRUN, EXIT_TIMEOUT
from sandrun.plan.environment import DEFAULT_PATH
from sandrun.primitives import fds
from sandrun.report import printable

if TYPE_CHECKING:
    from sandrun.brokered.declared import Output

PROFILE = "builtin:strict"
_MARGIN = 5.0
"""Seconds for sandrun itself to start, and to end what does not end."""
_MOST_SAID = 4096
_LOOK = 0.1
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); from sandrun import libc; "
    "libc.prctl(libc.PR_SET_PDEATHSIG, libc.SIGALRM); from sandrun.__main__ import main; main()"
)
"""If this process is killed, the validator ends with it."""
ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGALRM)
"""Signals that ask the launcher to end: they are blocked while it supervises, and pending here."""


def is_asked_to_end() -> bool:
    """Whether somebody wants the launcher to end rather than to write anything."""
    # A blocked signal is pending even where it is ignored, as under nohup(1).
    return any(signal.getsignal(number) != signal.SIG_IGN for number in signal.sigpending().intersection(ENDING))


def parts(output: Output) -> list[str]:
    """The files and directories that the judgment rests on, as far as the words and the grants of the validator name them."""
    program = shutil.which(output.validator[0], path=DEFAULT_PATH) if output.validator else None
    words = (word for word in output.validator if "/" in word and os.path.exists(word))
    read = (path for path in output.validator_read if path.startswith("/"))
    named = (*([program] if program else []), *words, *read, *([output.schema_file] if output.schema_file else []))
    return list(dict.fromkeys(os.path.join(os.getcwd(), path) for path in named))


def validate(output: Output, data: bytes) -> None:
    """Raise RefusedError unless the output's validator says yes to the data."""
    if not output.validator:
        return
    try:
        content = fds.sealed("sandrun-output", data)
        try:
            # Opened anew, so that it is only for reading.
            with open(f"/proc/self/fd/{content}", "rb", buffering=0) as given:
                status, said = _run(_words(output), given.fileno(), output.validator_timeout + _MARGIN)
        finally:
            os.close(content)
    except OSError as error:
        raise RefusedError(f"its validator cannot be started: {os.strerror(error.errno or 0)}") from None
    if status:
        raise RefusedError(_why(output, status, said))


def _words(output: Output) -> list[str]:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    options = ["-q", "-p", PROFILE, "--timeout", f"{output.validator_timeout}s", "--grace", "100ms"]
    for path in output.validator_read:
        options += [f"--read={path}"]
    return [
        sys.executable,
        "-I",
        *(("-B",) if sys.dont_write_bytecode else ()),
        "-c",
        _START,
        root,
        *options,
        "--",
        *output.validator,
    ]


def _run(words: list[str], stdin: int, most: float) -> tuple[int, bytes]:
    """Run it: its status, and the start of what it says on standard error. Nothing of it is left."""
    deadline = time.monotonic() + most
    with subprocess.Popen(
        words, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0
    ) as process:
        try:
            said = _read(process, deadline)
            return process.wait(max(0.0, deadline - time.monotonic())), said
        except (subprocess.TimeoutExpired, TimeoutError):
            return EXIT_TIMEOUT, b""
        finally:
            process.kill()


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    said = b""
    assert process.stderr  # noqa: S101 (a pipe was asked for)
    while time.monotonic() < deadline:
        if is_asked_to_end():
            raise RefusedError("sandrun was asked to end while its validator ran")
        if not select.select([process.stderr], [], [], _LOOK)[0]:
            continue
        piece = os.read(process.stderr.fileno(), _MOST_SAID)
        if not piece:
            return said
        said = (said + piece)[:_MOST_SAID]
    raise TimeoutError


def _why(output: Output, status: int, said: bytes) -> str:
    if status == EXIT_TIMEOUT:
        return f"its validator took more than {output.validator_timeout} seconds"
    lines = said.decode("utf-8", "replace").splitlines()
    about = f": {printable(lines[0].removeprefix('sandrun: '))[:300]}" if lines else ""
    how = "could not run" if status == EXIT_SANDRUN else f"refuses it (status {status})"
    return f"its validator {output.validator[0]} {how}{about}"
