"""Workspaces over real overlays: what the command changed is told and committed as it was, whatever it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration.workspaces import Area, contents
from tests.support import need_root, need_userns

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

SETUP = """
mkdir -p src/deep docs; printf 'one\\ntwo\\n' > a; echo x > src/x; echo y > src/deep/y; echo d > docs/d
ln -s a link; echo '#!' > run; chmod 755 run; touch empty; echo r > ro; chmod 444 ro
mkdir shut; echo s > shut/s; chmod 500 shut; find . -exec touch -h -d '2020-02-02 02:02:02.123456789' {} +
"""


@pytest.fixture
def area(who: Who, box: Path) -> Area:
    """A small tree to overlay."""
    if not who.is_root:
        need_userns()
    made = Area(who, box)
    made.shell(SETUP)
    return made


SCRIPTS = {
    "content": "echo three >> a",
    "new": "echo n > new; mkdir -p p/q; echo z > p/q/z; chmod 2711 p; chmod 700 p/q",
    "removed file": "rm a",
    "removed tree": "rm -r src docs",
    "all removed": "chmod 700 shut; rm -rf * .[!.]*",
    "replaced directory": "rm -r src; mkdir src; echo other > src/x; mkdir src/deep; echo new > src/deep/n",
    "directory becomes file": "rm -r src; echo file > src",
    "file becomes directory": "rm a; mkdir a; echo in > a/in",
    "file becomes link": "rm a; ln -s /etc/passwd a",
    "link": "ln -sfn docs link; ln -s nowhere dangling",
    "link becomes directory": "rm link; mkdir link; echo l > link/l",
    "mode": "chmod 600 a; chmod 750 src; chmod 700 .",
    "closed modes": "mkdir no; echo s > no/s; chmod 000 no/s no; chmod 555 docs; chmod 0 a; mkdir deep; chmod 333 deep",
    "work in a closed directory": "chmod 700 shut; echo s > shut/new; rm shut/s; chmod 500 shut",
    "times": "touch -d '2001-01-01' a src/x",
    "sparse": "truncate -s 1G big; echo end >> big; truncate -s 3 a",
    "moved directory": "mv src moved; mv docs src",
    "renamed after a change": "echo four >> a; mv a renamed; ln run run2; echo more >> run2",
    "names": "touch \"$(printf 'new\\nline\\033[31m')\" \"$(printf 'b\\377d')\" -- -rf; mkdir ' '; touch ' /x'",
    "again and again": "rm a; echo 1 > a; rm a; mkdir a; rmdir a; echo 2 > a; mv a b; mv b a; rm -r src; mkdir -p src/deep",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_commit_gives_what_the_command_saw(area: Area, script: str) -> None:
    """The tree after a commit is the tree that the same script leaves when it runs there; before it, it is untouched."""
    script = script.replace("touch ' /x'", "touch ' '/x")
    twin = area.state / "twin"
    area.who.run(["cp", "-a", area.tree, twin], check=True)
    before = contents(area.tree)
    workspace = area.run(script)
    assert contents(area.tree) == before, "the command changed the host"
    told = area.changes(workspace)
    assert told
    result = area.commit(workspace)
    assert (result.refused, result.left_out) == ((), ())
    area.shell(script, cwd=twin)
    if os.geteuid() == 0:
        assert _comparable(area.tree) == _comparable(twin)
    assert os.listdir(f"{workspace.path}/upper/0") == []
    assert area.changes(workspace) == []


def _comparable(top: Path) -> dict[str, object]:
    """What a commit keeps; set-id bits of directories are stripped, times of what the script made differ."""
    found: dict[str, object] = {}
    for name, (mode, owner, data) in contents(top).items():
        assert isinstance(mode, str)
        bits = int(mode, 8) & ~0o6000
        content = data[0] if isinstance(data, tuple) else data
        time = data[1] if isinstance(data, tuple) and data[1] < 1_700_000_000 * 10**9 else None
        found[name] = (oct(bits), owner, content, time)
    return found


ATTRIBUTES = """
import os, struct
os.setxattr("a", "user.new", b"1")
os.removexattr("run", "user.old")
os.setxattr("src", "user.old", b"2")
os.removexattr("docs", "user.old")
os.setxattr(".", "user.new", b"3")
# One more user, who may read; that changes no mode.
entries = ((1, 6, -1), (2, 4, os.getuid()), (4, 4, -1), (16, 4, -1), (32, 4, -1))
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
os.setxattr("empty", "system.posix_acl_access", acl)
"""


def test_attributes_alone(area: Area) -> None:
    """Attributes of user.*, access control lists and modes are told and committed where nothing else changed."""
    area.shell(
        """python3 -I -c 'import os; [os.setxattr(name, "user.old", b"0") for name in ("run", "src", "docs", ".")]'"""
    )
    workspace = area.run(f"chmod 640 ro; chmod 700 docs; python3 -I -c '{ATTRIBUTES}'")
    assert area.changes(workspace) == [
        ("changed", "", ("attributes",)),
        ("changed", "a", ("attributes",)),
        ("changed", "docs", ("mode", "attributes")),
        ("changed", "empty", ("attributes",)),
        ("changed", "ro", ("mode",)),
        ("changed", "run", ("attributes",)),
        ("changed", "src", ("attributes",)),
    ]
    assert area.commit(workspace) == (7, (), ())
    found = {
        name: {key: value for key in os.listxattr(path) if (value := os.getxattr(path, key)) and "selinux" not in key}
        for name in ("a", "run", "src", "docs", ".", "ro", "empty")
        if (path := area.tree / name)
    }
    assert found.pop("empty").keys() == {"system.posix_acl_access"}
    assert found == {
        "a": {"user.new": b"1"},
        "run": {},
        "src": {"user.old": b"2"},
        "docs": {},
        ".": {"user.old": b"0", "user.new": b"3"},
        "ro": {},
    }
    assert [os.lstat(area.tree / name).st_mode & 0o777 for name in ("ro", "docs")] == [0o640, 0o700]
    assert area.changes(workspace) == []


def test_owners_alone(area: Area) -> None:
    """Where root commits, what the command gave away is given away, a directory that was there before too."""
    need_root()
    if area.who.is_root:
        workspace = area.run("chown 4321:4322 a src; chown -h 4321:4322 link")
        told = [("changed", name, ("owner",)) for name in ("a", "link", "src")]
        assert area.changes(workspace) == told
        assert area.commit(workspace) == (3, (), ())
        assert {(os.lstat(area.tree / name).st_uid, os.lstat(area.tree / name).st_gid) for _, name, _ in told} == {
            (4321, 4322)
        }
