"""The helpers that the other tests lean on do what they say."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests import support

if TYPE_CHECKING:
    from pathlib import Path


def test_in_child_returns_the_result() -> None:
    """The result of the child's function comes back, and the child is another process."""
    assert support.in_child(lambda: (os.getppid(), "x" * 200_000)) == (os.getpid(), "x" * 200_000)


def test_in_child_raises_what_the_child_raised() -> None:
    """An exception comes back with its type, its errno and the child's traceback."""

    def fail() -> NoReturn:
        raise PermissionError(13, "no")

    with pytest.raises(PermissionError) as caught:
        support.in_child(fail)
    assert caught.value.errno == 13
    assert "in the child" in caught.value.__notes__[0]


def test_in_child_knows_skips_and_signals() -> None:
    """A skip in the child skips the test; a signal that ended it is told."""
    with pytest.raises(pytest.skip.Exception, match="why"):
        support.in_child(lambda: pytest.skip("why"))
    with pytest.raises(support.ChildDiedError) as caught:
        support.in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert caught.value.signal == signal.SIGKILL


def test_in_child_ends_a_child_that_hangs() -> None:
    """The time limit kills the child."""
    with pytest.raises(support.ChildDiedError):
        support.in_child(lambda: time.sleep(60), timeout=0.2)


def test_who_has_nothing_of_ours(who: support.Who, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program run as `who` has its ids, no capability unless it is root, its home, and no variable of the session."""
    monkeypatch.setenv("LEAKS", "1")
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ.get('LEAKS'), os.getcwd())"
    done = who.run(["/usr/bin/env", "python3", "-c", code], cwd=box, check=True)
    groups = os.getgroups() if who.uid == os.getuid() else []
    assert done.stdout.strip() == f"{(who.uid,) * 3} {(who.gid,) * 3} {groups} None {box}"
    if not who.is_root:
        status = who.run(["grep", "CapEff", "/proc/self/status"], check=True).stdout
        assert int(status.split()[1], 16) == 0


def test_who_owns_its_places(who: support.Who, box: Path) -> None:
    """The home, the temporary directory and the box can be written by `who`."""
    for place in (who.home, who.tmp, box):
        who.run(["touch", str(place / "file")], check=True)
        assert (place / "file").stat().st_uid == who.uid


def test_the_launcher_starts_as_who(who: support.Who) -> None:
    """The words that start sandrun name an interpreter that `who` can execute, with every library."""
    words = who.sandrun
    assert "sandrun" in words[-1]
    who.run([words[0], "-I", "-c", "pass"], check=True)


def test_descendants_finds_orphans(who: support.Who) -> None:
    """A process whose parent ended is still seen once we are a subreaper, and can be ended."""
    support.become_subreaper()
    before = support.descendants()
    code = "import os, time\nif os.fork() == 0:\n os.setsid(); os.close(1); time.sleep(60)"
    who.run([sys.executable if who.uid == os.getuid() else "/usr/bin/python3", "-c", code], stderr=subprocess.DEVNULL)
    left = {pid: name for pid, name in support.descendants().items() if pid not in before}
    support.kill_all(left)
    assert len(left) == 1
    assert not support.left_since(before)


def test_need_fails_where_tests_must_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing feature skips at home and fails in CI."""
    support.need(True, "never")
    monkeypatch.setenv("SANDRUN_MUST_WORK", "")
    with pytest.raises(pytest.skip.Exception):
        support.need(False, "no such kernel")
    monkeypatch.setenv("SANDRUN_MUST_WORK", "1")
    with pytest.raises(pytest.fail.Exception, match="no such kernel"):
        support.need(False, "no such kernel")


@pytest.mark.skipif(not support.CAN_BE_ROOT, reason="only root can ask for another uid")
def test_a_closed_checkout_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the session's interpreter or checkout is closed to the ordinary user, a readable copy of both serves."""
    real = support._runs
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    support.need(shutil.which(version, path=support.PATH), f"no {version} for everybody")
    monkeypatch.setattr(support, "_runs", lambda uid, *argv: "sandrun;" not in argv[-1] and real(uid, *argv))
    words = support._launcher.__wrapped__(support.USER_UID)
    assert support._readable_copy().joinpath("sandrun/errors.py").stat().st_mode & 0o777 == 0o644
    assert words[-2] == "-c"
