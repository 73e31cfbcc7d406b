"""What rules refused to a run that was explained, in words that mean the same in the next run and on another machine.

Below the working directory and the home a path is written from there. What changes from run to run by its looks is a
pattern: ids of processes, temporary names, hashes, versions, numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun.learn.patterns import is_changing, pattern
from sandrun.profile.bad import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOOK = "look"
"""To ask whether something is there, as a search of PATH does: what is not there differs between machines."""
NETWORK = ["relay"]
"""The mechanisms of what the record of the network has already."""
_PROCESS = re.compile(r"^(/proc)/[0-9]+(?=/|$)(/task/[0-9]+(?=/|$))?")
_DIGITS = re.compile(r"[0-9]{3,}|(?<=[.\-_])[0-9]+$")


class Places(NamedTuple):
    """Where a run was, absolute; "" is unknown."""

    directory: str
    home: str


def of_explained(explained: Mapping[str, Any], places: Places) -> tuple[str, ...]:
    """The denials in the document of `explain.render`, sorted. Raises ValueError if it is none."""
    try:
        return tuple(sorted(set(_denials(explained, places))))
    except (KeyError, TypeError, AttributeError):
        raise ValueError("not what --explain leaves") from None


def gap(explained: Mapping[str, Any]) -> str:
    """Why something may be missing, "" if nothing is."""
    return str(explained.get("gap") or "") or ("" if explained.get("complete") is True else "not everything was seen")


def _denials(explained: Mapping[str, Any], places: Places) -> Iterator[str]:
    for finding in explained["findings"]:
        for denial in finding["denials"]:
            act, target = str(denial["act"]), str(denial["target"])
            if act != LOOK and denial["mechanisms"] != NETWORK:
                yield escaped(f"{act} {stable(target, places) if target.startswith('/') else target}")


def stable(path: str, places: Places) -> str:
    """An absolute path as it is written in a lock."""
    path = path.rstrip("/") or "/"
    for top, word in ((places.directory, "."), (places.home, "~")):
        if top not in ("", "/") and (path == top or path.startswith(f"{top}/")):
            return word + "/".join(map(_name, path[len(top) :].split("/")))
    path = _PROCESS.sub(lambda match: f"{match[1]}/PID{'/task/TID' if match[2] else ''}", path)
    return "/".join(map(_name, path.split("/")))


def _name(name: str) -> str:
    return pattern(name) if is_changing(name) else _DIGITS.sub("[0-9]*", name)
