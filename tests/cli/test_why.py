"""`sandrun why` as a user asks it: what is printed, the status, and what of the options counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support import need_landlock, sandrun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who


def test_yes_is_0_and_no_is_1(who: Who, box: Path) -> None:
    """Each answer is one line with the entry that decides; one no makes the status 1."""
    need_landlock(1)
    yes = sandrun("why", "read", "/etc/hosts", ".", who=who, cwd=box)
    assert (yes.returncode, yes.stderr) == (0, "")
    first, second = yes.stdout.splitlines()[:2]
    assert first.startswith("yes  read /etc/hosts: granted by filesystem.read @system (builtin:default:")
    assert "granted by filesystem.write ." in second
    both = sandrun("why", "write", "/etc/hosts", ".", who=who, cwd=box)
    assert both.returncode == 1
    assert "no   write /etc/hosts: no entry grants it\n" in both.stdout


def test_options_stand_on_both_sides(who: Who, box: Path) -> None:
    """As people type them; and `--` names the command."""
    need_landlock(1)
    words = ("-p", "none", "read", "--read", "/srv", "/srv", "--abi", "1", "--json", "--", "/bin/true")
    done = sandrun("why", *words, who=who, cwd=box)
    document = json.loads(done.stdout)
    assert (done.returncode, document["landlock_abi"], document["profiles"]) == (0, 1, ["none"])
    (answer,) = document["answers"]
    assert answer["entries"] == [{"key": "filesystem.read", "text": "/srv", "origin": "--read", "through": []}]
    assert answer["allowed"]


def test_a_profile_that_cannot_be_kept_cannot_be_asked(who: Who, box: Path) -> None:
    """There is no plan then, and so no answer: 125, with the reason of a launch."""
    done = sandrun("why", "--abi", "0", "read", "/etc", "-p", "none", who=who, cwd=box)
    assert done.returncode == 125
    assert "this kernel has no Landlock" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("frob", "/x"), "not a question: frob"),
        (("read",), "nothing is asked about"),
        (("read", "-p"), "requires an argument"),
        (("read", "/x", "--abi", "99"), "99 is not in the range"),
        (("read", "/x", "-n"), "takes the options that say what is granted"),
        (("syscall", "frob"), "unknown syscall"),
        (("connect", "nowhere"), "not one place to connect to"),
        (("bind", "http"), "not a port to bind"),
        (("read", "--colour", "/x"), "no such option: --colour"),
    ],
)
def test_wrong_usage_is_2(who: Who, box: Path, words: tuple[str, ...], said: str) -> None:
    """With what was wrong, and no answer."""
    done = sandrun("why", *words, who=who, cwd=box)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_hostile_names_reach_no_terminal(who: Who, box: Path) -> None:
    """What a name could do to a terminal is escaped."""
    done = sandrun("why", "read", "/tmp/\x1b]0;x\x07", who=who, cwd=box)
    assert "\x1b" not in done.stdout
