"""A copy of the tree by open_tree(2) does not leave out what covers a denied directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import see, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = (
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs none private && exec "$@"', "sh",
)  # fmt: skip
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny", "{work}/private")
OPEN_TREE_CLONE = 1


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")


def attempt() -> None:
    tree = syscall("open_tree", -100, os.fsencode(os.getcwd()), OPEN_TREE_CLONE)
    see(os.read(os.open("private/key", os.O_RDONLY, dir_fd=tree), 100))
