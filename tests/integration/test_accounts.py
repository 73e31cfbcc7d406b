"""A uid of its own: nobody else has it, and nothing of it is left."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandrun import accounts
from sandrun.errors import SandrunError
from sandrun.plan.account import FIRST, LAST
from sandrun.plan.format import Plan
from tests.support import Who, children, need_program, reap_orphans, sandrun

if TYPE_CHECKING:
    from collections.abc import Callable

TOGETHER = 12
PATIENCE = 60
BEYOND = LAST + 1
"""For the tests with locks of their own: no launch of another test at the same time takes such a number."""
OPTIONS = ("-q", "-p", "none", "--read", "/", "--execute", "/", "--dev", "minimal", "--proc", "own", "--tmp", "private")
DYNAMIC = (*OPTIONS, "--user", "dynamic")


@pytest.fixture
def directory(tmp_path: Path, root: Who, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of locks for this test alone."""
    monkeypatch.setattr(accounts, "DIRECTORY", str(tmp_path / "sandrun" / "uids"))
    return tmp_path / "sandrun" / "uids"


def only(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    monkeypatch.setattr(accounts, "FIRST", numbers[0])
    monkeypatch.setattr(accounts, "LAST", numbers[-1])


def waited(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# --- the lock ------------------------------------------------------------------------------------------------------


def test_a_number_is_had_once_and_given_back(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two numbers both can be had, a third not; what is released leaves no file and can be had again."""
    only(monkeypatch, BEYOND, BEYOND + 1)
    first, second = accounts.claim(), accounts.claim()
    assert {first.number, second.number} == {BEYOND, BEYOND + 1}
    with pytest.raises(SandrunError, match="every number"):
        accounts.claim()
    first.release()
    assert [path.name for path in directory.iterdir()] == [str(second.number)]
    third = accounts.claim()
    assert third.number == first.number
    plan = third.apply(Plan(uid=FIRST, gid=FIRST, dynamic=1, hostname=b"x"))
    assert (plan.uid, plan.gid, plan.hostname) == (third.number, third.number, b"x")
    second.release()
    third.release()
    assert not list(directory.iterdir())


def test_who_has_the_descriptor_has_the_number(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock lives on in another process when the one that took it is gone, as in the init process."""
    only(monkeypatch, BEYOND)
    claim = accounts.claim()
    with subprocess.Popen([need_program("sleep"), "1000"], pass_fds=[claim.descriptor]) as heir:
        os.close(claim.descriptor)
        with pytest.raises(SandrunError, match="in use"):
            accounts.claim()
        heir.kill()
        heir.wait()
        accounts.claim().release()


def test_a_number_that_a_process_has_is_not_free(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock alone is not believed: init closes its files before the kernel has killed the others in its namespace."""
    only(monkeypatch, BEYOND)
    with subprocess.Popen([need_program("sleep"), "1000"], user=BEYOND) as other:
        with pytest.raises(SandrunError, match="in use"):
            accounts.claim()
        other.kill()
    claim = accounts.claim()
    with subprocess.Popen([need_program("sleep"), "1000"], user=BEYOND) as other:
        claim.release()
        assert (directory / str(BEYOND)).exists()
        other.kill()


def test_a_number_of_an_account_is_never_had(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, BEYOND, BEYOND + 1)
    known = pwd.getpwuid(0)
    monkeypatch.setattr(accounts.pwd, "getpwuid", lambda uid: {BEYOND: known}[uid])
    claim = accounts.claim()
    assert claim.number == BEYOND + 1
    claim.release()


def test_locks_that_others_could_replace_are_refused(directory: Path) -> None:
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    with pytest.raises(SandrunError, match="EPERM"):
        accounts.claim()


# --- launches ------------------------------------------------------------------------------------------------------


def test_launches_at_once_never_share_a_number(root: Who) -> None:
    """Each has a uid and a gid of its own, none of them known; afterwards no file and no process of them is left."""
    script = "echo $(id -u) $(id -g) $(id -G); touch /tmp/mine && read x"
    started = [
        root.popen(
            [*root.sandrun, *DYNAMIC, "--", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(TOGETHER)
    ]
    lines = [one.stdout.readline().split() for one in started if one.stdout]
    for one in started:
        one.communicate("\n", timeout=PATIENCE)
    assert all(len(set(line)) == 1 for line in lines), lines
    numbers = [int(line[0]) for line in lines]
    assert len(set(numbers)) == TOGETHER
    assert all(FIRST <= number <= LAST for number in numbers)
    # Launches of other tests may look into a file that they saw before, or get one of these numbers by chance.
    assert waited(lambda: not any(Path(accounts.DIRECTORY, str(number)).exists() for number in numbers))
    assert waited(lambda: not any(map(_has_processes, numbers)))


def test_the_init_process_holds_the_lock_and_the_command_does_not(root: Who) -> None:
    """Killed by SIGKILL, the supervisor frees nothing that is in use: init has the descriptor until all is over."""
    with root.popen([*root.sandrun, *DYNAMIC, "--", "sh", "-c", "id -u; sleep 1000"], stdout=subprocess.PIPE) as one:
        try:
            assert one.stdout is not None
            number = int(one.stdout.readline())
            lock = Path(accounts.DIRECTORY, str(number))
            holders = [pid for pid in children(one.pid) if str(lock) in _open_files(pid)]
            assert str(lock) in _open_files(one.pid)
            inner = [Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].split()[1] for pid in holders]
            assert inner == ["1"]
        finally:
            one.kill()
    assert waited(lambda: reap_orphans() or not _has_processes(number)), "processes of the user are left"
    accounts._remove_leftovers()
    assert waited(lambda: not lock.exists())


def _open_files(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def _has_processes(number: int) -> bool:
    try:
        os.getpriority(os.PRIO_USER, number)
    except ProcessLookupError:
        return False
    return True


def test_nothing_of_the_user_stays(root: Who) -> None:
    """It writes into its own places only; keyrings, which are kept by number, are closed; its home is none."""
    script = (
        "import ctypes, os\n"
        "print(ctypes.CDLL(None, use_errno=True).syscall(%d, b'user', b'x', b'x', 1, -4), ctypes.get_errno())\n"
        "print(os.environ['HOME'], os.environ['USER'])\n"
        "open('/tmp/mine', 'w').close()\n"
        "os.chdir(%r)\n"
        "open('mine', 'w').close()\n"
    )
    box = Path(f"/run/srtest-{os.getpid()}")
    box.mkdir()
    box.chmod(0o1777)
    words = (need_program("python3"), "-I", "-c", script % (217 if os.uname().machine == "aarch64" else 248, str(box)))
    done = sandrun(*DYNAMIC, "--", *words, who=root, cwd="/usr")
    assert done.stdout.splitlines() == [f"-1 {errno.EPERM}", "/ dynamic"]
    assert "Read-only file system: 'mine'" in done.stderr
    box.rmdir()
    assert not Path("/tmp/mine").exists()


def test_refused_where_it_cannot_be_kept(root: Who) -> None:
    """With a grant of writing, and for an ordinary user, nothing runs."""
    done = sandrun(*DYNAMIC, "--write", "/srv", "--", "true", who=root)
    assert (done.returncode, "may write /srv" in done.stderr) == (125, True)
    user = Who("user", 1234, 1234, root.home, root.tmp)
    done = sandrun(*DYNAMIC, "--", "true", who=user, cwd="/usr")
    assert (done.returncode, "run sandrun as root" in done.stderr) == (125, True)


def test_without_namespaces_it_is_refused(root: Who) -> None:
    """An outer sandbox that has none to give is a reason, and 125."""
    done = sandrun(
        "-q", "-p", "none", "--read", "/", "--execute", "/", "--", *root.sandrun, *DYNAMIC, "--", "true", who=root
    )
    assert done.returncode == 125
    assert "dynamic user" in done.stderr
