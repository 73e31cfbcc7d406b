"""What joins the commands of a group: their standard streams, the links between them, and the log process."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

from sandrun.group import log, member
from sandrun.group.cage import log_plan
from sandrun.host import System
from sandrun.kernel import probe
from sandrun.primitives import fds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandrun.group.model import Command, Group, Link

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")


def wire(group: Group) -> tuple[dict[str, dict[int, int]], dict[str, int]]:
    """The descriptors of each command by their numbers in it, and for the log the pipe of each that has one."""
    ends: dict[str, dict[int, int]] = {command.name: {} for command in group.commands}
    logged: dict[str, int] = {}
    for command in group.commands:
        ends[command.name], reader = _streams(command)
        if reader >= 0:
            logged[command.name] = reader
    for link in group.links:
        first, second = _link(link)
        ends[link.first.command][link.first.fd] = first
        ends[link.second.command][link.second.fd] = second
    return ends, logged


def _streams(command: Command) -> tuple[dict[int, int], int]:
    """What the standard streams are that no link takes, and where what is to be logged is read."""
    found: dict[int, int] = {}
    reader = -1
    for fd, kind in command.streams.items():
        if kind == "null":
            found[fd] = member.high(os.open("/dev/null", os.O_WRONLY if fd else os.O_RDONLY))
        elif kind == "log" and reader < 0:
            reader, found[fd] = member.pipe()
        elif kind == "log":
            found[fd] = member.high(os.dup(found[1]))
    return found, reader


def _link(link: Link) -> tuple[int, int]:
    if link.kind == "pipe":
        reader, writer = member.pipe()
        return writer, reader
    kind = socket.SOCK_STREAM if link.kind == "stream" else socket.SOCK_SEQPACKET
    first, second = socket.socketpair(socket.AF_UNIX, kind)
    return member.high(first.detach()), member.high(second.detach())


def start_log(logged: Mapping[str, int]) -> int:
    """Start the log process. Returns a pidfd of it."""
    plan = log.document(tuple(logged), log_plan(probe(), System()))
    document = member.high(fds.sealed("sandrun-log", plan))
    moved = {log.PLAN: document} | {log.FIRST + at: fd for at, fd in enumerate(logged.values())}
    options = ("-I", "-S", *(("-B",) if sys.dont_write_bytecode else ()))
    words = (sys.executable, *options, _PROGRAM, *(entry for entry in sys.path if entry[:1] == "/"))
    pid = os.posix_spawn(
        sys.executable,
        words,
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in moved.items()],
        setsid=True,
    )
    for fd in (document, *logged.values()):
        os.close(fd)
    return member.high(os.pidfd_open(pid))
