"""A directory on standard input is no way to the files in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.probes.inside import see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

# The interpreter itself does not start on a directory; outside that ends sandrun, inside the shell takes it away.
SHELL = 'exec "$@" 3<&0 </dev/null'
STATUSES = (1, 3, 125)


def setup(out: Outside) -> None:
    fd = os.open(out.secret().parent, os.O_RDONLY)
    out.exit.callback(os.close, fd)
    out.options["stdin"] = fd


def attempt() -> None:
    see(os.read(os.open("secret", os.O_RDONLY, dir_fd=3), 100))


def unharmed(out: Outside) -> bool:
    return out.status in (3, 125) or "<stdin> is a directory" in out.output
