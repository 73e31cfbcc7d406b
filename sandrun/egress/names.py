"""Names of hosts, and the loopback addresses that stand for them in the command's network namespace.

The static names have theirs from the plan; names under a wildcard, or under a grant of every host, get one when they
are asked for. An address is never given to a second name, so an answer that a program keeps stays true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

POOL = (127 << 24 | 64 << 16, 10)
"""127.64.0.0/10 as number and prefix length: these addresses stand for names, so they cannot be granted as addresses."""
MAX_NAMES = 4096
"""Static names in a plan; and names given an address while the command runs."""
TTL = 30


def static_addresses() -> Iterator[int]:
    """The addresses for the static names of a plan, in order: 127.64.1.1, …, as numbers; the last octet is 1 to 254."""
    raise NotImplementedError


def in_pool(address: int) -> bool:
    """Whether the IPv4 address (as a number) stands for names."""
    raise NotImplementedError


def hostname(labels: tuple[bytes, ...]) -> str:
    """The canonical host name of the labels of a question: lower case, no final dot; "" if they are not one."""
    raise NotImplementedError


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
        raise NotImplementedError

    def address_of(self, name: str) -> int:
        """The address of a name, given to it now if it has none and is allowed. 0 = none, and `refused` was called.

        `localhost` and names below it are 127.0.0.1 (RFC 6761), unless the plan says otherwise.
        """
        raise NotImplementedError

    def name_of(self, address: int) -> str:
        """The name that the IPv4 address (as a number) stands for; "" = none."""
        raise NotImplementedError
