"""A process in the background does not keep the command's output open, so that its reader sees the end."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

STATUSES = (0,)


def setup(out: Outside) -> None:
    reader, writer = os.pipe()
    out.exit.callback(os.close, reader)
    out.options["stdout"] = out.keep(os.fdopen(writer, "wb"))
    out.kept = reader


def attempt() -> None:
    reader, writer = os.pipe()
    if os.fork() == 0:
        with open("pid", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        os.close(writer)
        time.sleep(60)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)


def unharmed(out: Outside) -> bool:
    out.options["stdout"].close()
    ended = bool(select.select([out.kept], [], [], 0.2)[0])
    return out.none_alive() and ended
