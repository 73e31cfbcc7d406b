"""Looking names up outside, by the host's own configuration: getaddrinfo(3) in threads of the relay.

The relay never waits: it polls `fileno()` and takes what has come by `answers()`. Threads are started by the first
question that needs one, so make none before the relay has confined itself: Landlock and seccomp hold for the calling
thread and those it starts afterwards.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from sandrun.egress.rules import Found

if TYPE_CHECKING:
    from collections.abc import Callable

Token = TypeVar("Token")


class Answer(NamedTuple):
    """What a lookup came to."""

    found: tuple[Found, ...]
    error: str
    """Why there is no address; "" if there is one."""
    limit: bool = False
    """It was not asked, since too many lookups wait already."""


def system(name: str) -> tuple[Found, ...]:
    """The addresses of a name by getaddrinfo(3), in its order. Raises OSError (socket.gaierror is one)."""
    raise NotImplementedError


class Resolver(Generic[Token]):
    """A bounded number of lookups at once, with a short memory. All methods are for the relay's one thread."""

    def __init__(
        self,
        look_up: Callable[[str], tuple[Found, ...]] = system,
        *,
        threads: int = 8,
        waiting: int = 64,
        keep_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        raise NotImplementedError

    def fileno(self) -> int:
        """Readable when `answers` has something."""
        raise NotImplementedError

    def ask(self, name: str, token: Token) -> Answer | None:
        """Look a name up. An answer at once if it is known or cannot be asked; else None, and `answers` brings the token."""
        raise NotImplementedError

    def answers(self) -> list[tuple[Token, Answer]]:
        """What has come since the last call. Never blocks."""
        raise NotImplementedError

    def close(self) -> None:
        """Forget all that waits and close the descriptor. Threads in the middle of a lookup end when it does."""
        raise NotImplementedError
