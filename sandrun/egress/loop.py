"""An epoll(7) loop: what became ready, and what is due.

asyncio would do it, at three times the cost for each connection and with an import of 60 ms.
"""

from __future__ import annotations

import heapq
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
BROKEN = select.EPOLLERR
HUNG_UP = select.EPOLLHUP
_MOST_EVENTS = 256


class Timer:
    """Something that is due at a time; `cancel` makes it never happen."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Loop:
    """Calls handlers in the one thread that runs it. Handlers must not raise."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._forgotten: set[int] = set()
        self._timers: list[tuple[float, int, Timer]] = []
        self._made = 0

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler(mask)` when one of `events` is there, or BROKEN or HUNG_UP, which are always told."""
        before = self._watched.get(fd)
        if before is None:
            self._epoll.register(fd, events)
        elif before[0] != events:
            self._epoll.modify(fd, events)
        self._watched[fd] = (events, handler)

    def forget(self, fd: int) -> None:
        """Before the descriptor is closed. One that is not watched is none of our business."""
        if self._watched.pop(fd, None):
            self._epoll.unregister(fd)
            # Its number may be given to another file before the events that are at hand have all been told.
            self._forgotten.add(fd)

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call `action` once, in so many seconds."""
        timer = Timer(action)
        self._made += 1
        heapq.heappush(self._timers, (self.clock() + seconds, self._made, timer))
        return timer

    def step(self) -> None:
        """Wait until something is to be done, and do it."""
        self._forgotten.clear()
        for fd, mask in self._epoll.poll(self._wait(), _MOST_EVENTS):
            if fd not in self._forgotten and fd in self._watched:
                self._watched[fd][1](mask)
        while self._timers and self._timers[0][0] <= self.clock():
            action = heapq.heappop(self._timers)[2].action
            if action:
                action()

    def close(self) -> None:
        """Give the descriptor back."""
        self._epoll.close()

    def _wait(self) -> float | None:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.clock()) if self._timers else None
