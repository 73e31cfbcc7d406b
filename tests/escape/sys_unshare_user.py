"""No user namespace, in which the command would have every capability, can be had by unshare(2)."""

from __future__ import annotations

from tests.probes.inside import syscall

CLONE_NEWUSER = 0x10000000


def needs() -> None:
    from tests import support

    support.need_userns()


def attempt() -> None:
    syscall("unshare", CLONE_NEWUSER)
