"""The part of ctypes that `libc` needs, without its package. LIGHT.

The package makes some forty classes and imports four modules, 2.5 ms of each start of Python. The extension that it is
made of, `_ctypes`, does the same with the few that are named here; they mean what they mean in ctypes.
"""

from __future__ import annotations

import _ctypes
from _ctypes import addressof, get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ctypes import c_char, c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p
else:
    # By their codes, which are those of the module struct but for "z", a string, and "P", an address.
    c_char, c_char_p, c_int, c_uint, c_long, c_ulong, c_void_p = (
        type(code, (_ctypes._SimpleCData,), {"_type_": code}) for code in "cziIlLP"
    )

__all__ = [
    "addressof",
    "buffer",
    "c_char",
    "c_char_p",
    "c_int",
    "c_long",
    "c_uint",
    "c_ulong",
    "c_void_p",
    "function",
    "get_errno",
    "write_memory",
]


class _Function(_ctypes.CFuncPtr):
    """As of `ctypes.CDLL(None, use_errno=True)`."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO


class _HoldingFunction(_ctypes.CFuncPtr):
    """As of `ctypes.PyDLL(None, use_errno=True)`: the interpreter's lock is not released for the call."""

    _flags_ = _Function._flags_ | _ctypes.FUNCFLAG_PYTHONAPI


_PROGRAM = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # dlopen(3) takes NULL


def function(name: str, result: type, arguments: tuple[type, ...], *, holding: bool = False) -> Callable[..., int]:
    """The C library's function of that name; `get_errno` tells of its last call. Raises OSError if there is none.

    `holding`: the interpreter's lock is not released for the call.
    """
    found = (_HoldingFunction if holding else _Function)(_ctypes.dlsym(_PROGRAM, name))
    found.argtypes = arguments
    found.restype = result
    return found


def buffer(content: bytes | int) -> _ctypes.Array[c_char]:
    """Memory with these bytes, or with so many zeros."""
    if isinstance(content, int):
        return (c_char * content)()
    found = (c_char * len(content))()
    found.raw = content
    return found


def write_memory(address: int, data: bytes) -> None:
    """Write over this process's own memory."""
    (c_char * len(data)).from_address(address).raw = data
