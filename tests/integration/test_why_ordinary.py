"""What `sandrun why` says of access control lists and fs.protected_*, and what the kernel does: the same."""

from __future__ import annotations

import errno
import json
import os
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support import need, need_landlock, sandrun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support import Who

ACL = "system.posix_acl_access"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NOBODY = 0xFFFFFFFF
STRANGER = 4321
OWN = -1
"""Stands for the uid or gid of the command."""
BASE = ("-p", "none", "--execute", "@system", "--read", "@runtime", "--write", "/dev/null")
LISTS = (
    ((USER_OBJ, 6, NOBODY), (USER, 4, OWN), (GROUP_OBJ, 0, NOBODY), (MASK, 6, NOBODY), (OTHER, 0, NOBODY)),
    ((USER_OBJ, 6, NOBODY), (USER, 0, OWN), (GROUP_OBJ, 6, NOBODY), (MASK, 6, NOBODY), (OTHER, 6, NOBODY)),
    ((USER_OBJ, 6, NOBODY), (USER, 6, OWN), (GROUP_OBJ, 6, NOBODY), (MASK, 4, NOBODY), (OTHER, 6, NOBODY)),
    ((USER_OBJ, 6, NOBODY), (GROUP_OBJ, 0, NOBODY), (GROUP, 6, OWN), (MASK, 6, NOBODY), (OTHER, 0, NOBODY)),
    ((USER_OBJ, 6, NOBODY), (GROUP_OBJ, 6, NOBODY), (GROUP, 0, OWN), (MASK, 6, NOBODY), (OTHER, 6, NOBODY)),
    ((USER_OBJ, 6, NOBODY), (USER, 6, OWN), (GROUP_OBJ, 0, NOBODY), (MASK, 0, NOBODY), (OTHER, 0, NOBODY)),
    ((USER_OBJ, 0, NOBODY), (USER, 6, STRANGER), (GROUP_OBJ, 0, NOBODY), (MASK, 6, NOBODY), (OTHER, 4, NOBODY)),
)


@pytest.fixture(autouse=True)
def _landlock() -> None:
    need_landlock(3)


def agreed(who: Who, box: Path, paths: Sequence[Path]) -> list[tuple[bool, bool]]:
    """Whether each may be read and written, as both say; a stranger to each other is a failure."""
    options = (*BASE, "--write", str(box))
    said, lines = [], []
    for act, sign in (("read", "<"), ("write", ">>")):
        asked = sandrun("why", act, *paths, "--json", *options, who=who, cwd=box)
        assert asked.returncode in (0, 1), asked.stderr
        said += [answer["allowed"] for answer in json.loads(asked.stdout)["answers"]]
        lines += [f"(exec 3{sign}'{path}') 2>/dev/null && echo yes || echo no" for path in paths]
    done = sandrun("-q", *options, "--", "/bin/sh", "-c", "\n".join(lines), who=who, cwd=box)
    assert said == [line == "yes" for line in done.stdout.split()], done.stderr
    return list(zip(said[: len(paths)], said[len(paths) :], strict=True))


def test_access_control_lists(who: Who, box: Path) -> None:
    """Of files of somebody else, where this session can make them; else of the command's own."""
    paths = [box / str(number) for number in range(len(LISTS))]
    for path, entries in zip(paths, LISTS, strict=True):
        path.touch()
        own = {USER: who.uid, GROUP: who.gid}
        rows = [(tag, bits, own[tag] if name == OWN else name) for tag, bits, name in entries]
        try:
            os.setxattr(path, ACL, struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows))
        except OSError as error:
            need(error.errno != errno.ENOTSUP, "no access control lists here")
            raise
        if os.geteuid() == 0:
            os.chown(path, STRANGER, STRANGER)
    given = agreed(who, box, paths)
    if os.geteuid() == 0:  # root has no capability in there either
        assert given[:3] == [(True, False), (False, False), (True, False)]


def test_shared_sticky_directories(who: Who, box: Path) -> None:
    """A link and files of others there, whatever fs.protected_* says on this machine."""
    need(os.geteuid() == 0, "only root can make the files of others")
    shared = box / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (box / "target").touch()
    (box / "target").chmod(0o666)
    (shared / "link").symlink_to(box / "target")
    (shared / "file").touch()
    (shared / "file").chmod(0o666)
    for name in ("link", "file"):
        os.chown(shared / name, STRANGER, STRANGER, follow_symlinks=False)
    agreed(who, box, [shared / "link", shared / "file"])
