"""`SandboxExecutor` is an executor of concurrent.futures whose workers are confined."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import sandrun
from tests import support
from tests.library import honest, hostile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No process is left of any executor."""
    support.become_subreaper()
    before = support.descendants()
    yield
    left = support.left_since(before)
    support.kill_all(left)
    assert not left


def test_jobs() -> None:
    """Values, exceptions and the order of `map`; each job has a process of its own."""
    with sandrun.SandboxExecutor(2) as executor:
        assert list(executor.map(honest.same, range(4))) == [[number, {}] for number in range(4)]
        pids = list(executor.map(abs, [1, -2])) + [executor.submit(honest.counted).result() for _ in range(2)]
        assert pids == [1, 2, 1, 1]
        with pytest.raises(KeyError):
            executor.submit(honest.fail, "key").result()
        with pytest.raises(PermissionError):
            executor.submit(honest.read, "/etc/shadow").result()
        with pytest.raises(sandrun.SendError):
            executor.submit(lambda: 1)


def test_reuse() -> None:
    """With reuse a process runs one job after the other; what dies is replaced and fails only itself."""
    with sandrun.SandboxExecutor(1, reuse=True) as executor:
        assert [executor.submit(honest.counted).result() for _ in range(3)] == [1, 2, 3]
        with pytest.raises(ValueError, match="bad"):
            executor.submit(honest.fail, "value").result()
        assert executor.submit(honest.counted).result() == 4
        with pytest.raises(sandrun.WorkerDiedError, match="status 3"):
            executor.submit(hostile.leave, 3).result()
        assert executor.submit(honest.counted).result() == 1
        with pytest.raises(sandrun.WireError):
            executor.submit(hostile.twice).result()
        assert executor.submit(honest.counted).result() == 1
        assert [executor.submit(honest.decorated, 1).result()[0] for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("after", [hostile.leave_later, hostile.tell_later])
def test_workers_that_spoil_between_jobs(after: Callable[[], int]) -> None:
    """A reused worker that dies or writes while it has no job is not the next job's failure."""
    with sandrun.SandboxExecutor(1, reuse=True) as executor:
        assert executor.submit(after).result() == 1
        (worker,) = executor._idle
        assert select.select([worker._socket, worker._pidfd], [], [], 60)[0], "it has not spoilt"
        assert executor.submit(honest.counted).result() == 1


@pytest.mark.parametrize("reuse", [False, True])
def test_initializer(reuse: bool) -> None:
    """It runs in each worker before the jobs; what it returns does not matter."""
    with sandrun.SandboxExecutor(1, reuse=reuse, initializer=honest.prepare, initargs=[7]) as executor:
        assert [executor.submit(honest.prepared).result() for _ in range(2)] == ["7", "7"]


def test_broken() -> None:
    """An initializer that fails breaks the executor, for the jobs that wait as well."""
    with sandrun.SandboxExecutor(1, initializer=honest.fail, initargs=["value"]) as executor:
        futures = [executor.submit(honest.pid) for _ in range(3)]
        for future in futures:
            with pytest.raises(sandrun.BrokenSandboxError, match="the initializer failed: ValueError") as raised:
                future.result()
            assert isinstance(raised.value, concurrent.futures.BrokenExecutor)
        with pytest.raises(sandrun.BrokenSandboxError):
            executor.submit(honest.pid)
    with pytest.raises(sandrun.SendError):
        sandrun.SandboxExecutor(initializer=lambda: None)


def test_cancel_and_shutdown() -> None:
    """Jobs that wait can be cancelled, one by one or all; none is taken after `shutdown`."""
    executor = sandrun.SandboxExecutor(1)
    running, waiting, other = (
        executor.submit(honest.wait, 3),
        executor.submit(honest.pid),
        executor.submit(honest.pid),
    )
    assert waiting.cancel()
    executor.shutdown(cancel_futures=True)
    assert running.result() == 3
    assert other.cancelled()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(honest.pid)


@pytest.mark.parametrize("reuse", [False, True])
def test_timeout(reuse: bool) -> None:
    """A job that hangs fails in time, and the next one runs."""
    with sandrun.SandboxExecutor(1, timeout=8, reuse=reuse) as executor:
        first, second = executor.submit(hostile.hang), executor.submit(honest.same, 1)
        with pytest.raises(sandrun.CallTimeoutError):
            first.result()
        assert second.result() == [1, {}]


def test_kill_workers() -> None:
    """All jobs end at once: those that run with an error, those that wait cancelled."""
    executor = sandrun.SandboxExecutor(2, reuse=True)
    futures = [executor.submit(honest.wait, 1000) for _ in range(3)]
    while sum(future.running() for future in futures) < 2:
        time.sleep(0.01)
    began = time.monotonic()
    executor.kill_workers()
    assert time.monotonic() - began < 60
    for future in futures[:2]:
        with pytest.raises(sandrun.WorkerDiedError):
            future.result()
    assert futures[2].cancelled()


def test_many() -> None:
    """More jobs than workers, with and without reuse; no descriptor is left."""
    sandrun.call(honest.pid)
    before = os.listdir("/proc/self/fd")
    for reuse in (False, True):
        with sandrun.SandboxExecutor(4, reuse=reuse) as executor:
            assert sorted(executor.map(abs, range(12))) == list(range(12))
    assert os.listdir("/proc/self/fd") == before


def test_in_an_event_loop() -> None:
    """`loop.run_in_executor` takes it."""

    async def many() -> list[int]:
        loop = asyncio.get_running_loop()
        with sandrun.SandboxExecutor(2) as executor:
            return await asyncio.gather(*(loop.run_in_executor(executor, abs, -number) for number in range(4)))

    assert asyncio.run(many()) == [0, 1, 2, 3]


@pytest.mark.parametrize("reuse", ["False", "True"])
def test_without_shutdown(reuse: str, tmp_path: Path) -> None:
    """A program that ends without `shutdown` ends, and says nothing; its workers go with it."""
    (tmp_path / "script.py").write_text(
        f"import sys; sys.path.append({os.getcwd()!r})\nimport sandrun\n"
        f"if __name__ == '__main__':\n    executor = sandrun.SandboxExecutor(2, reuse={reuse})\n"
        "    print(executor.submit(abs, -1).result())\n"
    )
    words = [sys.executable, "-W", "error", str(tmp_path / "script.py")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)
