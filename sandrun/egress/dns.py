"""The DNS responder's answers. Pure but for the table, and total: every bytes object gets an answer or None.

Only names that were granted exist (RFC 1034, 1035, 6891). dnspython reads the names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandrun.egress.names import Table

MAX_QUERY = 4096
"""Longer ones are not answered."""


def answer(wire: bytes, table: Table) -> bytes | None:
    """The response to a query, both without the length prefix of TCP; None = say nothing. At most 512 bytes. Never raises.

    Names not granted do not exist (NXDOMAIN) and are told to the table's `refused`.
    """
    raise NotImplementedError
