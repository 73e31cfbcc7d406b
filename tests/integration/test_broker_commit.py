"""Writing outputs, killed at any moment: each target is the old or the new one, and after the next launch all are of one kind."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sandrun import libc
from sandrun.brokered import commit, target
from sandrun.brokered.checks import RefusedError
from tests.outputs import OUTPUT
from tests.support import ChildDiedError, in_child, need_landlock, sandrun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Who

OLD, NEW = "old", "new\n" * 5000
TRIES = 100


class Place(NamedTuple):
    """Two targets, one of which is there already, in directories of their own, and one in a directory to be made."""

    box: Path

    @property
    def base(self) -> str:
        return str(self.box / "journal")

    def paths(self) -> list[Path]:
        return [self.box / "one/a", self.box / "two/b", self.box / "two/new/er/c"]

    def make(self) -> None:
        for path in self.paths()[:2]:
            path.parent.mkdir(exist_ok=True)
        (self.box / "one/a").write_text(OLD)
        os.makedirs(self.base, exist_ok=True)

    def commit(self) -> None:
        """Write all of them."""
        found = [target.find(OUTPUT._replace(path=str(path), mkdir=True)) for path in self.paths()]
        commit.commit(self.base, [(each, NEW.encode()) for each in found])

    def contents(self) -> list[str]:
        """Of each target; "" is none."""
        return [path.read_text() if path.exists() else "" for path in self.paths()]

    def stray(self) -> list[str]:
        """All else that there is."""
        found = [os.path.join(folder, name) for folder, _, names in os.walk(self.box) for name in names]
        known = {*map(str, self.paths()), f"{self.base}/lock"}
        return [path for path in found if path not in known]

    def check(self) -> list[str]:
        """After a recovery: all or none, and nothing else. Returns the contents."""
        seen = self.contents()
        for old, now in zip([OLD, "", ""], seen, strict=True):
            assert now in (old, NEW)
        commit.recover(self.base)
        recovered = self.contents()
        assert recovered in ([OLD, "", ""], [NEW, NEW, NEW])
        assert self.stray() == []
        assert (recovered[2] != "") == (self.box / "two/new").exists()
        return recovered

    def clear(self) -> None:
        for path in self.paths():
            path.unlink(missing_ok=True)
        for folder in ("two/new/er", "two/new"):
            if (self.box / folder).exists():
                (self.box / folder).rmdir()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path.resolve())
    made.make()
    return made


class Counter:
    """Does something before call number `at` of those that change a filesystem."""

    CALLS = (
        *((os, name) for name in ("open", "write", "fsync", "rename", "unlink", "mkdir", "rmdir", "fchmod", "fchown")),
        (libc, "renameat2"),
    )

    def __init__(self, at: int, do: Callable[[], None], only: str = "") -> None:
        self.at, self.do, self.count = at, do, 0
        for module, name in self.CALLS:
            if only in ("", name):
                setattr(module, name, self.counted(getattr(module, name)))

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                self.do()
            return call(*args, **more)

        return counted


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_commit(place: Place) -> None:
    """Undisturbed, all is written, and neither journal nor temporary file is left."""
    place.commit()
    assert place.contents() == [NEW] * 3
    assert place.stray() == []


def test_killed_before_each_call(place: Place) -> None:
    """Wherever between two calls it dies, what is left is recovered to all or none; both happen."""
    ends = []
    for at in range(1, 500):

        def work(at: int = at) -> int:
            counter = Counter(at, kill_self)
            place.commit()
            counter.at = 0  # what brings the result is not counted
            return counter.count

        try:
            assert in_child(work) < at
            break
        except ChildDiedError:
            pass
        ends.append(place.check()[0])
        place.clear()
        place.make()
    assert len(ends) > 30
    assert OLD in ends
    assert NEW in ends
    assert ends == sorted(ends, key=[OLD, NEW].index), "from some moment on it is always brought to its end"


def test_killed_again_while_it_recovers(place: Place) -> None:
    """A recovery that is killed is recovered."""
    for at in range(1, 100):

        def half() -> None:
            Counter(2, kill_self, only="renameat2")
            place.commit()

        with pytest.raises(ChildDiedError):
            in_child(half)

        def again(at: int = at) -> int:
            counter = Counter(at, kill_self)
            commit.recover(place.base)
            counter.at = 0  # what brings the result is not counted
            return counter.count

        try:
            is_last = in_child(again) < at
        except ChildDiedError:
            is_last = False
        assert place.check() == [NEW] * 3
        place.clear()
        place.make()
        if is_last:
            break
    assert is_last
    assert at > 5


@pytest.mark.parametrize("error", [5, 28])
def test_calls_that_fail(place: Place, error: int) -> None:
    """EIO, ENOSPC of any call: either all is written, or there is an error and nothing is."""

    def fail() -> None:
        raise OSError(error, os.strerror(error))

    for at in range(1, 500):

        def work(at: int = at) -> tuple[int, bool]:
            counter = Counter(at, fail)
            try:
                place.commit()
            except (RefusedError, commit.SandrunError):
                done = False
            else:
                done = True
            counter.at = 0
            return counter.count, done

        count, done = in_child(work)
        after = place.check()
        assert (after == [NEW] * 3) or not done
        if count < at:
            break
        place.clear()
        place.make()
    assert at > 30


def test_a_target_that_somebody_exchanges(place: Place) -> None:
    """Between the last look and the exchange: what was put there gets its place back, and so do the other targets."""
    paths = place.paths()

    def exchange() -> None:
        paths[0].unlink()
        paths[0].symlink_to("/etc/passwd")

    def work() -> str:
        Counter(1, exchange, only="renameat2")
        try:
            place.commit()
        except RefusedError as refused:
            return str(refused)
        return ""

    assert "somebody else changed it meanwhile" in str(in_child(work))
    assert os.readlink(paths[0]) == "/etc/passwd"
    assert place.stray() == []
    assert not paths[1].exists()


def test_a_target_that_changed_before_the_recovery(place: Place) -> None:
    """What somebody wrote since is not overwritten by a commit of before: that is undone as a whole."""

    def half() -> None:
        Counter(2, kill_self, only="renameat2")
        place.commit()

    with pytest.raises(ChildDiedError):
        in_child(half)
    place.paths()[1].write_text("later")
    commit.recover(place.base)
    assert place.contents() == [OLD, "later", ""]
    assert place.stray() == []


@pytest.mark.parametrize("text", ["", "[]", '{"state":"committing"}', '{"state":"x","entries":[{"made":[]}]}', "\xff"])
def test_a_damaged_journal(place: Place, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It is told of, put aside, and in nobody's way."""
    (place.box / "journal/journal").write_bytes(text.encode("latin-1"))
    place.commit()
    assert "is damaged, and is kept as journal.kept-" in capfd.readouterr().err
    assert place.contents() == [NEW] * 3


def test_without_exchange(place: Place) -> None:
    """A filesystem without RENAME_EXCHANGE gets the outputs by rename(2)."""

    def work() -> None:
        def refuse(*_: object) -> None:
            raise OSError(22, "Invalid argument")

        libc.renameat2 = refuse
        place.commit()

    in_child(work)
    assert place.contents() == [NEW] * 3
    assert place.stray() == []


def test_killed_at_random(place: Place) -> None:
    """At a hundred random moments: each target is old or new, and all are of one kind after the recovery."""
    rng = random.Random(7)
    start = time.monotonic()
    in_child(place.commit)
    took = time.monotonic() - start
    for _ in range(TRIES):
        place.clear()
        place.make()
        pid = os.fork()
        if not pid:
            try:
                place.commit()
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, took * 1.1))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        place.check()


def test_the_launcher_killed(who: Who, box: Path) -> None:
    """The whole of sandrun, killed while it writes; the next launch with outputs brings it to one end."""
    need_landlock(1)
    rng = random.Random(11)
    env = who.env | {"XDG_STATE_HOME": str(box / "state")}
    words = ["-p", "strict", "--out", "a=a", "--out", "b=b", "--", "sh", "-c"]
    leave = "echo new >&$SANDRUN_OUT_A; echo new >&$SANDRUN_OUT_B; echo go"
    seen = set()
    for _ in range(6):
        for name in "ab":
            (box / name).write_text("old\n")
            who.own(box / name)
        with who.popen([*who.sandrun, *words, leave], cwd=box, env=env, stdout=-1, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
        between = [(box / name).read_text() for name in "ab"]
        assert set(between) <= {"old\n", "new\n"}
        assert sandrun(*words, "exit 1", who=who, cwd=box, env=env).returncode == 1
        after = {(box / name).read_text() for name in "ab"}
        assert len(after) == 1
        assert {path.name for path in box.iterdir()} == {"a", "b", "state"}
        assert json.dumps(os.listdir(box / "state/sandrun/outputs")) == '["lock"]'
        seen |= after
    assert seen
