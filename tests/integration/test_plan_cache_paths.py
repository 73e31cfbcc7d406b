"""Where a path leads, which the plan cache finds out a name at a time, is where it leads for the rest of Python."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandrun.host import System
from sandrun.plancache.facts import Facts, Recorder
from tests.support import Who, in_child

Kind = str | int
Tree = list[tuple[int, str, Kind]]
"""Entries: in which of the directories so far, the name, and what it is: the target of a link, a directory of a mode, or
a file (the mode 0)."""
TOP = "TOP"
"""Stands for the directory of the example."""

parts = st.lists(st.sampled_from(("a", "b", "c", ".", "..", "", "a", "b")), max_size=5).map("/".join)
paths = st.one_of(parts.filter(bool), parts.map(f"{TOP}/{{}}".format), parts.map("/{}".format))
kinds = st.one_of(st.sampled_from((0, 0o700, 0o700, 0o100, 0o400)), paths)
trees = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"), kinds), max_size=12)


def make(top: str, tree: Tree) -> None:
    """As much of a tree as can be had: what does not fit is left out."""
    folders = {top: 0o700}
    for place, name, kind in tree:
        path = f"{list(folders)[place % len(folders)]}/{name}"
        with suppress(OSError):
            if isinstance(kind, str):
                os.symlink(kind.replace(TOP, top), path)
            elif kind:
                os.mkdir(path, 0o700)
                folders[path] = kind
            else:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    for path in reversed(folders):
        os.chmod(path, folders[path] or 0o700)


def remove(top: str) -> None:
    """The tree, whatever the modes in it."""
    for folder, names, _ in os.walk(top):
        for name in names:
            path = f"{folder}/{name}"
            if stat.S_ISDIR(os.lstat(path).st_mode):
                os.chmod(path, 0o700)
    shutil.rmtree(top)


@given(trees, st.lists(paths, min_size=1, max_size=6))
@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
def agree(base: str, tree: Tree, asked: list[str]) -> None:
    """Both answers are the same, whether the path is a fact or a reason to keep nothing."""
    top = os.path.realpath(tempfile.mkdtemp(dir=base))
    try:
        make(top, tree)
        os.chdir(top)
        for path in (one.replace(TOP, top) for one in asked):
            assert Recorder(Facts()).realpath(path) == System().realpath(path), path
    finally:
        os.chdir("/")
        remove(top)


@pytest.mark.timeout(400)
def test_where_a_path_leads(who: Who) -> None:
    """Links to anywhere, loops, what is absent, files with something below them, directories that may not be entered."""
    in_child(partial(agree, str(who.home)), who, timeout=300)
