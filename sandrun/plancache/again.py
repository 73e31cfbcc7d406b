"""A launch like one before it, found by Python: what the front does, where there is none.

Imported before anything else of sandrun, so it imports little.
"""

from __future__ import annotations

import os

from sandrun.plancache import kept, place
from sandrun.plancache.answers import hold
from sandrun.plancache.entry import FLAG_EXEC, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def found(words: Sequence[str]) -> int | None:
    """Launch what is kept for these words, and return the exit status; None if nothing is."""
    directory = place.path()
    if not directory or not os.path.isdir(directory):
        return None
    for count in range(1, min(len(words), place.MOST_WORDS) + 1):
        # The command's name, which ends the key, starts with a dash only behind "--".
        if words[count - 1][:1] == "-" and words[max(0, count - 2)] != "--":
            continue
        name = place.key(place.program(), words[:count])
        entry = parse(place.read(directory, name), name) if name else None
        if entry:
            salt, facts, launch = entry
            if launch[2] & FLAG_EXEC or not hold(facts, salt):
                return None
            return kept.launch(launch, words[count - 1 :], place.status_fd(words))
    return None
