"""`sandrun.enter`: the process that calls it is confined from there on, wholly or not at all."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

import sandrun
from sandrun import steps
from sandrun.library import inplace
from tests.support import a_who, need_landlock, need_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

HEAD = """
import errno, os, sys, threading
{path}
import sandrun
def attempt(act):
    try:
        return "done" if act() else "nothing"
    except OSError as error:
        return errno.errorcode[error.errno]
"""
OPEN = {"replace": ["filesystem.tmp", "filesystem.home"], "optional": ["process.isolate", "filesystem.proc"]}


def inside(who: Who, box: Path, code: str, **variables: str) -> list[str]:
    """The lines that a program of this user says, which starts in `box`."""
    program = who.sandrun
    path = who.importing
    text = HEAD.replace("{path}", path) + textwrap.dedent(code)
    done = who.run([program[0], "-B", "-I", "-c", text], cwd=box, env={**who.env, **variables})
    assert done.returncode == 0, done.stderr
    return str(done.stdout).splitlines()


def test_confines_from_here_on(who: Who, box: Path) -> None:
    """What worked before is refused afterwards: files, sockets, and by what the process starts as well."""
    need_landlock(1)
    secret = who.home / "secret"
    secret.write_text("x")
    who.own(secret)
    code = f"""
        import socket, subprocess
        secret, here = {str(secret)!r}, os.path.abspath("made")
        print(attempt(lambda: open(secret)), attempt(socket.socket))
        record = sandrun.enter("default", **{OPEN!r})
        print(attempt(lambda: open(secret)), attempt(socket.socket), attempt(lambda: open(here, "w")))
        print(subprocess.run(["/bin/cat", secret], stderr=-3).returncode)
        print(*(one.key for one in record if "landlock" in one.mechanisms))
    """
    before, after, child, keys = inside(who, box, code)
    assert before == "done done"
    assert after == "EACCES EAFNOSUPPORT done"
    assert child == "1"
    assert "filesystem.read" in keys


def test_what_is_open_stays_open(who: Who, box: Path) -> None:
    """A descriptor that was opened before is used afterwards: that is what the set-up is for."""
    need_landlock(1)
    code = f"""
        held = open("/etc/hostname", "rb", 0)
        record = sandrun.enter("none", **{OPEN!r})
        print(attempt(lambda: held.read(1)), attempt(lambda: open("/etc/hostname")))
        print(*(one.notes for one in record if one.key == "process.pass_fds"))
    """
    assert inside(who, box, code) == ["done EACCES", "('what is open stays open',)"]


def test_strict_goes_on(who: Who, box: Path) -> None:
    """Under `strict` the interpreter goes on, imports, and starts nothing."""
    need_landlock(1)
    code = """
        sandrun.enter("strict")
        import json, csv
        print(attempt(lambda: os.fork() or True), attempt(lambda: os.kill(1, 0) or True), json.dumps([1]))
    """
    assert inside(who, box, code) == ["EPERM EPERM [1]"]


def test_environment(who: Who, box: Path) -> None:
    """`os.environ` keeps what the profile passes on, and gets what it sets."""
    code = f"""
        sandrun.enter(sandrun.Profile.default().env(COLOUR="blue"), **{OPEN!r})
        print("TOKEN" in os.environ, os.environ["COLOUR"], os.environ["LANG"])
    """
    assert inside(who, box, code, TOKEN="x") == ["False blue C.UTF-8"]


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"tmp": "private"}, "filesystem.tmp"),
        ({"home": "private"}, "filesystem.home"),
        ({"time_timeout": "5s"}, "time.timeout"),
        ({"tty": "pty"}, "process.tty"),
        ({"create": ["made"]}, "filesystem.create"),
        ({"isolate": "true"}, "pid namespace"),
        ({"hostname": "other"}, "uts namespace"),
        ({"overlay": ["."]}, "filesystem.overlay"),
        ({"loopback": True}, "network.loopback"),
        ({"memory": "1G"}, "resources.memory"),
        ({"connect": ["example.org:443"]}, "example.org"),
    ],
)
def test_all_or_nothing(who: Who, box: Path, overrides: dict[str, object], key: str) -> None:
    """What cannot be had in place is named with what to do, and then nothing of the rest is in force either."""
    need_landlock(1)
    code = f"""
        try:
            sandrun.enter("none", **{overrides!r})
        except sandrun.UnsupportedError as error:
            print("|".join(error.lines()))
        status = open("/proc/self/status").read()
        print([line.split()[1] for line in status.splitlines() if line.startswith(("NoNewPrivs", "Seccomp:"))])
        print(attempt(lambda: open("/etc/passwd")), os.environ["HOME"] != "")
    """
    said, status, after = inside(who, box, code)
    assert key in said
    assert "hint: " in said
    assert status == "['0', '0']"
    assert after == "done True"


def test_several_threads(who: Who, box: Path) -> None:
    """Landlock below ABI 8 reaches one thread only, so a process with more is told, and not confined."""
    need_landlock(1)
    code = f"""
        end = threading.Event()
        thread = threading.Thread(target=end.wait)
        thread.start()
        try:
            sandrun.enter("default", **{OPEN!r})
        except sandrun.UnsupportedError as error:
            print("|".join(error.lines()))
            print(attempt(lambda: open("/etc/passwd")))
        else:
            print("all")
        end.set()
        thread.join()
    """
    said = inside(who, box, code)
    if said == ["all"]:
        need_landlock(8)
        return
    assert said[0].startswith("cannot confine all 2 threads of this process: Landlock ABI 8 is needed")
    assert said[0].endswith("hint: call enter before the first thread is started")
    assert said[1] == "done"


def test_filters_reach_all_threads(who: Who, box: Path) -> None:
    """Where filters keep all that is asked for, they reach the threads that are there already."""
    code = """
        import socket
        go, done, said = threading.Event(), threading.Event(), []
        def other():
            go.wait()
            said.append(attempt(lambda: socket.socket(socket.AF_UNIX)))
        thread = threading.Thread(target=other)
        thread.start()
        everything = {"read": ["@all"], "write": ["@all"], "execute": ["@all"], "isolate": "false"}
        try:
            sandrun.enter("none", **everything, capability=[])
        except sandrun.UnsupportedError as error:
            said.append("|".join(error.lines()))
        go.set()
        thread.join()
        print(*said)
    """
    said = inside(who, box, code)
    if who.is_root:
        assert said[0].startswith("cannot confine all 2 threads of this process: ids, capabilities")
    else:
        assert said == ["EAFNOSUPPORT"]


def test_drops_to_a_user(box: Path) -> None:
    """A server of root's becomes an ordinary user when it enters, for good."""
    need_root()
    need_landlock(1)
    code = f"""
        sandrun.enter("default", user="nobody", **{OPEN!r})
        print(len(set(os.getresuid()) | set([0])), 0 in os.getgroups(), attempt(lambda: os.setuid(0) or True))
    """
    with a_who("root") as who:
        assert inside(who, box, code) == ["2 False EPERM"]


def test_steps_are_those_of_a_launch() -> None:
    """Each step that is taken in place is one of the launch's, and it ends before execve."""
    names = [name for name, _ in steps.CHILD_STEPS]
    assert set(names) >= inplace.IN_PLACE
    assert names[-1] not in inplace.IN_PLACE


def test_wrong_names_are_said() -> None:
    """An override that is no key is an error with what was meant, before anything happens."""
    with pytest.raises(sandrun.UsageError) as caught:
        sandrun.enter("none", conect=["tcp:80"])
    assert "connect" in str(caught.value.hint)
