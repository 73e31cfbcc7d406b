"""Without a grant no UDP packet can be sent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


BARE = True
REFUSALS = ("EAFNOSUPPORT",)


def setup(out: Outside) -> None:
    out.kept = out.listen(socket.SOCK_DGRAM)
    out.arguments += [out.kept.getsockname()[1]]


def attempt(port: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"secret", ("127.0.0.1", int(port)))


def unharmed(out: Outside) -> bool:
    from tests.escape.outside import is_quiet

    return is_quiet(out.kept)
