"""sandrun where no namespace can be made: in a user namespace that allows no other, without capabilities."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.probes.inside import WITHOUT_NAMESPACES
from tests.support import need_program, need_userns

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who


def brokered(who: Who, *words: str) -> list[str]:
    """The argv of sandrun with these words, that finds no namespaces."""
    need_userns()
    need_program("unshare")
    need_program("setpriv")
    return [*WITHOUT_NAMESPACES, *who.sandrun, *words]


def record(report: Path) -> dict[str, Any]:
    """The section of a report about the network."""
    return dict(json.loads(report.read_text())["outcome"]["network"])
