"""An overlay made by the command does not show the layer below what covers a denied directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read, syscall

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = (
    "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs none private && exec "$@"', "sh",
)  # fmt: skip
SANDRUN = ("-p", "none", "-x", "@system", "-w", "{work}", "--deny", "{work}/private")


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key")
    out.directory(out.work / "public")


def attempt() -> None:
    here = os.getcwd()
    options = f"lowerdir={here}:/etc".encode()
    syscall("mount", b"none", os.fsencode(here) + b"/public", b"overlay", 0, options)
    read("public/private/key")
