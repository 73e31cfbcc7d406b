"""`sandrun shrink --below` and `--repeat` as a user runs them: directories narrow, and nothing becomes a way out."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from sandrun.profile.find import Found
from sandrun.profile.loader import load_text
from sandrun.shrink.below import MOST_ENTRIES, Narrowing, Tree
from tests.support import sandrun

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sandrun.profile.model import Profile
    from tests.support import Who

PROFILE = """\
[filesystem]
read = ["@runtime", "@system", "src"]  # sources
write = ["@devices", "work"]
execute = ["@system", "@runtime"]
"""
TEST = "cat src/deep/a work/input >work/out/result"


@pytest.fixture
def place(who: Who, box: Path) -> Path:
    """A project of which TEST needs a little."""
    for folder in ("src/deep/unused", "src/other", "work/out", "work/cache"):
        (box / folder).mkdir(parents=True)
    for file in ("src/deep/a", "src/deep/b", "src/c", "work/input", "work/notes"):
        (box / file).write_text("x\n")
    (box / "src/link").symlink_to("/etc")
    (box / "app.toml").write_text(PROFILE)
    who.own(*box.rglob("*"))
    return box


def shrink(who: Who, place: Path, *words: str, test: str = TEST) -> subprocess.CompletedProcess[Any]:
    return sandrun("shrink", *words, "app.toml", "--", "/bin/sh", "-c", test, who=who, cwd=place)


def test_directories_become_what_is_needed(who: Who, place: Path) -> None:
    """A level at a time: reading a file, writing in a directory that was there; all else goes, and the test passes."""
    done = shrink(who, place, "--below", "--json")
    assert done.returncode == 0, done.stderr
    lists = load(place)
    assert "./src/deep/a" in lists["read"] or "src/deep/a" in lists["read"]
    assert "work/input" in lists["read"]
    assert [entry for entry in lists["write"] if not entry.startswith("@")] == ["work/out"]
    assert not {"src", "src/deep", "work", "src/link"} & {entry for entries in lists.values() for entry in entries}
    assert "  # sources" in (place / "app.toml").read_text()
    narrowed = {entry["entry"]: entry.get("below") for entry in json.loads(done.stdout)["narrowed"]}
    assert {row["entry"] for row in narrowed['"work"']} == {'"work/out"', '"work/input"'}
    assert sandrun("-q", "-p", "./app.toml", "--", "/bin/sh", "-c", TEST, who=who, cwd=place).returncode == 0


def load(place: Path) -> dict[str, list[str]]:
    profile = load_text(Found("./app.toml", str(place / "app.toml"), "./app.toml"), (place / "app.toml").read_text())
    return {
        key: [value.value.text for value in profile.items(f"filesystem.{key}")]  # type: ignore[union-attr]
        for key in ("read", "write", "execute")
    }


def test_a_directory_that_is_listed_stays(who: Who, place: Path) -> None:
    """What needs the directory itself, to list it or to make something in it, keeps it."""
    done = shrink(who, place, "--below", test="set -e; ls src; mkdir work/new; rmdir work/new")
    assert done.returncode == 0, done.stderr
    assert "work" in load(place)["write"]
    assert "src" in load(place)["read"]


def test_a_repeated_test(who: Who, place: Path) -> None:
    """With --repeat, what fails at the second run fails; a grant that is needed only now and then stays."""
    count = "n=$(cat work/n); echo $((n + 1)) >work/n; test $((n % 2)) = 0 || cat src/c"
    (place / "work/n").write_text("0\n")
    who.own(place / "work/n")
    done = shrink(who, place, "--repeat", "2", "--json", test=count)
    assert done.returncode == 0, done.stderr
    assert "src" in load(place)["read"]


# --- as the test command would have it -----------------------------------------------------------------------------


FOUND = "app.toml"


def narrowed(
    tmp_path: Path, text: str, needs: Callable[[set[str]], bool], meanwhile: Callable[[], None] = lambda: None
) -> tuple[str, list[Profile]]:
    """The text after narrowing with a test that only looks at the profile, and all profiles that were tried."""
    seen: list[Profile] = []

    def attempt(profiles: Sequence[Profile]) -> list[bool]:
        seen.extend(profiles)
        meanwhile()
        return [
            needs({f"{key}:{v.value.text}" for key in ("read", "write") for v in p.items(f"filesystem.{key}")})
            for p in profiles
        ]  # type: ignore[union-attr]

    found = Found("./app.toml", str(tmp_path / FOUND), "./app.toml")
    work = Narrowing(found, text, attempt, Tree([str(tmp_path / "d")]), lambda value: [value.value.path])  # type: ignore[union-attr]
    return work.run(100, 1, {}).text, seen


@pytest.fixture
def d(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").touch()
    (tmp_path / "d/b").mkdir()
    return tmp_path / "d"


def test_a_link_that_is_put_there_is_never_tried(tmp_path: Path, d: Path) -> None:
    """A name that became a link after the first look, before a run or between two, is granted to nobody."""
    text = f'[filesystem]\nread = ["{d}"]\n'

    def replace() -> None:
        (d / "a").unlink(missing_ok=True)
        (d / "a").symlink_to("/etc")

    after, seen = narrowed(tmp_path, text, lambda entries: f"read:{d}/a" in entries or f"read:{d}" in entries, replace)
    assert len(seen) == 1
    assert after == text


def test_it_goes_on_where_it_stopped(tmp_path: Path, d: Path) -> None:
    """The tries bound the runs, what has passed until then stays, and no profile is tried twice."""
    text = f'[filesystem]\nread = ["{d}"]\n'
    found = Found("./app.toml", str(tmp_path / FOUND), "./app.toml")
    tried: dict[str, bool] = {}
    runs = []

    def attempt(profiles: Sequence[Profile]) -> list[bool]:
        runs.extend(profiles)
        return [f"{d}/a" in [value.value.path for value in one.items("filesystem.read")] for one in profiles]  # type: ignore[union-attr]

    for tries in (1, 1, 100):
        work = Narrowing(found, text, attempt, Tree([str(d)]), lambda value: [value.value.path])  # type: ignore[union-attr]
        done = work.run(tries, 1, tried)
    assert done.complete
    assert done.text == f'[filesystem]\nread = ["{d}/a"]\n'
    assert len(runs) == len(tried)


def test_what_was_made_meanwhile_is_not_named(tmp_path: Path, d: Path) -> None:
    """Only what was there at the first look; links are left out from the start."""
    (d / "link").symlink_to("/etc")
    text = f'[filesystem]\nread = ["{d}"]\n'
    tree = Tree([str(d)])
    (d / "new").touch()
    assert dict(tree.names(str(d))) == {"a": False, "b": True}
    after, seen = narrowed(tmp_path, text, lambda entries: f"read:{d}/a" in entries)
    assert after == f'[filesystem]\nread = ["{d}/a"]\n'
    assert not any("link" in str(value.value) for profile in seen for value in profile.items("filesystem.read"))


@pytest.mark.parametrize(
    "more", ['write = ["/"]', 'tmp = "host"', 'rules = [{ path = "/srv", access = ["make_sym"] }]', 'overlay = ["/"]']
)
def test_where_another_grant_may_make_entries(tmp_path: Path, d: Path, more: str) -> None:
    """There a link could take the place of an entry before the next launch: the directory stays."""
    text = f'[filesystem]\nread = ["{d}"]\n{more}\n'
    after, seen = narrowed(tmp_path, text, lambda _: True)
    assert (after, seen) == (text, [])


def test_large_directories_and_denials(tmp_path: Path, d: Path) -> None:
    """One with too many entries stays; what is denied is not named."""
    text = f'[filesystem]\nread = ["{d}"]\ndeny = ["{d}/b"]\n'
    after, _ = narrowed(tmp_path, text, lambda entries: f"read:{d}/a" in entries)
    assert f'read = ["{d}/a"]' in after
    for number in range(MOST_ENTRIES):
        (d / str(number)).touch()
    text = f'[filesystem]\nread = ["{d}"]\n'
    assert narrowed(tmp_path, text, lambda _: True) == (text, [])
    assert os.path.isdir(d)
