"""What went through the relay and what it refused: counted, for the report; and said at once with `-v`."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_REFUSED = 1000
"""Different refusals that are listed; others are only counted, and are not said."""
MOST_ENDPOINTS = 1000
LONGEST_TEXT = 300
MESSAGE = 32 << 10


class Counters:
    """Of one endpoint: connections that were granted, those of them that came to nothing and why the last, and bytes."""

    __slots__ = ("connections", "error", "failed", "received", "sent")

    def __init__(self) -> None:
        self.error = ""
        self.connections = self.failed = self.received = self.sent = 0


class Record:
    """`say` gets a line for each refusal that is new."""

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say
        self._endpoints: dict[str, Counters] = {}
        self._refused: dict[tuple[str, str, str], int] = {}
        self._failed: set[tuple[str, str]] = set()
        self._published: dict[int, int] = {}
        self._others = 0

    def endpoint(self, endpoint: str) -> Counters:
        """The counters of an endpoint as the profile spells it."""
        return self._endpoints.setdefault(endpoint, Counters())

    def published(self, port: int) -> None:
        """A connection came in to a published port."""
        self._published[port] = self._published.get(port, 0) + 1

    def refused(self, what: str, target: str, reason: str) -> None:
        """`what` is one of name, connect, udp, address, limit. The texts may come from the command."""
        row = what, _printable(target), _printable(reason)
        if row in self._refused:
            self._refused[row] += 1
        elif len(self._refused) < MOST_REFUSED:
            self._refused[row] = 1
            if self._say:
                self._say(f"refused: {what} {row[1]} ({row[2]})")
        else:
            self._others += 1

    def failed(self, counters: Counters, target: str, reason: str) -> None:
        """A connection that was granted came to nothing. Only the new ones are said."""
        counters.failed += 1
        counters.error = _printable(reason)
        row = _printable(target), counters.error
        if self._say and row not in self._failed and len(self._failed) < MOST_REFUSED:
            self._failed.add(row)
            self._say(f"failed: connect {row[0]} ({row[1]})")

    def document(self) -> dict[str, object]:
        """The record as JSON has it; only endpoints that were used."""
        used = sorted(self._endpoints.items(), key=lambda item: -item[1].connections)
        columns = Counters.__slots__
        return {
            "endpoints": [
                {"endpoint": _printable(name), **{column: getattr(counters, column) for column in columns}}
                for name, counters in itertools.islice(used, MOST_ENDPOINTS)
            ],
            "refused": [
                {"what": what, "target": target, "reason": reason, "count": count}
                for (what, target, reason), count in self._refused.items()
            ],
            "published": [{"port": port, "connections": count} for port, count in sorted(self._published.items())],
            "others": self._others,
        }

    def messages(self) -> Iterator[bytes]:
        """The document in pieces for a SOCK_SEQPACKET socket."""
        text = json.dumps(self.document(), separators=(",", ":")).encode()
        for at in range(0, len(text), MESSAGE):
            yield text[at : at + MESSAGE]


def place(host: str, port: int) -> str:
    """`HOST:PORT`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _printable(text: str) -> str:
    """Only visible ASCII: whoever prints it must not be told to do something else."""
    return "".join(char if "!" <= char <= "~" or char == " " else "?" for char in text[:LONGEST_TEXT])
