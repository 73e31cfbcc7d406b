"""`call` and `sandboxed`: a function in a confined process of its own, its value or its exception here."""

from __future__ import annotations

import functools
import pathlib
import pickle
import re
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from sandrun.library import interpreter, sent, wire
from sandrun.library.call_errors import RemoteError, SendError, WireError, WorkerDiedError
from sandrun.library.channel import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sandrun.library.words import Source

P = ParamSpec("P")
T = TypeVar("T")

PROFILE = "strict"
"""The profile of a worker if none is given."""

REBUILT: Mapping[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(
            ArithmeticError,
            AssertionError,
            AttributeError,
            BlockingIOError,
            BrokenPipeError,
            BufferError,
            ChildProcessError,
        ),
        *(ConnectionAbortedError, ConnectionError, ConnectionRefusedError, ConnectionResetError, EOFError, Exception),
        *(FileExistsError, FileNotFoundError, FloatingPointError, ImportError, IndexError, InterruptedError),
        *(IsADirectoryError, KeyError, LookupError, MemoryError, ModuleNotFoundError, NameError, NotADirectoryError),
        *(
            NotImplementedError,
            OSError,
            OverflowError,
            PermissionError,
            ProcessLookupError,
            RecursionError,
            ReferenceError,
        ),
        *(RuntimeError, TimeoutError, TypeError, UnboundLocalError, UnicodeDecodeError, UnicodeEncodeError),
        *(UnicodeError, UnicodeTranslateError, ValueError, ZeroDivisionError),
    )
}
"""The exceptions that are made again here. Not those that mean something to the interpreter or its loops (SystemExit,
KeyboardInterrupt, GeneratorExit, StopIteration), nor SyntaxError, whose traceback shows lines of files that it names."""
_LONGEST_NAME = 200
_NAME = re.compile(r"\w+(\.(\w+|<locals>))+")


def call(
    function: Callable[..., T],
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    profile: Source | Iterable[Source] = PROFILE,
    timeout: float | None = None,
    max_size: int = wire.MAX_SIZE,
    pickle: bool = False,
    explain: bool = False,
    **overrides: Any,
) -> T:
    """Call `function(*args, **kwargs)` in a confined process of its own: return its value or raise its exception.

    The worker is a Python that starts with `profile` (by default `strict`: no file, no network) and `overrides`, as for
    `sandrun.run`; the interpreter and what is in `sys.path` are readable in addition, except directories that hold more than
    modules (a home, `/tmp`). The function is sent by its name, so it is defined at the top of a module, which the worker
    imports; one of a script is found by running the script as `__mp_main__`, as `multiprocessing` does. Arguments are pickled.
    Standard output and error are the caller's, unless `stdout` or `stderr` are given as for `sandrun.Popen`; standard input is
    empty. A profile that grants writing where modules of the caller lie, as `default` does for the current directory, lets the
    function change what the caller imports later.

    What comes back is read as an attacker's: None, bool, int, float, complex, str, bytes, list, tuple, dict, set,
    frozenset (not within sets and keys), date, time, datetime, timedelta, Decimal and Path, up to `max_size` bytes, and
    nothing that has to be imported. A built-in exception is raised as itself, with the worker's traceback as a note;
    its arguments are the worker's words, with what a terminal could act on escaped. Any other becomes RemoteError.

    `pickle=True` has the result pickled. WARNING: unpickling runs whatever the worker wants with all rights of the caller: this
    gives the confinement up for everyone who can make the function misbehave.

    `explain=True` has the worker watched, which slows it down: an exception gets a note of what the profile refused.

    `timeout` is in seconds, the start included. Nothing of the worker is left when this returns or raises.

    Raises CallTimeoutError; WorkerDiedError if it ended, was killed or left processes behind; WireError if what it wrote is
    no result; SendError if function, argument or result cannot be sent; SandrunError if it cannot be started.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    job = sent.make(function, args, kwargs, max_size=max_size, pickled=pickle)
    paths = interpreter.grants(job, function)
    with Worker(profile, {**overrides, "explain": explain}, paths, max_size) as worker:
        kind, body = worker.ask(job, deadline)
        worker.finish()
        denials = worker.denials
    try:
        return value(kind, body)  # type: ignore[no-any-return]
    except Exception as error:
        if denials:
            refused = (f"{one.what}: {one.reason}" + (f" ({one.remedy})" if one.remedy else "") for one in denials)
            error.add_note(wire.shown("\n".join(["refused by the profile:", *refused])))
        raise


@overload
def sandboxed(function: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def sandboxed(
    *, profile: Source | Iterable[Source] = PROFILE, **options: Any
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
def sandboxed(
    function: Callable[P, T] | None = None, /, *, profile: Source | Iterable[Source] = PROFILE, **options: Any
) -> Any:
    """A decorator: each call of the function is a `sandrun.call`, with these options and overrides.

    Use it with or without parentheses. The function itself stays within reach as `__wrapped__`. In its worker it runs as it
    is, so that it may call itself.
    """
    if function is None:
        return functools.partial(sandboxed, profile=profile, **options)
    wanted = function

    @functools.wraps(wanted)
    def confined(*args: P.args, **kwargs: P.kwargs) -> T:
        if hasattr(confined, sent.CONFINED):
            return wanted(*args, **kwargs)
        return call(confined, *args, kwargs=kwargs, profile=profile, **options)

    setattr(confined, sent.MARK, wanted)
    return confined


def value(kind: bytes, body: bytes) -> Any:
    """What an answer means: return the value, or raise. `kind` is one that was asked for."""
    if kind == wire.PICKLED:
        return pickle.loads(body)  # noqa: S301 (the caller asked for it, warned)
    told = wire.decode(body)
    if kind == wire.VALUE:
        return told
    if kind == wire.RAISED:
        raise exception(told)
    raise refusal(told)


def exception(told: Any) -> Exception:
    """The exception that a worker tells of: one of REBUILT, or a RemoteError. Raises WireError."""
    module, name, args, message, lines = _fields(told, (str, str, (tuple, type(None)), str, str))
    if len(module) + len(name) > _LONGEST_NAME or not _NAME.fullmatch(f"{module}.{name}"):
        raise WireError("cannot use what the worker wrote: malformed: no name of a type")
    message, lines = wire.shown(message), wire.shown(lines)
    error = _rebuild(name, args) if module == "builtins" else None
    if error is None:
        full = name if module == "builtins" else f"{module}.{name}"
        error = RemoteError(
            f"{full}: {message}" if message else full, type_name=full, remote_message=message, traceback=lines
        )
    error.add_note(f"in the confined worker:\n{lines.rstrip()}")
    return error


def _rebuild(name: str, args: Any) -> Exception | None:
    kind = REBUILT.get(name)
    if kind is None or args is None:
        return None
    if any(isinstance(arg, pathlib.PurePath) and wire.shown(str(arg)) != str(arg) for arg in args):
        return None
    try:
        error = kind(*(wire.shown(arg) if isinstance(arg, str) else arg for arg in args))
    except (TypeError, ValueError):
        return None  # arguments that this type does not take
    # OSError makes another type of itself by its number: one of the list, since these are all.
    return error if type(error) in REBUILT.values() else None


def refusal(told: Any) -> Exception:
    """Why a worker has no result to tell, in its own words. Raises WireError."""
    if not isinstance(told, tuple) or not 2 <= len(told) <= 3 or not all(isinstance(text, str) for text in told):
        raise WireError("cannot use what the worker wrote: malformed: no reason")
    why, text = told[0], wire.shown(told[1])
    if why == sent.RESULT:
        return SendError(text, hint=wire.shown(told[2]) if told[2:] and told[2] else None)
    if why == sent.LINGERS:
        return WorkerDiedError(
            "cannot use the result: the function left processes behind: they have been killed",
            hint="wait for what the function starts before it returns",
        )
    if why == sent.LOAD:
        error = SendError(
            f"the worker cannot load the function or its arguments: {text.strip().rpartition(chr(10))[2]}"
        )
        error.add_note(f"in the confined worker:\n{text.rstrip()}")
        return error
    raise WireError("cannot use what the worker wrote: malformed: no reason")


def _fields(told: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(told, tuple) or len(told) != len(kinds) or not all(map(isinstance, told, kinds)):
        raise WireError("cannot use what the worker wrote: malformed: no exception")
    return told
