"""siblings: a hole in a grant, by rules for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandrun.plan import siblings
from sandrun.plan.format import KIND_DIRECTORY, KIND_FILE, MAY_VANISH
from sandrun.plan.siblings import (
    ALL_RIGHTS,
    CHANGE,
    READ_DIR,
    Grant,
    Hole,
    TooManyRulesError,
    aliases,
    expand,
    make_hole,
)
from sandrun.primitives.landlock import FILE_RIGHTS, FS, READ, WRITE
from tests.fakes import FakeHost, directory, file, hard, link, socket

if TYPE_CHECKING:
    from tests.fakes import Node

READ_FILE = FS["read_file"]


def tree() -> dict[str, Node]:
    names = ("top/a/secret", "top/a/open", "top/a/sub/x", "top/b/y", "top/file")
    return {f"/{name}": file() for name in names} | {"/top/link": link("a/secret"), "/top/sock": socket()}


def rules(grants: list[Grant], holes: list[Hole], host: FakeHost) -> dict[str, int]:
    return {path: access for path, (access, _) in expand(grants, holes, host).rules.items()}


def deny(path: str, host: FakeHost, denied: int = ALL_RIGHTS, *, soft: bool = False) -> Hole:
    return make_hole(path, denied, "filesystem.deny", host, soft=soft)


def test_without_holes_a_grant_is_one_rule() -> None:
    """Nothing is listed and nothing split."""
    host = FakeHost(tree())
    assert rules([Grant("/top", READ, True)], [], host) == {"/top": READ}


def test_a_file_hole_keeps_listing_on_the_way() -> None:
    """The grant keeps READ_DIR alone, which all below inherits; siblings get the rest; the link needs no rule."""
    host = FakeHost(tree())
    expansion = expand([Grant("/top", READ, True)], [deny("/top/a/secret", host)], host)
    assert {path: access for path, (access, _) in expansion.rules.items()} == {
        "/top": READ_DIR,
        "/top/a/open": READ_FILE,
        "/top/a/sub": READ_FILE,
        "/top/b": READ_FILE,
        "/top/file": READ_FILE,
        "/top/sock": READ_FILE,
    }
    assert expansion.rules["/top/a/open"][1] == KIND_FILE | MAY_VANISH
    assert expansion.rules["/top/b"][1] == KIND_DIRECTORY | MAY_VANISH
    assert expansion.rules["/top"][1] == KIND_DIRECTORY, "what the profile names must be there at launch"


@pytest.mark.parametrize("hole", ["/top/a", "/top/a/absent", "/top/a/sub/also/absent"])
def test_a_directory_or_absent_hole_takes_listing_too(hole: str) -> None:
    """What is or could become a directory must not inherit READ_DIR from above."""
    host = FakeHost(tree())
    found = rules([Grant("/top", READ, True)], [deny(hole, host)], host)
    at = hole
    while at != "/":
        at = at.rpartition("/")[0] or "/"
        assert at not in found
    assert found["/top/b"] == READ


def test_no_right_stands_between_a_grant_and_a_hole() -> None:
    """The law of the module, for several holes with other masks at once."""
    host = FakeHost(tree())
    holes = [deny("/top/a/sub", host), deny("/top/b/y", host, CHANGE), deny("/top/a/secret", host)]
    found = rules([Grant("/top", WRITE, True)], holes, host)
    for hole in holes:
        at = hole.path
        left = 0
        while at != "/":
            left |= found.get(at, 0)
            at = at.rpartition("/")[0] or "/"
        meaningful = FILE_RIGHTS if hole.is_file else ALL_RIGHTS
        assert not left & hole.denied & meaningful, hole
    assert found["/top/b"] == READ, "only what changes something is denied below"
    assert "/top/b/y" not in found


def test_deny_write_keeps_reading_where_it_was() -> None:
    """Only the rights that change something go to the siblings."""
    host = FakeHost(tree())
    found = rules([Grant("/top", WRITE, True)], [deny("/top/a", host, CHANGE)], host)
    assert found["/top"] == READ
    assert "/top/a" not in found
    assert found["/top/b"] == WRITE & ~READ


def test_a_hole_wins_over_a_grant_at_and_below_it() -> None:
    """Grants inside a hole are dropped, and said to be."""
    host = FakeHost(tree())
    hole = deny("/top/a", host)
    expansion = expand([Grant("/top/a", READ, True), Grant("/top/a/open", READ, False)], [hole], host)
    assert expansion.rules == {}
    assert expansion.narrowed == {hole: ["/top/a", "/top/a/open"]}


def test_a_soft_hole_takes_only_what_comes_from_above() -> None:
    """A hidden home with one directory shown: that directory stays, the rest goes."""
    host = FakeHost(tree())
    found = rules([Grant("/top", READ, True), Grant("/top/a/sub", READ, True)], [deny("/top/a", host, soft=True)], host)
    assert found["/top/a/sub"] == READ
    assert not {"/top", "/top/a", "/top/a/open"} & found.keys()
    assert rules([Grant("/top/a", READ, True)], [deny("/top/a", host, soft=True)], host) == {"/top/a": READ}


def test_a_sibling_that_is_the_hole_by_another_name_gets_nothing() -> None:
    """A hard link beside the hole, or granted by name, is compared by device and inode."""
    host = FakeHost(tree() | {"/top/a/twin": hard("/top/a/secret"), "/else/twin": hard("/top/a/secret")})
    hole = deny("/top/a/secret", host)
    found = rules([Grant("/top", READ, True), Grant("/else/twin", READ, False)], [hole], host)
    assert not {"/top/a/twin", "/else/twin"} & found.keys()


def test_a_writable_tree_around_a_hole_is_reported_frozen() -> None:
    """Every directory that lost making and removing is named; a tree that is only read is not."""
    host = FakeHost(tree())
    hole = deny("/top/a/secret", host)
    assert expand([Grant("/top", WRITE, True)], [hole], host).frozen == {hole: ["/top", "/top/a"]}
    assert expand([Grant("/top", READ, True)], [hole], host).frozen == {}


def test_a_directory_that_cannot_be_listed_is_reported() -> None:
    """Its entries get nothing, which errs on the safe side."""
    host = FakeHost(tree() | {"/top/a": directory(0o711)}, uid=1000)
    assert expand([Grant("/top", READ, True)], [deny("/top/a/secret", host)], host).unlisted == ["/top/a"]


def test_too_many_rules_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of rules is bounded."""
    monkeypatch.setattr(siblings, "MOST_RULES", 5)
    host = FakeHost({f"/top/{number}": file() for number in range(9)})
    with pytest.raises(TooManyRulesError):
        expand([Grant("/top", READ, True)], [deny("/top/0", host)], host)


def test_bind_mounts_show_a_hole_elsewhere() -> None:
    """The hole itself, what contains it, and a part of it, mounted at other places."""
    binds = {"/mnt/same": "/top/a", "/mnt/above": "/top", "/mnt/part": "/top/a/sub", "/mnt/other": "/top/b"}
    host = FakeHost(tree(), binds=binds)
    found = {hole.path for hole in aliases(deny("/top/a", host), host.mounts(), host)}
    assert found == {"/mnt/same", "/mnt/above/a", "/mnt/part"}


def test_the_same_device_number_elsewhere_is_no_alias() -> None:
    """A candidate that is another file is left out, an absent hole is taken at its word."""
    host = FakeHost(tree(), binds={"/mnt/above": "/top"})
    assert {hole.path for hole in aliases(deny("/top/new", host), host.mounts(), host)} == {"/mnt/above/new"}
    assert not aliases(deny("/top/a", host), host.mounts()[:-1], host)
