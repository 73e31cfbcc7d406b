"""The confined process that runs functions for `sandrun.call`: what it is told comes on standard input, what it tells goes back.

Everything in here is at the mercy of the functions that it runs. It is written to tell the truth about honest ones; what the
caller believes is decided on the caller's side (`channel.py`).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import sys
import traceback
import types
from io import BytesIO

from sandrun import libc
from sandrun.library import sent, wire
from sandrun.library.call_errors import SendError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

LONGEST_TRACEBACK = 64 * 1024
_CHUNK = 1 << 20


def main() -> NoReturn:
    """Run one job after the other until the caller closes its end."""
    channel = _take_channel()
    # An interrupt from the terminal is the caller's to speak of.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What a function starts and leaves becomes a child of this process, also from a session of its own. A filter that
    # refuses this may refuse fork(2) as well.
    with contextlib.suppress(OSError):
        libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    _send(channel, wire.frame(wire.HELLO, b""))
    while size := _read(channel, sent.LENGTH.size):
        job = sent.Job(*pickle.loads(_read(channel, *sent.LENGTH.unpack(size))))  # noqa: S301 (the caller is trusted)
        kind, body = answer(job)
        _flush()
        _send(channel, wire.frame(kind, body))
    # What the functions registered for the end of the interpreter is not waited for: threads of theirs may never end.
    os._exit(0)


def _take_channel() -> int:
    """The channel behind a number that no program takes for its own, and an empty standard input in its place."""
    channel = os.dup(0)
    empty, other = os.pipe()
    os.close(other)
    os.dup2(empty, 0)
    os.close(empty)
    return channel


def answer(job: sent.Job) -> tuple[bytes, bytes]:
    """Do a job: the kind and body of the frame that tells of it."""
    try:
        sys.path[:] = job.path
        function, args, kwargs = _Unpickler(job).load()
    except Exception:  # noqa: BLE001 (importing runs whatever the module holds)
        return _refused(sent.LOAD, traceback.format_exc())
    if hasattr(function, sent.MARK):
        setattr(function, sent.CONFINED, True)
    try:
        value = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 (SystemExit as well is an answer)
        told = wire.RAISED, _exception(error)
    else:
        told = _value(None if job.discarded else value, job)
    return _refused(sent.LINGERS, "") if _is_left() else told


def _value(value: object, job: sent.Job) -> tuple[bytes, bytes]:
    if job.pickled:
        try:
            data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001 (reducers are the function's own code)
            return _refused(sent.RESULT, f"cannot send the result: of type {type(value).__qualname__}: {_text(error)}")
        if len(data) > job.max_size:
            return _refused(sent.RESULT, f"cannot send the result: more than {job.max_size} bytes")
        return wire.PICKLED, data
    try:
        return wire.VALUE, wire.encode(value, job.max_size)
    except SendError as error:
        return _refused(sent.RESULT, error.message, error.hint or "")
    except Exception as error:  # noqa: BLE001 (threads of the function may change the value meanwhile)
        return _refused(sent.RESULT, f"cannot send the result: {type(error).__qualname__}: {_text(error)}")


def _refused(why: str, *texts: str) -> tuple[bytes, bytes]:
    return wire.REFUSED, wire.encode((why, *(text[-LONGEST_TRACEBACK:] for text in texts)))


def _exception(error: BaseException) -> bytes:
    """Module, name, arguments (None if they cannot be sent), text and traceback of an exception."""
    kind = type(error)
    where = error.__traceback__.tb_next if error.__traceback__ else None
    lines = "".join(traceback.format_exception(kind, error, where))[-LONGEST_TRACEBACK:]
    told = (kind.__module__, kind.__qualname__)
    text = _text(error)[:LONGEST_TRACEBACK]
    try:
        # An OSError has its file names there, and not in `args`.
        return wire.encode((*told, tuple(error.__reduce__()[1]), text, lines), wire.MAX_TOLD)
    except Exception:  # noqa: BLE001 (a type of the function's own can do anything in here)
        return wire.encode((*told, None, text, lines))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 (the same)
        return f"<its text cannot be had: {type(second).__qualname__}>"


def _is_left() -> bool:
    """Whether the function left a process running; those that have ended are collected."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except OSError:
        return False  # no child at all, or no right to ask
    return True


class _Unpickler(pickle.Unpickler):
    """Finds names of the caller's `__main__` in its file, run under another name so that its own main part is not."""

    def __init__(self, job: sent.Job) -> None:
        super().__init__(BytesIO(job.call))
        self._main = job.main

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and self._main:
            found: Any = _load_main(*self._main)
            for part in name.split("."):
                found = getattr(found, part)
            return found
        importlib.import_module(module)
        return super().find_class(module, name)


def _load_main(how: str, where: str) -> types.ModuleType:
    """The caller's `__main__`, as `multiprocessing` has it: `__mp_main__` is the name that programs know to stand for it."""
    if "__mp_main__" in sys.modules:
        return sys.modules["__mp_main__"]
    import runpy  # noqa: PLC0415 (each worker pays for what it imports, and few need this)

    module = types.ModuleType("__mp_main__")
    if how == "name":
        module.__dict__.update(runpy.run_module(where, run_name="__mp_main__", alter_sys=True))
    else:
        module.__dict__.update(runpy.run_path(where, run_name="__mp_main__"))
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    return module


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # Closed by the function, or nobody reads it.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()


def _read(fd: int, size: int) -> bytes:
    """Exactly this many bytes, or b"" where the caller has closed its end."""
    data = bytearray()
    while len(data) < size:
        more = os.read(fd, min(size - len(data), _CHUNK))
        if not more:
            return b""
        data += more
    return bytes(data)


def _send(fd: int, data: bytes) -> None:
    """Write all of it. If nobody waits for it any more, the process ends without a word."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError:
        os._exit(0)
