"""File descriptors: the command has 0 to 2 and what is passed, whatever else was open."""

from __future__ import annotations

import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.errors import SandrunError
from sandrun.primitives import fds
from tests.integration.launching import Ran, launched

if TYPE_CHECKING:
    from tests.support import Who

LIST = ("/bin/sh", "-c", "ls /proc/$$/fd; cat <&7 2>&1")


@given(st.sets(st.integers(0, 5000), max_size=20))
def test_gaps(kept: set[int]) -> None:
    """The ranges cover every number but the kept ones, once, in order, up to the last possible descriptor."""
    ranges = fds.gaps(kept)
    covered = [number for first, last in ranges for number in range(first, min(last, 6000) + 1)]
    assert covered == [number for number in range(6001) if number not in kept]
    assert ranges[-1][1] == 2**32 - 1


def test_gaps_of_many() -> None:
    """A descriptor given twice is kept once."""
    assert fds.gaps((0, 1, 2, 2, 4)) == ((3, 3), (5, 2**32 - 1))


def open_many() -> None:
    """Inheritable descriptors all over the place, up to the highest that the limit allows."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for number in (3, 7, 9, 10, 63, 100, min(most, 1 << 20) - 1):
        fd = os.memfd_create(f"fd {number}", 0)
        os.write(fd, f"this is {number}\n".encode())
        os.lseek(fd, 0, 0)
        if fd != number:
            os.dup2(fd, number)
            os.close(fd)


def numbers(ran: Ran) -> set[int]:
    return {int(line) for line in ran.out.decode().split("\n") if line.isdecimal()}


def test_all_closed(who: Who) -> None:
    """Nothing but 0, 1 and 2 is open in the command (and what its shell opens)."""
    ran = launched(who, *LIST, before=open_many)
    assert numbers(ran) & {3, 7, 9, 63, 100} == set()
    assert max(numbers(ran)) <= 10
    assert ran.status != 0


def test_passed(who: Who) -> None:
    """What is passed arrives under its number, with its offset and contents, and nothing around it."""
    ran = launched(who, *LIST, before=open_many, pass_fds=(7, 100))
    assert {7, 100} <= numbers(ran)
    assert numbers(ran) & {3, 9, 63} == set()
    assert ran.out.endswith(b"this is 7\n")


def test_passed_standard_streams(who: Who) -> None:
    """0 to 2 may be named; they are passed anyway."""
    assert launched(who, "/bin/true", pass_fds=(0, 1, 2)).status == 0


@pytest.mark.parametrize("number", [-1, 3999, 2**31, 2**63 - 1])
def test_not_open(who: Who, number: int) -> None:
    """One that is not open is an error that names it, before anything starts."""
    ran = launched(who, "/bin/true", pass_fds=(number,))
    assert (ran.status, ran.message) == (
        125,
        f"cannot pass file descriptor {number}: it is not open for the command",
    )


def test_our_own(who: Who) -> None:
    """A descriptor of sandrun itself, close-on-exec as all of them, cannot be passed by guessing its number."""

    def before() -> None:
        os.dup2(os.memfd_create("a secret"), 50, inheritable=False)

    ran = launched(who, "/bin/true", pass_fds=(50,), before=before)
    assert (ran.status, ran.message) == (125, "cannot pass file descriptor 50: it is not open for the command")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK])
def test_network_sockets_are_seen(family: int) -> None:
    """Whatever number one has; unix sockets and files are let through."""
    ours, theirs = socket.socketpair()
    with ours, theirs, open("/dev/null") as null, socket.socket(family, socket.SOCK_DGRAM) as found:
        fds.check_sockets((ours.fileno(), null.fileno(), 4095))
        with pytest.raises(SandrunError, match=f"file descriptor {found.fileno()} is a network socket"):
            fds.check_sockets((ours.fileno(), found.fileno()))
