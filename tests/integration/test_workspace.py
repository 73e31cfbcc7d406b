"""Workspaces over real overlays: what the command changed is told and committed as it was, whatever it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration.workspaces import Area, contents
from tests.support import need_userns

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
