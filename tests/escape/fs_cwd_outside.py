"""A working directory outside the grants gives no access by relative paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import read

if TYPE_CHECKING:
    from tests.escape.outside import Outside

SANDRUN = ("-p", "none", "-x", "@system")


def setup(out: Outside) -> None:
    out.options["cwd"] = out.secret().parent


def attempt() -> None:
    os.stat("secret")
    read("secret")
