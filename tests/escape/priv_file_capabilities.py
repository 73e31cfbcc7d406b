"""A program with file capabilities gains none."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-x", "{box}")
CAP_NET_RAW = 13


def needs() -> None:
    from tests import support

    support.need_root()


def setup(out: Outside) -> None:
    program = out.box / "cat"
    shutil.copy("/bin/cat", program)
    program.chmod(0o755)
    # VFS_CAP_REVISION_2 with the effective bit, then permitted and inheritable, low and high words: capabilities(7)
    value = struct.pack("<5I", 0x02000001, 1 << CAP_NET_RAW, 0, 0, 0)
    os.setxattr(program, "security.capability", value)
    out.arguments += [program]


def attempt(program: str) -> None:
    answer = subprocess.run([program, "/proc/self/status"], capture_output=True, text=True, check=True)
    effective = next(line.split()[1] for line in answer.stdout.splitlines() if line.startswith("CapEff"))
    if not int(effective, 16) >> CAP_NET_RAW & 1:
        raise Blocked("not gained")
