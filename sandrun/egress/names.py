"""Names of hosts, and the loopback addresses that stand for them in the command's network namespace.

The static names have theirs from the plan; names under a wildcard, or under a grant of every host, get one when they
are asked for. An address is never given to a second name, so an answer that a program keeps stays true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

POOL = "127.64.0.0/10"
"""These addresses stand for names, so they cannot be granted as addresses."""
POOL_FIRST, POOL_LAST = 0x7F400000, 0x7F7FFFFF
ASKED_FIRST = 0x7F600001
"""127.96.0.1; the static names have theirs below."""
MAX_NAMES = 4096
"""Names given an address while the command runs."""
LOCALHOST = 0x7F000001

LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
DIGITS = frozenset(b"0123456789")
HEX_DIGITS = frozenset(b"0123456789abcdef")


def in_pool(address: int) -> bool:
    """Whether the IPv4 address (as a number) stands for names."""
    return POOL_FIRST <= address <= POOL_LAST


def hostname(labels: tuple[bytes, ...]) -> str:
    """The canonical host name of the labels of a question: lower case, no final dot; "" if they are not one.

    What resolvers may read as an address (`127.1`, `0x7f000001`) is none.
    """
    lower = tuple(label.lower() for label in labels)
    if not lower or sum(map(len, lower)) + len(lower) - 1 > 253:
        return ""
    for label in lower:
        if not 0 < len(label) < 64 or label[:1] == b"-" or label[-1:] == b"-" or not LETTERS.issuperset(label):
            return ""
    last = lower[-1]
    if DIGITS.issuperset(last) or (last[:2] == b"0x" and HEX_DIGITS.issuperset(last[2:])):
        return ""
    return b".".join(lower).decode("ascii")


class Table:
    """Which address stands for which name. Names are canonical: lower case A-labels, no final dot."""

    def __init__(
        self,
        static: Iterable[tuple[int, str]],
        allows: Callable[[str], bool],
        refused: Callable[[str, str], None],
        *,
        limit: int = MAX_NAMES,
    ) -> None:
        """`static`: (address, name) of the plan; `allows`: `Rules.allows_name`; `refused(name, reason)` is called for
        each question whose name gets no address (reason `not granted`, `not a host name` or `too many names`).
        """
        self._names = dict(static)
        self._addresses = {name: address for address, name in self._names.items()}
        self._allows = allows
        self._left = limit
        # No address that old programs take for that of a network, or for its broadcast address.
        self._free = (number for number in range(ASKED_FIRST, POOL_LAST) if 0 < number & 255 < 255)
        self.refused = refused

    def has(self, name: str) -> bool:
        """Whether the name exists inside; `refused` is called if not.

        `localhost` and the names below it always do (RFC 6761).
        """
        if name in self._addresses or _is_localhost(name) or self._allows(name):
            return True
        self.refused(name, "not granted")
        return False

    def address_of(self, name: str) -> int:
        """The address of a name that the table `has`, given to it now if it has none; as a number.

        0 = the table is full, and `refused` was called. `localhost` and names below it are 127.0.0.1, unless the plan
        says otherwise.
        """
        known = self._addresses.get(name, LOCALHOST if _is_localhost(name) else 0)
        if known:
            return known
        if self._left <= 0:
            self.refused(name, "too many names")
            return 0
        self._left -= 1
        address = next(self._free)
        self._names[address] = name
        self._addresses[name] = address
        return address

    def name_of(self, address: int) -> str:
        """The name that the IPv4 address (as a number) stands for; "" = none."""
        return self._names.get(address, "")


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")
