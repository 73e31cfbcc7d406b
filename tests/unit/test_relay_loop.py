"""The relay's event loop, and the pipes that its connections share."""

from __future__ import annotations

import os
import socket

import pytest

from sandrun.egress import loop as loops
from sandrun.egress.flow import Pipes


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_timers() -> None:
    """They are due in the order of their times, each once, and not at all when cancelled."""
    clock = Clock()
    loop = loops.Loop(clock)
    told: list[int] = []
    loop.later(2, lambda: told.append(2))
    loop.later(1, lambda: told.append(1))
    loop.later(1.5, lambda: told.append(9)).cancel()
    for clock.now in (1.0, 5.0):
        loop.step()
    loop.later(0, lambda: told.append(3))
    loop.step()
    loop.close()
    assert told == [1, 2, 3]


@pytest.mark.parametrize("reused", [False, True])
def test_what_is_forgotten_is_not_told(*, reused: bool) -> None:
    """Of two that are ready together, one may close the other, whose number may be a new file's at once."""
    loop = loops.Loop()
    pairs = [socket.socketpair() for _ in range(2)]
    told: list[str] = []
    fresh: list[socket.socket] = []

    def handler(name: str, other: socket.socket) -> None:
        told.append(name)
        loop.forget(other.fileno())
        other.close()
        if reused:
            fresh.extend(socket.socketpair())
            loop.watch(fresh[0].fileno(), loops.READ, lambda _: told.append("fresh"))

    for name, (near, far), (other, _) in zip("ab", pairs, reversed(pairs), strict=True):
        far.send(b"x")
        loop.watch(near.fileno(), loops.READ, lambda _, name=name, other=other: handler(name, other))
    loop.step()
    loop.close()
    for sock in (*fresh, *(sock for pair in pairs for sock in pair)):
        sock.close()
    assert len(told) == 1
    assert "fresh" not in told


def test_a_pipe_with_bytes_in_it_is_not_used_again() -> None:
    """The bytes of one connection must never come out of another."""
    pipes = Pipes(1)
    one = pipes.take()
    assert one is not None
    assert pipes.take() is None
    os.write(one[1], b"secret")
    pipes.give(one, is_empty=False)
    other = pipes.take()
    assert other is not None
    with pytest.raises(BlockingIOError):
        os.read(other[0], 10)
    pipes.give(other, is_empty=True)
    assert pipes.take() == other
    pipes.give(other, is_empty=True)
    pipes.close()
