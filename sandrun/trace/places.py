"""What a profile would have refused of the files and endpoints that a traced command met. Pure, over a Judge and a Host.

A trace without a profile sees what is done where nothing is refused; the judge says what of that would have been.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from sandrun.explain.denials import refused

if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.observe.events import Record
    from sandrun.why.judge import Judge

MOST_EVENTS = 5000
"""So many different ones are judged, each by all profiles whose filters would do."""
MOST_REFUSED = 20


def refusals(record: Record, judge: Judge, host: Host, *, own: tuple[str, ...], relayed: bool) -> tuple[str, ...]:
    """In plain words what the profile would have refused, the first of it; () if nothing.

    `own`: directories that the launch made for the command. `relayed`: a relay would make the connections, and by name,
    so nothing can be said of addresses.
    """
    events = [seen.first for seen in record.seen if not seen.first.refused][:MOST_EVENTS]
    found = (denial.words for denial in refused(events, judge, host, own=own, relayed=relayed))
    return tuple(islice(found, MOST_REFUSED))


def gap(record: Record) -> str:
    """Why not all of them were judged; "" if they were."""
    if record.others or len(record.seen) > MOST_EVENTS:
        return f"of the files and endpoints only the first {MOST_EVENTS} were put to the profiles"
    return ""
