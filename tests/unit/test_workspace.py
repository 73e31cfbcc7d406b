"""The parts of a workspace that need no overlay: diffs, trees that lead nowhere, and what a crash cuts short."""

from __future__ import annotations

import difflib
import os
import re
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.workspace import render, site
from sandrun.workspace.tree import Tree, Upper

if TYPE_CHECKING:
    from pathlib import Path

LINES = st.lists(st.sampled_from(["a", "b", "", "\tx", "c"]), max_size=30)


@given(LINES, LINES)
def test_a_unified_diff_leads_from_one_to_the_other(before: list[str], after: list[str]) -> None:
    """Applied by its line numbers it gives the other text; it shows at most three lines around what differs."""
    lines = list(render._unified(before, after))
    result, at = [], 0
    for line in lines:
        if found := re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", line):
            start = int(found[1]) - (found[2] != "0")
            result += before[at:start]
            at = start
            assert len(result) == int(found[3]) - (found[4] != "0")
        elif line[0] == "+":
            result.append(line[1:])
        else:
            assert before[at] == line[1:]
            result += [line[1:]] if line[0] == " " else []
            at += 1
    assert result + before[at:] == after
    expected = sum(line[0] in "+-" for line in list(difflib.unified_diff(before, after, n=3))[2:])
    assert sum(line[0] in "+-" for line in lines) <= max(expected, len(before) + len(after))
    assert bool(lines) == (before != after)


def test_a_diff_of_hostile_lines_ends_soon() -> None:
    """The worst that a hostile file can cost is a moment."""
    before = [str(number % 7) for number in range(render.LINE_LIMIT)]
    after = [str(number % 11) for number in range(render.LINE_LIMIT)]
    start = time.monotonic()
    assert list(render._unified(before, after))
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("path", ["link", "link/x", "..", "../outside", "in/../../outside", "/", "loop/x"])
def test_nothing_outside_of_a_tree_is_opened(tmp_path: Path, path: str) -> None:
    """Neither by a symbolic link nor by .. nor by an absolute path."""
    top = tmp_path / "top"
    for folder in (top / "in", tmp_path / "outside" / "x"):
        folder.mkdir(parents=True)
    (top / "link").symlink_to(tmp_path / "outside")
    (top / "loop").symlink_to("loop")
    with Tree(os.open(top, os.O_PATH)) as tree:
        os.close(tree.folder("in"))
        with pytest.raises(OSError, match=r"ELOOP|symbolic|cross-device|Invalid"):
            tree.folder(path)


def test_a_file_that_was_exchanged_is_not_read(tmp_path: Path) -> None:
    """A link, a fifo or another file in the place of the one that was looked at is an error, and nobody waits."""
    (tmp_path / "file").write_text("x")
    seen = os.lstat(tmp_path / "file")
    (tmp_path / "file").rename(tmp_path / "kept")  # so that its inode is not used again
    folder = os.open(tmp_path, os.O_RDONLY)
    with Tree(os.open(tmp_path, os.O_PATH)) as tree:
        for make in (os.mkfifo, lambda path: os.symlink("/etc/passwd", path), lambda path: open(path, "w").close()):
            make(tmp_path / "file")
            with pytest.raises(OSError, match=r"exchanged|symbolic"):
                tree.file("file", folder, seen)
            (tmp_path / "file").unlink()
    os.close(folder)


def test_modes_survive_a_line_cut_short(tmp_path: Path) -> None:
    """The first mode that was written for an inode counts; half a line says nothing."""
    (tmp_path / "upper").mkdir()
    inode = os.lstat(tmp_path / "upper").st_ino
    (tmp_path / "modes").write_text(f"\n{inode} 1.\n\n77 7\n77 75.\n\n77 0.\n\n78 7")
    with Upper(f"{tmp_path}/upper", f"{tmp_path}/modes") as upper:
        assert upper.mode(os.lstat(tmp_path / "upper")) == 0o1
        assert upper._modes == {inode: 0o1, 77: 0o75}


def test_where_workspaces_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_STATE_HOME if it is absolute; else below the home, for root in the system's place."""
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert site.directory() == "/x/sandrun/workspaces"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setattr(os, "geteuid", lambda: 5)
    assert site.directory() == "/h/.local/state/sandrun/workspaces"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert site.directory() == "/var/lib/sandrun/workspaces"
