"""observer: watch the system calls of a command from its supervisor, by seccomp user notification.

It only watches. Each call that it is shown goes on as it would without it, except those that the plan's own filters
refuse, which are refused with their errno. If something of a call cannot be known, the call goes on all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from sandrun.observe.events import Event, Record
    from sandrun.plan.format import Plan

MOST_SEEN = 20_000
"""Different events that a record holds."""


def observe(plan: Plan, arch: str, calls: frozenset[str] | None = None) -> tuple[Plan, Observer]:
    """The same plan, observed, and the observer to give to `watch.begin(plan, observer=...)`.

    `calls`: names of the syscalls to see; None: those that name files, sockets and programs (`program.NAMED`), and all
    that the plan's filters refuse. `program.EVERY` is every call. Raises SandrunError (125) if the plan has a broker,
    or if the filters and this one together are too long; OSError. That another listener is there already shows when
    the command is launched: a StepError that says so.
    """
    raise NotImplementedError


class Observer:
    """Of one run. `watch`, `launch` and `supervise` call all but `record`."""

    channel: int
    """What the child sends the listener over."""
    poll: select.epoll
    """Readable when there is work to `serve`."""
    sink: Callable[[Event], None] | None
    """If set, called with each event, also those that repeat others, as it happens; it must not block or raise."""

    def handed_over(self) -> None:
        """The child has its copy of the channel: let go of this one."""
        raise NotImplementedError

    def begin(self) -> None:
        """Take the listener, which the child has sent before it executed the command. Raises OSError."""
        raise NotImplementedError

    def serve(self) -> None:
        """Deal with calls that wait, some of them. Waits for nothing."""
        raise NotImplementedError

    def end(self) -> None:
        """Look no longer; nothing of the command is left."""
        raise NotImplementedError

    def record(self) -> Record:
        """What was seen; after `supervise` has returned."""
        raise NotImplementedError
