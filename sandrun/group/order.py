"""In which order the commands of a group start. They end in the reverse one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.profile.bad import Bad

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.group.model import Command


def in_order(commands: Iterable[Command]) -> tuple[Command, ...]:
    """The commands, each behind those that it starts after, else as they stand. Raises Bad if they wait in a circle."""
    left = {command.name: command for command in commands}
    ordered: list[Command] = []
    while left:
        free = next((one for one in left.values() if not any(name in left for name in one.after)), None)
        if free is None:
            raise Bad(f"they start after each other: {' -> '.join(_circle(left))}")
        ordered.append(left.pop(free.name))
    return tuple(ordered)


def _circle(left: dict[str, Command]) -> list[str]:
    """Names, each of which waits for the next one, and the last is the first."""
    walked = [next(iter(left))]
    while True:
        name = next(name for name in left[walked[-1]].after if name in left)
        if name in walked:
            return [*walked[walked.index(name) :], name]
        walked.append(name)


def last(names: Iterable[str], commands: Iterable[Command]) -> list[str]:
    """Those of `names` that none of the others was started after: they may be stopped now."""
    names = tuple(names)
    needed = {name for command in commands if command.name in names for name in command.after}
    return [name for name in names if name not in needed]
