"""A denied file stays denied when its owner replaces it by a new one while the command runs."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system", "-r", "{work}", "--deny", "{work}/private/key")


def setup(out: Outside) -> None:
    out.file(out.work / "private" / "key", "old")
    out.options.update(stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def attempt() -> None:
    os.write(1, b"ready")
    os.read(0, 1)
    read("private/key")


def watch(out: Outside, process: subprocess.Popen[Any]) -> None:
    assert process.stdin
    assert process.stdout
    process.stdout.read(1)
    os.rename(out.file(out.work / "private" / "key.new"), out.work / "private" / "key")
    process.stdin.close()
    process.stdout.close()
