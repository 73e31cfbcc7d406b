"""A setgid program runs with the command's own group."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-x", "{box}")
OTHER_GROUP = 54321


def needs() -> None:
    from tests import support

    support.need_root()


def setup(out: Outside) -> None:
    from tests import support

    program = out.box / "id"
    shutil.copy(support.need_program("id"), program)
    os.chown(program, 0, OTHER_GROUP)
    program.chmod(0o2755)
    out.arguments += [program]


def attempt(program: str) -> None:
    answer = subprocess.run([program, "-g"], capture_output=True, text=True, check=True)
    if int(answer.stdout) != OTHER_GROUP:
        raise Blocked("the same group")
