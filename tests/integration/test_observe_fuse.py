"""The observer waits for no file system in user space: its daemon may be what waits for the observer."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import libc
from sandrun.observe import tracee
from sandrun.observe.events import ABSENT, DIRECTORY, FILE, UNKNOWN
from sandrun.observe.observer import Job
from sandrun.observe.program import EVERY
from sandrun.observe.tracee import Found, Tracee
from tests.integration.test_observe import observed
from tests.support import need, need_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Who

DAEMON = """
import ctypes, errno, os, struct, sys
libc, place = ctypes.CDLL(None, use_errno=True), sys.argv[1].encode()
assert not libc.unshare(0x20000) and not libc.mount(b"none", b"/", None, 0x44000, None)
fuse = os.open("/dev/fuse", os.O_RDWR)
assert not libc.mount(b"none", place, b"fuse", 0, b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fuse)
if not os.fork():
    os.close(fuse)
    try:
        os.open(place + b"/folder/file", os.O_RDONLY)
    except OSError as error:
        os._exit(error.errno)
    os._exit(0)
while not (ended := os.waitpid(-1, os.WNOHANG))[0]:
    request = os.read(fuse, 1 << 17)
    _, kind, number = struct.unpack_from("=IIQ", request)
    reply = struct.pack("=IIIIHHIIHHI28x", 7, 31, 65536, 0, 0, 0, 65536, 1, 0, 0, 0)
    if kind == 26:
        os.write(fuse, struct.pack("=IiQ", 16 + len(reply), 0, number) + reply)
    elif kind not in (2, 36):
        os.write(fuse, struct.pack("=IiQ", 16, -errno.ENOENT, number))
        break
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
"""Mount a file system, and be its daemon: one of which a child opens a file that is not there."""


def test_a_daemon_that_is_observed(who: Who) -> None:
    """Each call of the daemon waits for the observer, which would have to ask the daemon what a path names."""
    need_root()
    if not who.is_root:
        pytest.skip("an ordinary user mounts only in a user namespace")
    need(os.path.exists("/dev/fuse"), "there is no FUSE")
    place = who.home / "mounted"
    place.mkdir()
    held = libc.capget()[0]
    python = who.sandrun[0]
    seen = observed(
        who,
        *(python, "-I", "-S", "-c", DAEMON, str(place)),
        job=Job(EVERY),
        bounding=held,
        permitted=held,
        no_new_privs=0,
    )
    assert seen.status == errno.ENOENT
    (asked,) = seen.places(f"{place}/folder/file")
    assert (asked.act, asked.kind) == ("read", UNKNOWN)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Links of all sorts."""
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "file").touch()
    for name, target in {
        "relative": "folder",
        "absolute": str(tmp_path / "folder"),
        "up": "folder/../folder/file",
        "nowhere": "missing/../folder/file",
        "dangling": "folder/new",
        "round": "round",
        "folder/twice": "../relative",
        "folder/far": "/../../usr",
    }.items():
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "real", "kind", "is_link"),
    [
        ("folder/file", "folder/file", FILE, False),
        ("relative/file", "folder/file", FILE, False),
        ("absolute/below", "folder/below", DIRECTORY, False),
        ("up", "folder/file", FILE, False),
        ("nowhere", "nowhere", ABSENT, False),
        ("dangling", "folder/new", ABSENT, False),
        ("folder/twice/twice/file", "folder/file", FILE, False),
        ("folder/new", "folder/new", ABSENT, False),
        ("folder/file/new", "folder/file/new", ABSENT, False),
        ("missing/new", "missing/new", ABSENT, False),
        ("folder/far", "/usr", DIRECTORY, False),
    ],
)
def test_names_that_the_kernel_does_not_remember(
    tree: Path, monkeypatch: pytest.MonkeyPatch, path: str, real: str, kind: str, is_link: bool
) -> None:
    """Walking by single names finds what the kernel finds at once."""
    at_once = _found(tree / path)
    monkeypatch.setattr(libc, "openat2", forgetful(libc.openat2))
    found = _found(tree / path)
    assert found == at_once
    assert found == Found(real if real.startswith("/") else f"{tree}/{real}", kind, is_link)


def test_links_that_lead_to_themselves(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have an end, and are told from what they lead to."""
    monkeypatch.setattr(libc, "openat2", forgetful(libc.openat2))
    assert _found(tree / "round").kind == UNKNOWN
    assert _found(tree / "round", follows=False).is_link


def test_paths_that_take_for_ever(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep trees, and links that lead through links time and again, are given up."""
    deep = tree
    for _ in range(150):
        deep /= "deeper/and"
        deep.mkdir(parents=True)
    for number in range(1, 8):
        (tree / f"link{number}").symlink_to(f"link{number - 1}/../" * 100 + "folder")
    (tree / "link0").symlink_to("folder")
    monkeypatch.setattr(libc, "openat2", forgetful(libc.openat2))
    began = time.monotonic()
    assert _found(deep / "file").kind == UNKNOWN
    assert _found(tree / "link7").kind == UNKNOWN
    assert time.monotonic() - began < 60


def _found(path: Path, *, follows: bool = True) -> Found:
    one = Tracee(os.getpid())
    try:
        return one.find(str(path), follows=follows)
    finally:
        one.close()


def forgetful(openat2: Callable[..., int]) -> Callable[..., int]:
    """openat2(2) of a kernel that has no name in its cache."""

    def call(path: bytes, flags: int, **more: Any) -> int:
        if more.get("resolve", 0) & tracee.RESOLVE_CACHED:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return openat2(path, flags, **more)

    return call
