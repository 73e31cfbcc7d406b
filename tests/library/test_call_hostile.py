"""Whatever a confined worker does, its caller gets a clear error in time, runs nothing of it, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sandrun
from sandrun.library import channel, wire
from tests import support
from tests.library import honest, hostile

if TYPE_CHECKING:
    from collections.abc import Iterator

FAST = 90.0


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """What a process opens once, for good."""
    sandrun.call(honest.pid)


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, zombie, descriptor or time is left behind by any of these."""
    monkeypatch.setattr(channel, "END_SECONDS", 20.0)
    support.become_subreaper()
    support.reap_orphans()
    before, open_before, children = support.descendants(), os.listdir("/proc/self/fd"), support.children(os.getpid())
    began = time.monotonic()
    yield
    assert time.monotonic() - began < FAST
    left = support.left_since(before)
    support.kill_all(left)
    assert not left
    support.reap_orphans()
    assert support.children(os.getpid()) == children
    assert os.listdir("/proc/self/fd") == open_before


@pytest.mark.parametrize("attack", [hostile.malicious_pickle, hostile.pickle_as_value])
def test_malicious_pickle(attack: object, tmp_path: Path) -> None:
    """A pickle is not loaded, whatever it is announced as. The control: loading it makes the directory."""
    made = tmp_path / "made"
    with pytest.raises(sandrun.WireError):
        sandrun.call(attack, str(made))  # type: ignore[arg-type]
    assert not made.exists()
    pickle.loads(pickle.dumps(hostile.Touch(str(made))))
    assert made.exists()


def test_malicious_pickle_on_demand(tmp_path: Path) -> None:
    """Who asks for a pickle gets it: the documented price."""
    sandrun.call(hostile.malicious_pickle, str(tmp_path / "made"), pickle=True)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "SyntaxError", "exec", "Warning"]
)
def test_exceptions_that_are_not_rebuilt(name: str) -> None:
    """What ends a program or a loop, and what is no exception, is a RemoteError."""
    with pytest.raises(sandrun.RemoteError, match=name):
        sandrun.call(hostile.named_exception, name)


def test_exceptions_that_a_terminal_would_act_on() -> None:
    """The text of an exception is escaped, wherever it comes from."""
    with pytest.raises(ValueError, match="0;x") as raised:
        sandrun.call(hostile.named_exception, "ValueError", "\x1b]0;x\x07")
    assert str(raised.value) == "\\x1b]0;x\\x07"
    with pytest.raises(sandrun.RemoteError):
        sandrun.call(hostile.named_exception, "ValueError", Path("\x1b"))


def test_exceptions_with_wrong_arguments() -> None:
    """Arguments that the type does not take lead to a RemoteError; an OSError may become another one of the list."""
    with pytest.raises(sandrun.RemoteError):
        sandrun.call(hostile.named_exception, "UnicodeDecodeError", 1, 2)
    with pytest.raises(FileNotFoundError):
        sandrun.call(hostile.named_exception, "OSError", 2, "no such file")


@pytest.mark.parametrize("module", ["os; import x", "x" * 300, "\x1b[31m", ""])
def test_names_that_are_none(module: str) -> None:
    """The name of a type is a name."""
    with pytest.raises(sandrun.WireError, match="no name of a type"):
        sandrun.call(hostile.exception_of, module, "Error")


@pytest.mark.parametrize(
    ("attack", "why"),
    [
        (hostile.junk, "it is no result"),
        (hostile.huge, "is more than allowed"),
        (hostile.twice, "more than one result"),
        (hostile.greeting_again, "it is no result"),
        (hostile.flood, "more than one result|did not end"),
        (hostile.flood_of_value, "is more than allowed"),
    ],
)
def test_what_is_no_result(attack: object, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Junk, a length beyond all limits, two results, a flood: none of it is used, none of it is kept."""
    monkeypatch.setattr(channel, "END_SECONDS", 2.0)
    with pytest.raises((sandrun.WireError, sandrun.WorkerDiedError), match=why):
        sandrun.call(attack)  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [b"", b"?", b"NN", b"l\xff\xff\xff\xff", b"s\0\0\0\5abc", b"l\0\0\0\1" * 500 + b"N"])
def test_values_that_are_none(body: bytes) -> None:
    """A frame whose body is no value."""
    with pytest.raises(sandrun.WireError):
        sandrun.call(hostile.bad_value, body)


@pytest.mark.parametrize("told", [(), ("result",), ("result", 1), ("else", "x"), ("result", "x", "y", "z")])
def test_reasons_that_are_none(told: tuple[object, ...]) -> None:
    """A reason for no result that is no reason."""
    with pytest.raises(sandrun.WireError, match="no reason"):
        sandrun.call(hostile.refuse, *told)


def test_terminal_escapes() -> None:
    """What a worker says is shown without what a terminal would act on."""
    with pytest.raises(sandrun.SendError) as raised:
        sandrun.call(hostile.refuse, "result", "\x1b]0;x\x07", "\x9b31m")
    assert raised.value.lines() == ["\\x1b]0;x\\x07", "hint: \\x9b31m"]


def test_half_a_result() -> None:
    """A result that breaks off with the worker says how far it came."""
    with pytest.raises(sandrun.WorkerDiedError, match=r"no result: the worker ended with status 0 after 500 bytes"):
        sandrun.call(hostile.half)
    with pytest.raises(sandrun.CallTimeoutError):
        sandrun.call(hostile.half_and_wait, timeout=1)


def test_death() -> None:
    """The status or signal is told, as `subprocess` would."""
    with pytest.raises(sandrun.WorkerDiedError, match=r"the worker ended with status 7$") as left:
        sandrun.call(hostile.leave, 7)
    assert left.value.returncode == 7
    with pytest.raises(sandrun.WorkerDiedError, match=r"the worker was killed by SIGKILL$") as killed:
        sandrun.call(hostile.die, int(signal.SIGKILL), profile="default")
    assert killed.value.returncode == -signal.SIGKILL
    with pytest.raises(sandrun.WorkerDiedError, match=r"the worker was killed by SIGSEGV$"):
        sandrun.call(hostile.crash, profile="default")
    with pytest.raises(sandrun.WorkerDiedError, match=r"told it and then ended"):
        sandrun.call(hostile.tell_and_fail)


def test_filter() -> None:
    """A worker that its filter kills is told apart from others."""
    with pytest.raises(sandrun.WorkerDiedError, match="the worker was killed by SIGSYS") as raised:
        sandrun.call(os.times, syscall_rule=["times:0:ge:0:kill-process"])
    assert "filter" in str(raised.value.hint)


def test_profile_timeout() -> None:
    """The time limit of the profile itself."""
    with pytest.raises(sandrun.WorkerDiedError, match="ended by the timeout of its profile"):
        sandrun.call(honest.wait, 1000, time_timeout="1s")


def test_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ignores every signal, and those that close the socket and stay."""
    monkeypatch.setattr(channel, "END_SECONDS", 2.0)
    with pytest.raises(sandrun.CallTimeoutError):
        sandrun.call(hostile.hang, timeout=1)
    for attack in (hostile.close_and_wait, hostile.shut_and_wait):
        with pytest.raises(sandrun.WorkerDiedError, match="closed its end and lived on: it has been killed"):
            sandrun.call(attack)
    with pytest.raises(sandrun.WorkerDiedError, match="told it and did not end"):
        sandrun.call(hostile.tell_and_stay)


def test_lingering(tmp_path: Path) -> None:
    """A process that outlives the worker, in a session of its own and with the socket open, keeps nobody waiting."""
    with pytest.raises(sandrun.WorkerDiedError, match="no result: the worker ended with status 0"):
        sandrun.call(hostile.linger_and_leave, str(tmp_path / "1"), profile="default", write=[str(tmp_path)])
    with pytest.raises(sandrun.WorkerDiedError, match="left processes behind"):
        sandrun.call(hostile.linger_and_return, str(tmp_path / "2"), profile="default", write=[str(tmp_path)])
    with pytest.raises(sandrun.WorkerDiedError, match="left processes behind"):
        sandrun.call(hostile.linger_apart_and_return, str(tmp_path / "3"), profile="default", write=[str(tmp_path)])


def test_the_socket() -> None:
    """Descriptors that are handed over are not taken; urgent bytes make nobody wait or spin."""
    with pytest.raises(sandrun.WorkerDiedError, match="after 3 bytes of an answer"):
        sandrun.call(hostile.descriptors, profile="default")
    before = time.process_time()
    try:
        assert sandrun.call(hostile.urgent, profile="default") == "fine"
    except OSError as error:
        assert error.errno  # noqa: PT017 (the kernel may have no such bytes)
    assert time.process_time() - before < 1.5
    sandrun.call(hostile.peer, profile="default")


def test_worker_that_cannot_start(tmp_path: Path) -> None:
    """A profile under which no Python starts."""
    with pytest.raises(sandrun.WorkerDiedError, match="cannot start a worker") as raised:
        sandrun.call(honest.pid, syscall_rule=["getrandom:0:ge:0:kill-process", "openat:0:ge:0:kill-process"])
    assert raised.value.hint


def test_big_arguments_for_the_deaf() -> None:
    """A worker that ends before it has read its arguments."""
    with pytest.raises(sandrun.WorkerDiedError, match="no result: the worker ended with status 1"):
        sandrun.call(honest.same, b"x" * (64 << 20), rlimits={"as": "100M"})


def test_results_up_to_the_limit() -> None:
    """A result of exactly the size that is allowed, and one of a byte more."""
    data = b"x" * 1_000_000
    size = len(wire.encode([data, {}]))
    assert sandrun.call(honest.same, data, max_size=size) == [data, {}]
    with pytest.raises(sandrun.SendError, match="more than"):
        sandrun.call(honest.same, data + b"x", max_size=size)


SCRIPT = """
    import os, sys
    {path}
    import hostile, sandrun
    if __name__ == "__main__":
        made = os.path.abspath("made")
        for attack, *args in (
            (hostile.malicious_pickle, made), (hostile.half,), (hostile.flood_of_value,), (hostile.twice,),
            (hostile.linger_and_leave, os.path.abspath("here")),
        ):
            options = {{"profile": "default"}} if "linger" in attack.__name__ else {{}}
            try:
                print(sandrun.call(attack, *args, **options))
            except sandrun.CallError as error:
                print(type(error).__name__)
        print(os.path.exists(made))
"""


def test_as_root_and_as_a_user(who: support.Who, box: Path) -> None:
    """The worst of it for each user who may call."""
    program = who.sandrun
    path = who.importing
    (box / "script.py").write_text(textwrap.dedent(SCRIPT.format(path=path)))
    (box / "hostile.py").write_text(Path(hostile.__file__).read_text())
    done = who.run([program[0], "script.py"], cwd=box)
    assert done.stderr == ""
    assert done.stdout.split() == ["WireError", "WorkerDiedError", "WireError", "WireError", "WorkerDiedError", "False"]


def test_interrupt(who: support.Who, box: Path) -> None:
    """KeyboardInterrupt in the caller ends the worker as well."""
    program = who.sandrun
    path = who.importing
    (box / "job.py").write_text("import time\n\ndef job():\n    print('runs', flush=True)\n    time.sleep(1000)\n")
    code = f"{path}\nimport job, sandrun\nsandrun.call(job.job)"
    (box / "script.py").write_text(textwrap.dedent(code))
    with who.popen(
        [program[0], "script.py"], cwd=box, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        err = ""
        for _ in range(5):
            # Python notices one that comes right before a call that waits only when that returns, so it comes again.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                _, err = process.communicate(timeout=20)
                break
    assert "KeyboardInterrupt" in err
    assert process.returncode == -signal.SIGINT
