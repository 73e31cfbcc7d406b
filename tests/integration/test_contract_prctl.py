"""The traps of python-prctl, each pinned: when one of these fails, upstream mended it and `caps` can be simpler."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType
from typing import Any

import _prctl
import prctl
import pytest

from sandrun import libc
from sandrun.primitives import caps, capset
from tests.support import Who, in_child, need_root


def test_version() -> None:
    """All below is said of this version."""
    assert importlib.metadata.version("python-prctl") == "1.8.1"


def test_number_40_has_no_name() -> None:
    """Trap: capability 40 is known by number and not by name; ours has the name, and drops it by number."""
    with pytest.raises(ValueError, match="Unknown capability"):
        prctl.capbset.drop("checkpoint_restore")
    assert 40 in prctl.ALL_CAPS
    assert caps.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40


def test_capabilities_of_the_build() -> None:
    """Trap: what is newer than its build is refused. Then libc does all of it."""
    with pytest.raises(ValueError, match="Unknown capability: 60"):
        prctl.capbset.drop(60)
    sets = capset.Sets(1 << 60, 0, last=60)
    assert sets._arguments is None


def test_limit_leaves_newer_capabilities() -> None:
    """Trap: `limit()` drops only what was known at build time, so `caps` counts up to the kernel's last one itself."""
    assert max(prctl.ALL_CAPS) == prctl.CAP_LAST_CAP


def test_permitted_alone_is_refused(who: Who) -> None:
    """Trap: lowering the permitted set before the effective one is EPERM; ours sets all three in one call."""
    need_root()

    def attempt() -> tuple[int, int, int]:
        if who.is_root:
            with pytest.raises(PermissionError):
                prctl.cap_permitted.limit()
        capset.Sets(0, 0, caps.bounding_set()[1]).set()
        return libc.capget()

    assert in_child(attempt, who) == (0, 0, 0)


def test_no_ambient_set() -> None:
    """Trap: the ambient set does not exist for it, and the generic call refuses the option."""
    assert not hasattr(prctl, "cap_ambient")
    with pytest.raises(ValueError, match="Unknown prctl option"):
        _prctl.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_CLEAR_ALL)


def test_no_cap_ambient_raise() -> None:
    """Trap: the fourth securebit is refused, and in its presence every other one. Ours goes past it then."""
    need_root()

    def attempt() -> int:
        with pytest.raises(ValueError, match="Invalid securebits"):
            prctl.set_securebits(0b11 << 6)
        libc.prctl(libc.PR_SET_SECUREBITS, 0b11 << 6)
        with pytest.raises(ValueError, match="Invalid securebits"):
            prctl.securebits.noroot = True
        capset.set_securebits(0b11 << 6 | 1)
        return libc.prctl(libc.PR_GET_SECUREBITS)

    assert in_child(attempt) == 0b11 << 6 | 1


def test_import_fails_with_newer_headers() -> None:
    """Trap: built where capability 41 exists, it fails at import; `capset` then does everything by libc."""

    def attempt() -> tuple[str, bool]:
        newer = ModuleType("_prctl")
        vars(newer).update(vars(_prctl), CAP_LAST_CAP=41)
        sys.modules["_prctl"] = newer
        for name in ("prctl", "sandrun.primitives.capset"):
            del sys.modules[name]
        try:
            __import__("prctl")
        except NameError as error:
            text = str(error)
        again: Any = __import__("sandrun.primitives.capset", fromlist=["capset"])
        again.set_attribute(libc.PR_SET_NO_NEW_PRIVS, 1)
        return text, again.prctl is None and libc.prctl(libc.PR_GET_NO_NEW_PRIVS) == 1

    assert in_child(attempt) == ("name 'warnings' is not defined", True)


def test_bytes_that_are_no_text() -> None:
    """Trap: a name that is not UTF-8 is SystemError. We set no names by it."""
    with pytest.raises(SystemError):
        prctl.set_name("\udcff")


def test_works() -> None:
    """What we do leave to it: the options by which the kernel's answer follows."""

    def attempt() -> list[int]:
        for option in capset._SETTERS:
            assert hasattr(prctl, capset._SETTERS[option])
        capset.set_attribute(libc.PR_SET_PDEATHSIG, 15)
        capset.set_attribute(libc.PR_SET_CHILD_SUBREAPER, 1)
        return [prctl.get_pdeathsig(), prctl.get_child_subreaper()]

    assert in_child(attempt) == [15, 1]
