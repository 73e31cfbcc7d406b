"""`sandrun.create_subprocess_exec`: what asyncio promises, of a command that is confined."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

import sandrun
from tests.library.leaks import nothing_left

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE = ("sh", "-c", "trap '' TERM INT; setsid sleep 61 & echo ready; sleep 61")
KILL: dict[str, Any] = {"isolate": "signals", "optional": ["process.isolate"]}
"""No pid namespace, whose init would end the tree by itself."""


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left():
        yield


def test_communicate() -> None:
    """Bytes go in and come out, and what is known of the run is there."""

    async def main() -> None:
        process = await sandrun.create_subprocess_exec("sh", "-c", "cat; kill -TERM $$", stdin=-1, stdout=-1)
        assert process.returncode is None
        assert process.ending is None
        assert await process.communicate(b"in") == (b"in", None)
        assert (process.returncode, process.ending) == (-signal.SIGTERM, "signalled")
        assert process.enforcement
        assert process.resources.wall
        assert process.denials is None

    asyncio.run(main())


def test_hundred_at_once() -> None:
    """All of them end, with their own output."""

    async def one(number: int) -> bytes:
        process = await sandrun.create_subprocess_exec("echo", str(number), profile="strict", stdout=-1)
        return (await process.communicate())[0]

    async def main() -> list[bytes]:
        return await asyncio.gather(*map(one, range(100)))

    assert asyncio.run(main()) == [f"{number}\n".encode() for number in range(100)]


@pytest.mark.parametrize("profile", [{}, KILL], ids=("namespace", "signals"))
def test_cancelled_while_it_runs(profile: dict[str, Any]) -> None:
    """A task that is cancelled leaves nothing of the tree."""

    async def job(running: asyncio.Event) -> None:
        process = await sandrun.create_subprocess_exec(*TREE, stdout=-1, **profile)
        assert process.stdout
        await process.stdout.readline()
        running.set()
        await process.communicate()

    async def main() -> None:
        running = asyncio.Event()
        task = asyncio.create_task(job(running))
        await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_cancelled_while_it_starts() -> None:
    """At whatever moment of the launch: nothing is left, and the cancellation arrives."""

    async def main(seconds: float) -> bool:
        task = asyncio.create_task(sandrun.create_subprocess_exec(*TREE, stdout=-1))
        await asyncio.sleep(seconds)
        task.cancel()
        try:
            await (await task).end()
        except asyncio.CancelledError:
            return True
        return False

    cancelled = [asyncio.run(main(step / 500)) for step in range(12)]
    assert cancelled[0]


def test_wait_can_be_cancelled() -> None:
    """Waiting no longer is no reason to end the command; leaving `async with` is."""

    async def main() -> None:
        async with await sandrun.create_subprocess_exec(*TREE, stdout=-1, **KILL) as process:
            assert process.stdout
            await process.stdout.readline()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(process.wait(), 0.2)
            process.terminate()
            assert process.returncode is None
            assert process.command_pid
            os.kill(process.command_pid, 0)
        assert process.returncode == -signal.SIGKILL

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 50


def test_errors() -> None:
    """A launch that fails raises what `run` raises, and leaves no pipe."""

    async def main() -> None:
        with pytest.raises(sandrun.CommandError, match="not found"):
            await sandrun.create_subprocess_exec("no-such-command", stdin=-1, stdout=-1, stderr=-1)
        with pytest.raises(sandrun.ProfileError):
            await sandrun.create_subprocess_exec("true", profile="strcit")
        with pytest.raises(sandrun.UsageError):
            await sandrun.create_subprocess_exec("true", memry=1)

    asyncio.run(main())


def test_explain() -> None:
    """What was refused is told here as well."""

    async def main() -> tuple[sandrun.Denial, ...] | None:
        process = await sandrun.create_subprocess_exec("cat", "/etc/shadow", explain=True, stderr=-1)
        await process.communicate()
        return process.denials

    denials = asyncio.run(main())
    assert denials is not None
    assert "/etc/shadow" in {denial.target for denial in denials}
