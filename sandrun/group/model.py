"""What a group is once its file has been read: flat data that nothing changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_FAILURE = "first-failure"
"""The exit status of a group that names no command for it."""


class End(NamedTuple):
    """One end of a link: a descriptor of a command."""

    command: str
    fd: int


class Link(NamedTuple):
    """A pipe from `first` to `second`, or a socketpair between them; `kind` is pipe, stream or seqpacket."""

    name: str
    kind: str
    first: End
    second: End


class Ready(NamedTuple):
    """When a command is ready: `kind` is "" (once it runs), fd (it writes to `number`), tcp (port `number` takes
    connections), file (`path` appears), or exit (it has ended with status 0). `seconds` is how long it may take."""

    kind: str = ""
    number: int = 0
    path: str = ""
    seconds: float = 30.0


class Restart(NamedTuple):
    """Whether a command that failed is started again: at most `most` times in a row, the first time after `delay`
    seconds, then after twice as long each time."""

    on_failure: bool = False
    most: int = 5
    delay: float = 0.2


class Command(NamedTuple):
    """One command of a group. `policy` is the TOML text of a profile, on top of the `profiles`; messages call it `source`.

    `streams` says of the descriptors 0 to 2 that no link takes: null, inherit or log. `stop_signal` is a number.
    """

    name: str
    argv: tuple[str, ...]
    profiles: tuple[str, ...]
    source: str
    policy: str
    streams: Mapping[int, str]
    ready: Ready
    restart: Restart
    after: tuple[str, ...]
    required: bool
    stop_signal: int
    stop_seconds: float


class Group(NamedTuple):
    """All of it. `commands` stand in an order in which each comes behind those that it starts after.

    `status` is FIRST_FAILURE, or the name of the command whose end is the group's. `directory` is what relative paths
    are relative to, and where the commands start.
    """

    commands: tuple[Command, ...]
    links: tuple[Link, ...]
    status: str
    directory: str
