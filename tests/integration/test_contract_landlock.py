"""The traps of the package `landlock`, each pinned: when one of these fails, upstream mended it and the adapter can be
simpler. Beside each trap stands what `landlock_names` makes of it."""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import os
import platform
import struct
from typing import TYPE_CHECKING, Any

import landlock
import pytest
from landlock import plumbing

from sandrun import libc
from sandrun.primitives import landlock as ours
from sandrun.primitives import landlock_names
from tests.support import Who, in_child, landlock_abi, need_landlock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def clean() -> None:
    """The package works only where no earlier call left an errno behind: that is the first trap."""
    ctypes.set_errno(0)
    plumbing.landlock_abi_version.cache_clear()


def test_version() -> None:
    """All below is said of this version."""
    assert importlib.metadata.version("landlock") == "1.0.0.dev5"


def test_names_and_bits() -> None:
    """It knows the file system rights up to ABI 5, by the kernel's names and bits; the newer ones are ours."""
    theirs = {name.lower(): int(bit) for name, bit in landlock.FSAccess.__members__.items()}
    assert theirs == {name: bit for name, bit in ours.FS.items() if ours.FS_ABI[name] <= 5}
    assert landlock_names.RIGHTS == ours.FS


def test_disagreement_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit that differs from ours stops the adapter at its import."""
    monkeypatch.setitem(landlock_names.FS, "refer", 1 << 14)
    with pytest.raises(RuntimeError, match="disagree about: refer"):
        landlock_names._rights()


def test_probe(who: Who) -> None:
    """The probe tells what the kernel tells."""
    need_landlock(1)
    assert in_child(landlock_names.probe, who) == (landlock_abi(), "available")


def test_stale_errno(who: Who) -> None:
    """Trap: it takes a left-over errno for the failure of a call that succeeded. The probe does not."""
    need_landlock(1)

    def attempt() -> tuple[Any, ...]:
        ctypes.set_errno(errno.ENOENT)
        try:
            plumbing.landlock_abi_version.cache_clear()
            plumbing.landlock_abi_version()
        except landlock.SyscallError as error:
            ctypes.set_errno(errno.ENOENT)
            return error.errno, tuple(landlock_names.probe()), ctypes.get_errno()
        return ()

    assert in_child(attempt, who) == (errno.ENOENT, (landlock_abi(), "available"), 0)


def test_one_failure_poisons_the_next(who: Who, box: Path) -> None:
    """Trap: after one error every later call of the thread fails. Our calls look at what was returned."""
    need_landlock(1)
    (box / "file").write_text("")

    def attempt() -> tuple[int, int]:
        clean()
        ruleset = landlock.Ruleset()
        with pytest.raises(landlock.SyscallError):
            ruleset.allow(str(box / "file"))
        with pytest.raises(landlock.SyscallError) as caught:
            landlock.Ruleset()
        ctypes.set_errno(errno.EINVAL)
        os.close(libc.landlock_create_ruleset(struct.pack("=Q", 1)))
        return caught.value.errno, ctypes.get_errno()

    assert in_child(attempt, who)[0] == errno.EINVAL


def test_unrestricted_after_stale_errno(who: Who) -> None:
    """Trap: with a stale errno `apply` fails between no_new_privs and the restriction."""
    need_landlock(1)

    def attempt() -> tuple[int, bool]:
        clean()
        ruleset = landlock.Ruleset()
        ctypes.set_errno(errno.ENOENT)
        with pytest.raises(landlock.SyscallError):
            ruleset.apply()
        os.listdir("/")
        return libc.prctl(libc.PR_GET_NO_NEW_PRIVS), True

    assert in_child(attempt, who) == (1, True)


def test_the_doctor_hears_of_another_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch asks the kernel itself; the doctor asks the package too, and does not pass over a difference."""
    landlock_names.compare()
    monkeypatch.setattr(landlock_names, "probe", lambda: (99, "available"))
    with pytest.raises(RuntimeError, match="disagree"):
        landlock_names.compare()


def test_file_with_directory_rights(who: Who, box: Path) -> None:
    """Trap: a file cannot be allowed with the default rights. Ours leaves out what a file cannot have."""
    need_landlock(1)
    (box / "file").write_text("")

    def attempt() -> int:
        clean()
        with pytest.raises(landlock.SyscallError) as caught:
            landlock.Ruleset().allow(str(box / "file"))
        return int(caught.value.errno)

    assert in_child(attempt, who) == errno.EINVAL


def test_repr_is_broken() -> None:
    """Trap: the repr of its error raises. The probe never shows it."""
    with pytest.raises(TypeError):
        repr(landlock.SyscallError(1, "a", reason="b"))


def test_release_string(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: on a kernel whose release is no plain number an error turns into ValueError."""
    monkeypatch.setattr(platform, "release", lambda: "6.18.44+deb12")
    with pytest.raises(ValueError, match="deb12"):
        plumbing.find_generic_reason_from_platform()


def test_no_network_rights() -> None:
    """Trap: it has the struct of ABI 1: no ports, no scopes, no flags."""
    assert ctypes.sizeof(plumbing.RulesetAttr) == 8


def test_leaked_descriptors(who: Who) -> None:
    """Trap: a ruleset is never closed. Ours is a number that the caller closes."""
    need_landlock(1)

    def attempt() -> int:
        clean()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            landlock.Ruleset()
        return len(os.listdir("/proc/self/fd")) - before

    assert in_child(attempt, who) == 5


def test_no_descriptor_as_path() -> None:
    """Trap: it takes no descriptor that is already open."""
    need_landlock(1)

    def attempt() -> None:
        clean()
        fd = os.open("/", os.O_PATH)
        with pytest.raises(TypeError):
            landlock.Ruleset().allow(fd)

    in_child(attempt)


def answer(number: int, release: str) -> Callable[[], tuple[int, str]]:
    """The probe on a kernel that answers the version call with this errno, and with this release string."""

    def attempt() -> tuple[int, str]:
        def call(*arguments: object) -> int:
            ctypes.set_errno(number)
            return plumbing.syscall_errcheck(-1, call, arguments)  # type: ignore[no-any-return]

        call.name = "landlock_create_ruleset"  # type: ignore[attr-defined]
        plumbing.get_create_ruleset = lambda: call
        platform.release = lambda: release
        return landlock_names.probe()

    return attempt


@pytest.mark.parametrize("release", ["6.18.44", "6.18.44+deb12", "5.10.0-test"])
@pytest.mark.parametrize(
    ("number", "state"),
    [
        (errno.EOPNOTSUPP, "disabled"),
        (errno.ENOSYS, "missing"),
        (errno.EPERM, "refused"),
        (errno.EACCES, "refused"),
    ],
)
def test_probe_without_landlock(number: int, state: str, release: str) -> None:
    """Missing, disabled and refused are told apart on every kernel."""
    assert in_child(answer(number, release)) == (0, state)
