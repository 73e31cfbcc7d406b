"""What a commit writes down while it is unfinished, so that another one can tell its own doing from that of others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set

    from sandrun.workspace.store import Workspace


class Journal:
    """The inodes whose ctime changes by our own doing: directories, and files with other names; and the directories that
    go, which a sweep may then remove with all they hold.
    """

    def __init__(self, workspace: Workspace, number: int) -> None:
        """`number` is that of the first directory on its filesystem, since another one has the same inodes again."""
        self.path = f"{workspace.path}/journal{number}"
        self.touched: set[int] = set()
        self.going: set[int] = set()
        try:
            with open(self.path, "rb") as file:
                # A line that a crash cut short has no end, and nothing relied on it.
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return
        self.touched.update(int(line[:-1]) for line in lines if line.endswith(b"."))
        self.going.update(int(line[:-1]) for line in lines if line.endswith(b"-"))

    def touch(self, inodes: set[int], going: Set[int] = frozenset(), *, is_durable: bool = True) -> None:
        """Remember these before they change or go.

        Not `is_durable`: a crash of the machine may forget them, and what they are for is refused then.
        """
        inodes, going = inodes - self.touched, going - self.going
        if not inodes and not going:
            return
        self.touched |= inodes
        self.going |= going
        lines = [b"%d.\n" % inode for inode in inodes] + [b"%d-\n" % inode for inode in going]
        with open(self.path, "ab") as file:
            file.write(b"\n" + b"".join(lines))
            file.flush()
            if is_durable:
                os.fsync(file.fileno())

    def end(self) -> None:
        """The commit went to its end. What was refused starts anew the next time."""
        if os.path.exists(self.path):
            os.unlink(self.path)
