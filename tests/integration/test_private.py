"""Removal of a directory that a hostile command filled."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from sandrun import libc
from sandrun.primitives import caps, private
from tests.support import in_child, need_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who


def removed(who: Who, path: Path) -> int:
    """What `remove` says, as this user."""
    return in_child(lambda: private.remove(os.fsencode(path)), who)


@pytest.fixture
def outside(who: Who, box: Path) -> Path:
    """A directory beside the private one, with a file that must stay."""
    path = box / "outside"
    path.mkdir()
    (path / "precious").write_text("precious")
    who.own(path, path / "precious")
    return path


@pytest.fixture
def top(who: Who, box: Path) -> Path:
    """The private directory."""
    path = box / "sandrun-top"
    path.mkdir()
    who.own(path)
    return path


def test_every_kind_of_entry(who: Who, box: Path, top: Path, outside: Path) -> None:
    """Files, links, sockets, pipes, names that are no text; and links lead nowhere."""

    def fill() -> None:
        (top / "file").write_text("x")
        (top / "link").symlink_to(outside)
        (top / "dir").mkdir()
        (top / "dir" / "up").symlink_to("../../outside")
        (top / "dir" / "hard").hardlink_to(outside / "precious")
        (top / "0").mkdir()
        (top / "0" / "1").mkdir()
        (top / "1").write_text("a name that the removal itself would use")
        os.mkfifo(top / "fifo")
        socket.socket(socket.AF_UNIX).bind(str(top / "socket"))
        os.mkdir(os.fsencode(top) + b"/\xff\xfe\n")
        with open(os.fsencode(top) + b"/\xff\xfe\n/\x01", "wb"):
            pass

    in_child(fill, who)
    assert removed(who, top) == 0
    assert os.listdir(box) == ["outside"]
    assert (outside / "precious").read_text() == "precious"


def test_closed_permissions(who: Who, top: Path) -> None:
    """Modes of 000 at every level."""

    def fill() -> None:
        (top / "a" / "b" / "c").mkdir(parents=True)
        (top / "a" / "b" / "c" / "file").write_text("x")
        for path in (top / "a" / "b" / "c", top / "a" / "b", top / "a", top):
            path.chmod(0)

    in_child(fill, who)
    assert removed(who, top) == 0
    assert not top.exists()


@pytest.mark.parametrize("kept", ["", "CAP_DAC_OVERRIDE"])
def test_closed_permissions_without_capabilities(top: Path, kept: str, who: Who) -> None:
    """Root that lacks capabilities is like anybody, and opens what is its own; else CAP_DAC_OVERRIDE is enough."""
    if not who.is_root:
        pytest.skip("only root has capabilities to lose")

    def fill() -> None:
        folders = [top, *(top / name for name in ("a", "a/b", "a/b/c"))]
        (top / "a" / "b" / "c").mkdir(parents=True)
        (top / "a" / "b" / "c" / "file").write_text("x")
        for path in reversed(folders):
            path.chmod(0)
            os.chown(path, *((1234, 1234) if kept else (0, 0)))

    def remove() -> int:
        mask = caps.mask((kept,) if kept else ())
        libc.capset(libc.capability_sets(mask, mask, 0))
        return private.remove(os.fsencode(top))

    in_child(fill, who)
    assert in_child(remove) == 0
    assert not top.exists()


def test_deeper_than_any_path_or_stack(who: Who, top: Path) -> None:
    """Twelve hundred levels: longer than PATH_MAX, more than descriptors or stack frames."""

    def fill() -> None:
        at = os.open(top, os.O_RDONLY)
        for _ in range(1_200):
            os.mkdir("d" * 200, dir_fd=at)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below

    in_child(fill, who)
    assert removed(who, top) == 0
    assert not top.exists()


def test_many(who: Who, top: Path) -> None:
    """A wide tree of directories with files."""

    def fill() -> None:
        for number in range(300):
            (top / str(number) / "below").mkdir(parents=True)
            (top / str(number) / "below" / "file").touch()

    in_child(fill, who)
    assert removed(who, top) == 0
    assert not top.exists()


def test_replaced_by_a_link(who: Who, top: Path, outside: Path) -> None:
    """A link in the place of the directory is neither followed nor removed: it is not what we made."""
    top.rmdir()
    top.symlink_to(outside)
    assert removed(who, top) in (errno.ENOTDIR, errno.ELOOP)
    assert (outside / "precious").exists()


def test_gone_already(who: Who, top: Path) -> None:
    """A directory that the command removed itself is no failure."""
    top.rmdir()
    assert removed(who, top) == 0


def test_of_another_user(who: Who, top: Path) -> None:
    """What may not be removed is told."""
    if who.is_root:
        pytest.skip("root may remove everything")
    need_root()
    (top / "theirs").mkdir()
    (top / "theirs" / "file").touch()
    os.chmod(top / "theirs", 0o755)
    assert removed(who, top) in (errno.EPERM, errno.EACCES)


def test_mount_point(top: Path, outside: Path) -> None:
    """Another file system that somebody mounted inside is left alone."""
    need_root()

    def run() -> tuple[int, bool]:
        import ctypes

        libc = ctypes.CDLL(None)
        assert libc.unshare(0x00020000) == 0
        assert libc.mount(None, b"/", None, 0x44000, None) == 0
        (top / "mounted").mkdir()
        assert libc.mount(b"none", os.fsencode(top / "mounted"), b"tmpfs", 0, None) == 0
        (top / "mounted" / "file").touch()
        return private.remove(os.fsencode(top)), (top / "mounted" / "file").exists()

    assert in_child(run) == (errno.EXDEV, True)
