"""Denials and how the command ended → what it most likely failed of, first. Pure.

Programs try many things that they can do without. What they shrugged off is told apart by what followed: a process that
exits with 0 did not fail of anything, and the last thing refused before one that did not is the likely cause.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from sandrun.explain.denials import LOOK
from sandrun.explain.remedies import remedy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.explain.denials import Denial
    from sandrun.explain.remedies import Remedy

CAUSE, POSSIBLE, SHRUGGED = "cause", "possible", "shrugged"
MINOR, COMMON, SERIOUS = range(3)
"""How much harm a refusal does, as a rule."""
WENT_ON = 10
"""A process that did so many other things after it can do without what was refused."""
MINOR_PLACES = (
    "/proc",
    "/sys",
    "/etc/ld.so.preload",
    "/etc/ld.so.cache",
    "/etc/inputrc",
    "/etc/selinux",
    "/etc/terminfo",
    "/usr/share/terminfo",
    "/lib/terminfo",
    "/usr/share/locale",
    "/usr/share/locale-langpack",
    "/usr/lib/locale",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/gai.conf",
    "/dev/tty",
)
"""Without these, programs go on with a default: what they did not get is rarely what they failed of."""
MINOR_NAMES = ("__pycache__", ".pyc", ".mo", "_history", ".lesshst", "pyvenv.cfg", "gconv-modules.cache")


class Finding(NamedTuple):
    """Denials that one and the same grant would let through, and what it means to the command."""

    denials: tuple[Denial, ...]
    remedy: Remedy
    standing: str
    """CAUSE: likely what the command failed of; POSSIBLE: perhaps; SHRUGGED: it went on without."""


class _Rank(NamedTuple):
    """What makes one likelier than another, the weightiest first."""

    is_fatal: bool
    seriousness: int
    """MINOR, COMMON or SERIOUS."""
    has_failed: bool
    """A process that tried it is not known to have ended well."""
    is_sure: bool
    last: float


class _Ranked(NamedTuple):
    rank: _Rank
    shrugged: bool
    denial: Denial
    remedy: Remedy


def findings(
    denials: Iterable[Denial], exits: Mapping[int, int], *, failed: bool, named: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """The likely cause first if the command failed, then the others, the last one first; what was shrugged off last.

    `exits` are the exit statuses of processes, by id; one that is not there was ended by a signal, or not seen to end.
    `named` are the command's own words: many programs look whether a file is there, and give up before they open it.
    """
    ranked = sorted((_rank(denial, exits, named) for denial in denials), key=lambda one: one.rank, reverse=True)
    groups: dict[tuple[str, str], list[_Ranked]] = {}
    for one in ranked:
        groups.setdefault((one.remedy.flag, one.remedy.text if not one.remedy.flag else ""), []).append(one)
    found: list[Finding] = []
    for first, *more in groups.values():
        standing = SHRUGGED if first.shrugged and all(one.shrugged for one in more) else POSSIBLE
        if failed and not found:
            standing = CAUSE if first.rank.seriousness else POSSIBLE
        same = (first.denial, *(one.denial for one in more))
        found.append(Finding(same, first.remedy, standing if failed else SHRUGGED))
    return tuple(sorted(found, key=lambda one: (CAUSE, POSSIBLE, SHRUGGED).index(one.standing)))


def is_minor(denial: Denial) -> bool:
    """Whether programs usually do without what was refused."""
    if not denial.sure or denial.act == LOOK:
        return True
    if denial.act in ("read", "write", "create", "remove"):
        path = denial.target
        if any(path == place or path.startswith(f"{place}/") for place in MINOR_PLACES):
            return True
        return any(name in posixpath.basename(path) or f"/{name}/" in path for name in MINOR_NAMES)
    return False


def _is_common(denial: Denial) -> bool:
    """What libraries try by the way, and go on without: interpreters list the directories that they search, the C library
    asks caches of names by unix sockets, the kernel for its addresses by netlink, and name servers and its routes by
    datagrams."""
    by_the_way = ("socket unix ", "socket netlink ", "socket inet datagram", "socket inet6 datagram")
    return denial.words.startswith("list ") or denial.target.startswith(by_the_way)


def _rank(denial: Denial, exits: Mapping[int, int], named: Sequence[str]) -> _Ranked:
    failing = [who for who in denial.who if exits.get(who.pid, 1)]
    seriousness = MINOR
    is_named = denial.act == LOOK and denial.target != "/" and any(denial.target in word for word in named)
    if denial.fatal:
        seriousness = SERIOUS
    elif (is_named or not is_minor(denial)) and (failing or not denial.who):
        seriousness = COMMON if _is_common(denial) else SERIOUS
    last = max((who.last for who in failing or denial.who), default=0.0)
    rank = _Rank(denial.fatal, seriousness, bool(failing), denial.sure, last)
    went_on = all(who.after >= WENT_ON for who in failing)
    return _Ranked(rank, not seriousness or (went_on and not denial.fatal), denial, denial.remedy or remedy(denial))
