"""What the command puts into its private temporary directory is gone afterwards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)


def setup(out: Outside) -> None:
    out.kept = out.who.tmp


def attempt() -> None:
    folder = os.environ["TMPDIR"]
    os.makedirs(folder + "/deep/er")
    os.symlink("/etc", folder + "/link")
    os.mkfifo(folder + "/deep/fifo")
    with open(folder + "/deep/er/file", "w", encoding="utf-8") as file:
        file.write("left")
    os.chmod(folder + "/deep/er", 0)
    os.chmod(folder + "/deep", 0)


def unharmed(out: Outside) -> bool:
    left = list(out.kept.iterdir())
    if (out.kept / "deep").exists():
        out.exit.callback(_clear, out)
    return not left


def _clear(out: Outside) -> None:
    import shutil

    for path in ("deep", "deep/er"):
        (out.kept / path).chmod(0o700)
    shutil.rmtree(out.kept / "deep")
    (out.kept / "link").unlink()
