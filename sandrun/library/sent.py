"""What the caller of `sandrun.call` sends to its worker: a function by its name, and its arguments.

This direction is trusted: the worker unpickles what its caller wrote. A function goes by reference, as with `multiprocessing`'s
`spawn`, and the worker imports it; functions of `__main__` are found by running that file under another name.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys

from sandrun.library.call_errors import SendError
from sandrun.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

LENGTH = struct.Struct(">Q")
"""Before each message to a worker: how many bytes follow."""
MARK = "__sandboxed__"
"""The attribute of a function that `@sandboxed` made: the function that was decorated."""
CONFINED = "__confined__"
"""The attribute that a worker sets on it: it runs in the process that was made for it, and may call itself."""
RESULT, LOAD, LINGERS = "result", "load", "lingers"
"""Why a worker has no result: it cannot be sent, the function cannot be loaded, processes of it are left."""


class Job(NamedTuple):
    """One message to a worker."""

    call: bytes
    """A pickle of the function, its arguments and keyword arguments."""
    path: tuple[str, ...]
    """The caller's `sys.path`."""
    main: tuple[str, str] | None
    """How to find the caller's `__main__`: ("name", MODULE) or ("path", FILE). None if the call does not need it."""
    max_size: int
    """Bytes of a result."""
    pickled: bool
    """Whether the result is to be a pickle."""
    discarded: bool = False
    """Whether the value is of no interest, as with an initializer."""


def make(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    max_size: int,
    pickled: bool = False,
    discarded: bool = False,
) -> Job:
    """The job of calling a function. Raises SendError that names what cannot be sent."""
    function = by_name(function)
    named = dict(kwargs or {})
    try:
        call = pickle.dumps((function, tuple(args), named), pickle.HIGHEST_PROTOCOL)
    except _UNPICKLABLE as error:
        raise _unsendable(function, args, named, error) from None
    main = _main(function) if b"__main__" in call else None
    return Job(call, search_path(), main, max_size, pickled, discarded)


def message(job: Job) -> bytes:
    """The bytes of a job."""
    data = pickle.dumps(tuple(job), pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data


def search_path() -> tuple[str, ...]:
    """The caller's `sys.path`, where "" is the current directory of now."""
    return tuple(os.path.abspath(entry) for entry in sys.path)


def by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself, or what its name finds if that is the same but for `@sandboxed`.

    Raises SendError for one without a name to import it by. Callable objects are left to pickle.
    """
    if not callable(function):
        raise SendError(f"cannot send the function: {function!r:.80} cannot be called")
    name = getattr(function, "__qualname__", None)
    module = getattr(function, "__module__", None)
    if name is None or module is None or not isinstance(function, (type, type(by_name))):
        return function
    if "<" in name:
        kind = "a lambda" if name.endswith("<lambda>") else "a function inside of another"
        raise SendError(
            f"cannot send the function: {module}.{name}: {kind} has no name that the worker could import",
            hint="define it at the top of a module; functools.partial gives it the values it needs",
        )
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    same = (function, getattr(function, MARK, function))
    if found is None or (found not in same and getattr(found, MARK, None) not in same):
        raise SendError(
            f"cannot send the function: {module}.{name}: this name is not that function's there",
            hint="the worker imports the module and looks the name up: a decorator or an assignment may have changed it",
        )
    return found  # type: ignore[no-any-return]


_UNPICKLABLE = (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError)
"""What pickle raises for objects that it cannot take."""


def _unsendable(function: object, args: Sequence[Any], kwargs: Mapping[str, Any], error: Exception) -> SendError:
    """Which part of the call it is."""
    parts = [("the function", function)]
    parts += [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    parts += [(f"argument {name}", value) for name, value in kwargs.items()]
    for what, value in parts:
        try:
            pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except _UNPICKLABLE as own:
            kind = type(value)
            return SendError(
                f"cannot send {what}: of type {kind.__module__}.{kind.__qualname__}: {own}",
                hint="arguments are pickled: send a path instead of an open file, plain data instead of a connection or lock",
            )
    return SendError(f"cannot send the call: {error}")


def _main(function: object) -> tuple[str, str]:
    """Where `__main__` is. Raises SendError for an interactive session."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return "name", str(spec.name)
    file = getattr(main, "__file__", None)
    if not file or not os.path.isfile(file):
        raise SendError(
            f"cannot send the function: {getattr(function, '__qualname__', function)}: `__main__` is no file here",
            hint="save it in a file: the worker has to import it",
        )
    return "path", os.path.abspath(file)
