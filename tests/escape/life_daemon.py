"""A daemon (setsid, forked twice, every descriptor closed) does not outlive the command."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside

BARE = True
STATUSES = (0,)


def attempt() -> None:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open("pid", "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
            os.closerange(0, 100)
            time.sleep(60)
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)


def unharmed(out: Outside) -> bool:
    return out.none_alive()
