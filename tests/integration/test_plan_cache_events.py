"""A kept plan for a program that wants to be told: --status-fd with another number each time, by every way of starting.

The ways: the front that is installed, the one within the package, and the executor in Python.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandrun import native
from sandrun.plancache import place
from tests.integration.test_plan_cache import MOST_TRIES, PLAIN, Front, front, places
from tests.support import CHECKOUT, need, need_landlock

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.support import Who

__all__ = ["front", "places"]
TRUE = (*PLAIN, "true")
ONE, OTHER = 37, 53
"""Two numbers for the descriptor."""


def told(front: Front, number: int, *words: str, **options: Any) -> tuple[bool, Any, list[dict[str, Any]]]:
    """Run with events to the descriptor of this number: whether Python was not started, how it ended, the events."""
    with Events(number) as events:
        warm, done = front.is_warm("--status-fd", str(number), *words, pass_fds=[number], **options)
        return warm, done, events.read()


class Events:
    """A pipe whose writing end has this number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> Events:
        self.reader, writer = os.pipe()
        os.dup2(writer, self.number, inheritable=False)
        os.close(writer)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reader)
        os.close(self.number)

    def read(self) -> list[dict[str, Any]]:
        """All events of a launch that is over."""
        os.set_blocking(self.reader, False)
        try:
            return [json.loads(line) for line in os.read(self.reader, 1 << 20).splitlines()]
        except BlockingIOError:
            return []


def without_what_differs(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without process ids and times."""
    varying = ("pid", "wall", "user", "system", "max_rss")
    return [{name: value for name, value in event.items() if name not in varying} for event in events]


def warmed(front: Front, number: int, *words: str, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The same until it is kept."""
    for _ in range(MOST_TRIES):
        warm, done, events = told(front, number, *words, **options)
        if warm:
            return done, events
        time.sleep(0.1)
    pytest.fail(f"never kept: {words}: {done.returncode} {done.stdout} {done.stderr}")


@pytest.mark.parametrize(("script", "status", "signal"), [("exit 3", 3, 0), ("kill -TERM $$", 143, 15)])
def test_another_number(front: Front, script: str, status: int, signal: int) -> None:
    """The number is no part of what is kept, and all events are those of a launch that Python has planned."""
    words = (*PLAIN, "sh", "-c", script)
    _, _, cold = told(front, ONE, *words)
    warmed(front, ONE, *words)
    warm, done, events = told(front, OTHER, *words)
    assert warm
    assert done.returncode == status
    assert [event["event"] for event in events] == ["planned", "exec", "exit"]
    assert without_what_differs(events) == without_what_differs(cold)
    assert (events[-1]["status"], events[-1]["signal"]) == (status, signal)
    assert [*events[0]["enforcement"]]
    assert events[-1]["max_rss"] > 0


def test_the_event_holds_no_word_of_the_command(front: Front) -> None:
    """What is kept for the event may be read by who reads the cache later: no word and no value is in it."""
    words = (*PLAIN, "--env", "SHOWN")
    env = {**front.env, "SHOWN": "a-value"}
    warmed(front, ONE, *words, "echo", "a-word", env=env)
    data = front.entry().read_bytes()
    assert b'"planned"' in data
    assert b"a-word" not in data
    assert b"a-value" not in data


def test_it_is_the_entry_of_nobody_else(front: Front) -> None:
    """A launch without events, or with the option elsewhere, has no use of this entry."""
    warmed(front, ONE, *TRUE)
    assert not front.is_warm(*TRUE)[0]
    with Events(OTHER) as events:
        words = (*PLAIN, "--status-fd", str(OTHER), "true")
        assert not front.is_warm(*words, pass_fds=[OTHER])[0]
        assert [event["event"] for event in events.read()] == ["planned", "exec", "exit"]


@pytest.mark.parametrize("last", [str(OTHER), f"--status-fd={OTHER}"])
def test_the_last_number_counts(front: Front, last: str) -> None:
    """With two of them the last one gets the events, also where a launch with the first alone is kept."""
    more = ("--status-fd", last) if last.isdigit() else (last,)
    for _ in range(3):
        warmed(front, ONE, *TRUE)
        with Events(OTHER) as events:
            warm, _, first = told_both(front, more)
            assert not warm
            assert first == []
            assert [event["event"] for event in events.read()] == ["planned", "exec", "exit"]


@pytest.mark.parametrize("word", ["FD", "", "-1", "+37"])
def test_a_word_that_is_no_number(front: Front, word: str) -> None:
    """It is refused, also where a launch with a number is kept: nothing runs without the events that were asked for."""
    warmed(front, ONE, *TRUE)
    done = front.run("--status-fd", word, *TRUE)
    assert (done.returncode, done.stdout) == (125, "")
    assert "--status-fd" in done.stderr


def told_both(front: Front, more: tuple[str, ...]) -> tuple[bool, Any, list[dict[str, Any]]]:
    with Events(ONE) as events:
        warm, done = front.is_warm("--status-fd", str(ONE), *more, *TRUE, pass_fds=[ONE, OTHER])
        return warm, done, events.read()


def test_a_word_of_the_command(front: Front) -> None:
    """A command may be a number, behind a value that looks like the option: it is another command with another number."""
    script = front.cwd / "37"
    script.write_text("#!/bin/sh\necho 37\n")
    other = front.cwd / "53"
    other.write_text("#!/bin/sh\necho 53\n")
    for path in (script, other):
        path.chmod(0o755)
    env = {**front.env, "PATH": f"{front.cwd}:{front.env['PATH']}"}
    words = (*PLAIN, "--env", "--status-fd")
    for _ in range(3):
        assert front.run(*words, "37", env=env).stdout in ("37\n", "")
        assert front.run(*words, "53", env=env).stdout in ("53\n", "")


def test_a_descriptor_that_will_not_do(front: Front) -> None:
    """One that is closed, only for reading, one of the command's, or passed on, is refused although the plan is kept."""
    warmed(front, ONE, *TRUE)
    reader, writer = os.pipe()
    try:
        for number, says in ((reader, "not open for writing"), (99, "Bad file descriptor"), (1, "not free for events")):
            warm, done = front.is_warm("--status-fd", str(number), *TRUE, pass_fds=[reader])
            assert not warm
            assert done.returncode == 125
            assert says in done.stderr
    finally:
        os.close(reader)
        os.close(writer)


def test_a_descriptor_that_is_passed_on(front: Front) -> None:
    """The command would get the descriptor for events: refused, although the plan is kept for another number."""
    passed = ("--pass-fd", str(ONE), *TRUE)
    with Events(ONE), Events(OTHER):
        for _ in range(MOST_TRIES):
            warm, done = front.is_warm("--status-fd", str(OTHER), *passed, pass_fds=[ONE, OTHER])
            if warm:
                break
            time.sleep(0.1)
        assert (warm, done.returncode) == (True, 0)
        warm, done = front.is_warm("--status-fd", str(ONE), *passed, pass_fds=[ONE, OTHER])
    assert (warm, done.returncode) == (False, 125)
    assert "same file descriptor" in done.stderr


def test_python_tells_the_same(front: Front) -> None:
    """Where Python executes, what is kept is told as well."""
    env = {**front.env, native.VARIABLE: "python"}
    seen: list[int] = []
    _, _, first = told(front, ONE, *TRUE, env=env)
    for number in range(MOST_TRIES):
        _, done, events = told(front, (ONE, OTHER)[number % 2], *TRUE, env=env)
        assert done.returncode == 0
        assert without_what_differs(events) == without_what_differs(first)
        seen += [path.stat().st_ino for path in front.cache.glob("*")][:1]
        if len(seen) > 2 and seen[-1] == seen[-2]:
            break
        time.sleep(0.1)
    else:
        pytest.fail("never kept")


# --- the front within the package -----------------------------------------------------------------------------------------


def inner(
    who: Who, box: Path, *words: str, kept: tuple[int, ...] = (), **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run the front within the package as the library does."""
    only = [f"--only={','.join(map(str, sorted(kept)))}"] if kept else []
    python = [who.sandrun[0], "-I", str(CHECKOUT / "sandrun" / "__main__.py")]
    env = {**who.env, place.CACHE_VARIABLE: str(box / "plans")}
    env.pop(native.VARIABLE, None)
    return who.run([native.BINARY, "--front", *only, *python, "--", *words], env=env, cwd=box, **options)


def test_the_front_of_the_package(who: Who, box: Path) -> None:
    """It launches by the Python that it is told, keeps that plan, and finds it again."""
    need_landlock(1)
    need(os.access(native.BINARY, os.X_OK), "the native executor is not compiled")
    for _ in range(MOST_TRIES):
        done = inner(who, box, *PLAIN, "sh", "-c", "exit 3")
        assert (done.returncode, done.stderr) == (3, "")
        if any(box.glob("plans/" + "?" * place.NAME_LENGTH)):
            break
        time.sleep(0.1)
    else:
        pytest.fail("never kept")
    env = {**who.env, place.CACHE_VARIABLE: str(box / "plans")}
    env.pop(native.VARIABLE, None)
    python = [who.sandrun[0], "-I", str(CHECKOUT / "sandrun" / "__main__.py")]
    traced = ["strace", "-f", "-e", "trace=execve", "-o", str(who.home / "traced"), native.BINARY, "--front", *python]
    need(os.path.exists("/usr/bin/strace"), "no strace")
    for _ in range(MOST_TRIES):  # the executor of the checkout may be compiled anew meanwhile, by a test of packages
        done = who.run([*traced, "--", *PLAIN, "sh", "-c", "exit 3"], env=env, cwd=box)
        assert done.returncode == 3
        started = [line for line in (who.home / "traced").read_text().splitlines() if "--front" not in line]
        if not any("__main__.py" in line for line in started):
            return
        time.sleep(0.1)
    pytest.fail(f"Python is started: {started}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--front", "--only=5,4", "python", "--", "true"], "not what the library says"),
        (["--front", "--only=2", "python", "--", "true"], "not what the library says"),
        (["--front", "--only=x", "python", "--", "true"], "not what the library says"),
        (["--front", "/no/such/python", "-I", "--", "true"], "cannot start Python: /no/such/python"),
        (["--front", "python"], "cannot start Python"),
        (["--front", "--", "true"], "cannot start Python"),
    ],
)
def test_a_front_that_is_told_nonsense(who: Who, words: list[str], says: str) -> None:
    """It says so in a line, with status 125."""
    need(os.access(native.BINARY, os.X_OK), "the native executor is not compiled")
    done = who.run([native.BINARY, *words])
    assert done.returncode == 125
    assert done.stderr.startswith("sandrun: ")
    assert says in done.stderr
