"""host: the real machine answers, and never raises."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from sandrun.host import Account, Mount, System, home_of, parse_mountinfo
from tests.fakes import FakeHost, debian_host, directory, file, hard, link

if TYPE_CHECKING:
    from pathlib import Path

MOUNTINFO = rb"""21 26 0:20 / /proc rw,nosuid shared:5 - proc proc rw
36 26 8:1 /home/a\040b /mnt/with\011tab\134 rw,noatime master:1 propagate_from:2 - ext4 /dev/sda1 rw
garbage
37 26 8:1 / /odd rw - - fuse.x y rw
"""


def test_mountinfo_is_read_with_its_escapes() -> None:
    """Device, root, mount point and type; optional fields skipped; lines that make no sense left out."""
    assert parse_mountinfo(MOUNTINFO) == (
        Mount(os.makedev(0, 20), "/", "/proc", "proc"),
        Mount(os.makedev(8, 1), "/home/a b", "/mnt/with\ttab\\", "ext4"),
        Mount(os.makedev(8, 1), "/", "/odd", "-"),
    )


@pytest.mark.parametrize("path", ["/no/such", "a\0b", "", "/etc/passwd/x", "x" * 5000, "/\udcff"])
def test_questions_without_an_answer_are_none(path: str) -> None:
    """Absent, not a directory, NUL, too long, not decodable: None each, and realpath takes it at its word."""
    host = System()
    assert host.stat(path) is None
    assert host.lstat(path) is None
    assert host.listdir(path) is None
    assert host.read(path, 10) is None
    assert isinstance(host.realpath(path), str)


def test_reading_is_of_regular_files_only(tmp_path: Path) -> None:
    """A fifo without a writer does not hang; a piece of a file is that piece."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"0123456789")
    host = System()
    assert host.read(str(tmp_path / "fifo"), 10) is None
    assert host.read(str(tmp_path), 10) is None
    assert host.read(str(tmp_path / "file"), 3, 5) == b"567"
    assert host.read(str(tmp_path / "file"), 3, 1 << 70) is None


def test_accounts_and_groups() -> None:
    """By name and number; an unknown number is an account without a name, an unknown name is none."""
    host = System()
    root = host.account("root")
    assert root is not None
    assert (root.uid, root.gid) == (0, 0)
    assert host.account(0) == root
    assert host.account(4_000_000) == Account("", 4_000_000, 4_000_000, "", "")
    assert host.account("no such user") is None
    assert host.account(-5) is None
    assert host.group("root") == 0
    assert host.group("no such group") is None
    assert host.group(77) == 77
    assert 0 in host.groups_of(root)


def test_descriptors(tmp_path: Path) -> None:
    """An open one has its status, flags and path; a closed one has none."""
    host = System()
    fd = os.open(tmp_path, os.O_RDONLY)
    known = host.fd_stat(fd)
    assert known is not None
    assert stat.S_ISDIR(known[0].mode)
    assert known[1] & os.O_ACCMODE == os.O_RDONLY
    assert host.fd_path(fd) == os.path.realpath(tmp_path)
    os.close(fd)
    assert host.fd_stat(fd) is None
    assert host.fd_path(fd) == ""
    assert host.fd_stat(1 << 40) is None


@pytest.mark.parametrize(
    ("uid", "environ", "home"),
    [
        (1000, {"HOME": "/srv/h"}, "/srv/h"),
        (1000, {"HOME": ""}, "/home/alice"),
        (1000, {"HOME": "relative"}, "/home/alice"),
        (0, {"HOME": "/root"}, "/home/alice"),
    ],
)
def test_home_is_home_for_oneself_and_passwd_for_others(uid: int, environ: dict[str, str], home: str) -> None:
    """root's HOME is not the home of the user that root runs the command as."""
    host = debian_host(uid, environ=environ)
    assert home_of(host, host.account("alice")) == home
    assert home_of(host, Account("", 77, 77, "", "")) == ""
    assert home_of(host, None) == ""


def test_the_fake_answers_as_the_real_one(tmp_path: Path) -> None:
    """What the unit tests plan on behaves like a file system: links, `..`, hard links, listings, permissions aside."""
    top = str(tmp_path.resolve())
    tree = {
        f"{top}/dir/file": file(b"abc"),
        f"{top}/dir/sub": directory(),
        f"{top}/link": link("dir"),
        f"{top}/dir/up": link("../dir/file"),
        f"{top}/loop": link("loop"),
        f"{top}/dangling": link("dir/absent"),
        f"{top}/twin": hard(f"{top}/dir/file"),
    }
    (tmp_path / "dir/sub").mkdir(parents=True)
    (tmp_path / "dir/file").write_bytes(b"abc")
    for path, node in tree.items():
        if node.target:
            os.symlink(node.target, path)
        elif node.same_as:
            os.link(node.same_as, path)
    fake, real = FakeHost(tree), System()
    for name in (
        "",
        "dir",
        "link",
        "link/file",
        "link/../twin",
        "dir/up",
        "dangling",
        "dir/file/x",
        "absent",
        "link/sub/..",
    ):
        path = f"{top}/{name}".rstrip("/")
        assert fake.realpath(path) == real.realpath(path), name
        assert fake.listdir(path) == real.listdir(path), name
        assert fake.read(path, 2, 1) == real.read(path, 2, 1), name
        for ask in ("stat", "lstat"):
            one, two = getattr(fake, ask)(path), getattr(real, ask)(path)
            assert (one is None) == (two is None), (ask, name)
            assert one is None or stat.S_IFMT(one.mode) == stat.S_IFMT(two.mode), (ask, name)
    for host in (fake, real):
        twin, first = host.stat(f"{top}/twin"), host.stat(f"{top}/dir/up")
        assert twin is not None
        assert twin == first
        assert twin.nlink == 2
    assert fake.stat(f"{top}/loop") is None
    assert real.stat(f"{top}/loop") is None
