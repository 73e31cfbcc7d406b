"""A setuid program runs as the command's own user (an ordinary user stays one, root does not become another)."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-x", "{box}")


def needs() -> None:
    from tests import support

    support.need_root()


def setup(out: Outside) -> None:
    from tests import support

    program = out.box / "id"
    shutil.copy(support.need_program("id"), program)
    os.chown(program, support.USER_UID if out.who.is_root else 0, 0)
    program.chmod(0o4755)
    out.arguments += [program]


def attempt(program: str) -> None:
    answer = subprocess.run([program, "-u"], capture_output=True, text=True, check=True)
    if int(answer.stdout) == os.getuid():
        raise Blocked("the same user")
