"""What `ffi` takes of the extension `_ctypes` is what the package ctypes makes of it."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING

import pytest

from sandrun import ffi, libc

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = {name: getattr(ctypes, name) for name in ("c_int", "c_uint", "c_long", "c_ulong", "c_void_p")}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str) -> None:
    """As wide, and the same of the values at both ends."""
    ours, theirs = getattr(ffi, name), NUMBERS[name]
    assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)
    for value in (0, 1, -1, 2**31, 2**63 - 1, 2**64 - 1):
        assert ours(value).value == theirs(value).value


@pytest.mark.parametrize("holding", [False, True])
def test_functions(holding: bool) -> None:
    """Arguments of each kind arrive, the result is an int, and errno is the one of the last call."""
    library = (ctypes.PyDLL if holding else ctypes.CDLL)(None, use_errno=True)
    cases = (
        ("strnlen", ("c_char_p", "c_ulong"), (b"abc", 9)),
        ("memchr", ("c_void_p", "c_int", "c_ulong"), (None, 0, 0)),
        ("access", ("c_char_p", "c_int"), (b"/nowhere", os.F_OK)),
        ("close", ("c_int",), (-1,)),
    )
    for name, types, arguments in cases:
        ours = ffi.function(name, ffi.c_int, tuple(getattr(ffi, one) for one in types), holding=holding)
        theirs = library[name]
        theirs.argtypes = tuple(getattr(ctypes, one) for one in types)
        theirs.restype = ctypes.c_int
        ctypes.set_errno(0)
        expected = theirs(*arguments), ctypes.get_errno()
        ctypes.set_errno(0)
        assert (ours(*arguments), ffi.get_errno()) == expected


def test_errno_is_kept() -> None:
    """What comes between a call and the look at its errno does not change it."""
    ffi.function("close", ffi.c_int, (ffi.c_int,))(-1)
    os.path.exists("/nowhere")
    assert ffi.get_errno() == errno.EBADF


@pytest.mark.parametrize("wrong", ["text", 1.5, b"bytes", (1,)])
def test_wrong_arguments(wrong: object) -> None:
    """Are refused before the call, as by ctypes."""
    with pytest.raises(ctypes.ArgumentError):
        ffi.function("close", ffi.c_int, (ffi.c_int,))(wrong)


def test_unknown_function() -> None:
    """The C library has no such function."""
    with pytest.raises(OSError, match="sandrun_has_none"):
        ffi.function("sandrun_has_none", ffi.c_int, ())


def test_buffers() -> None:
    """Their bytes, those that a NUL is among too; zeros where a length is given."""
    assert ffi.buffer(3).raw == b"\0\0\0"
    assert ffi.buffer(b"a\0b").raw == b"a\0b"
    room = ffi.buffer(4)
    libc.write_memory(ffi.addressof(room) + 1, b"x\0")
    assert room.raw == b"\0x\0\0"


def test_a_file_system_that_cannot_be_asked(tmp_path: Path) -> None:
    """Is an error, not a file system with the number 0."""
    assert libc.statfs(b"/proc") == 0x9FA0
    with pytest.raises(FileNotFoundError):
        libc.statfs(os.fsencode(tmp_path / "nothing"))
