"""Which entries of a profile speak of a path: what each grants, denies or hides, expanded as the plan expands it."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, NamedTuple

from sandrun.host import home_of
from sandrun.plan.draft import Draft
from sandrun.plan.filesystem import context_of
from sandrun.plan.groups import TEMPORARY, members
from sandrun.plan.places import ALL
from sandrun.plan.requests import GRANTING
from sandrun.plan.root import enter
from sandrun.plan.siblings import ALL_RIGHTS, CHANGE, is_below
from sandrun.primitives.landlock import FS, READ, WRITE
from sandrun.profile.model import COMMAND_LINE, AccessRule, PathEntry
from sandrun.profile.paths import expand
from sandrun.rooted import RootedHost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.groups import Context
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile, Value

DENIALS = {"filesystem.deny": ALL_RIGHTS, "filesystem.deny_write": CHANGE}
SCALARS = ("tmp", "home", "proc", "dev")
HIDING = {
    "filesystem.tmp": ("private",),
    "filesystem.home": ("hidden", "private"),
    "filesystem.proc": ("own", "none"),
    "filesystem.dev": ("minimal",),
}
"""The words that put something else, or nothing, in the stead of the host's."""


class Entry(NamedTuple):
    """One entry of the profile that decides.

    `origin` is `FILE:LINE: key[0]` or the flag. `through` are the profiles that were extended on the way to that file,
    the one that was asked for first; () for flags and for the file that was asked for itself.
    """

    key: str
    text: str
    origin: str
    through: tuple[str, ...] = ()

    def __str__(self) -> str:
        through = f", through {' -> '.join(self.through)}" if self.through else ""
        return f"{' '.join(word for word in (self.key, self.text) if word)} ({self.origin}{through})"


class Claim(NamedTuple):
    """What one entry says about the canonical paths `names`, and all below them: these rights are granted, or denied."""

    entry: Entry
    rights: int
    names: tuple[str, ...]

    def longest(self, paths: Iterable[str]) -> int:
        """The length of the longest of `names` that is one of these paths, or above it; -1 if none is."""
        return max((len(name) for path in paths for name in self.names if is_below(path, name)), default=-1)


def made_of(value: Value, key: str, ways: Mapping[str, tuple[str, ...]]) -> Entry:
    """A value of the profile as an Entry."""
    item = value.value.path if isinstance(value.value, AccessRule) else value.value
    text = str(getattr(item, "text", item)) if not isinstance(item, bool) else str(item).lower()
    through = () if value.origin.source == COMMAND_LINE else ways.get(value.origin.source, ())
    return Entry(key, text, str(value.origin), through)


class Entries:
    """The claims of one profile, as its plan was made from them."""

    def __init__(
        self, profile: Profile, resolution: Resolution, kernel: Kernel, host: Host, ways: Mapping[str, tuple[str, ...]]
    ) -> None:
        plan = resolution.plan
        draft = Draft(profile)
        draft.fields.update(env_set=plan.env_set, env_pass=plan.env_pass, permitted=plan.permitted)
        self._profile = profile
        self._ways = ways
        self.host: Host = enter(draft, kernel, host, resolution.account)
        """What the paths of the profile mean: inside of `filesystem.root`."""
        self._home = home_of(host, resolution.account)
        context = context_of(draft, self.host, [os.fsdecode(word) for word in plan.argv], resolution.account)
        self.grants = tuple(self._granted(context))
        self.denials = tuple(self._denied(context))
        self.hiding = tuple(self._hidden(context))
        """What stands in the stead of the host's; `rights` are those in the new place."""

    def _granted(self, context: Context) -> Iterator[Claim]:
        for key, rights in GRANTING.items():
            for value in self._profile.items(key):
                yield self._claim(key, value, rights, context)
        for value in self._profile.items("filesystem.rules"):
            if isinstance(value.value, AccessRule):
                rights = sum(FS[name] for name in value.value.access)
                claim = self._claim("filesystem.rules", value._replace(value=value.value.path), rights, context)
                at = (self.host.realpath(posixpath.normpath(value.value.at)),) if value.value.at else ()
                yield claim._replace(names=claim.names + at)
        for value in self._profile.items("filesystem.overlay"):
            yield self._claim("filesystem.overlay", value, READ | WRITE, context)
        for key, word, paths, rights in (
            ("filesystem.tmp", "host", TEMPORARY, WRITE),
            ("filesystem.proc", "host", ("/proc",), READ),
            ("filesystem.dev", "host", ("/dev",), WRITE),
        ):
            found = self._profile.scalar(key)
            if found is not None and found.value == word:
                yield Claim(made_of(found, key, self._ways), rights, tuple(map(self.host.realpath, paths)))
        minimal = self._profile.scalar("filesystem.dev")
        if minimal is not None and minimal.value == "minimal":
            names = tuple(grant.path for grant in members("@devices", 0, context))
            yield Claim(made_of(minimal, "filesystem.dev", self._ways), WRITE, names)

    def _denied(self, context: Context) -> Iterator[Claim]:
        for key, rights in DENIALS.items():
            for value in self._profile.items(key):
                yield self._claim(key, value, rights, context)

    def _hidden(self, context: Context) -> Iterator[Claim]:
        account = self.host.account(context.uid)
        places: dict[str, tuple[tuple[str, ...], int]] = {
            "filesystem.tmp": (TEMPORARY, ALL),
            "filesystem.home": ((context.home, account.home if account else ""), ALL),
            "filesystem.proc": (("/proc",), READ),
            "filesystem.dev": (("/dev",), WRITE),
        }
        for key, (paths, rights) in places.items():
            value = self._profile.scalar(key)
            if value is not None and value.value in HIDING[key]:
                names = tuple(dict.fromkeys(self.host.realpath(path) for path in paths if path.startswith("/")))
                yield Claim(made_of(value, key, self._ways), rights, names)

    def _claim(self, key: str, value: Value, rights: int, context: Context) -> Claim:
        item = value.value
        if isinstance(item, PathEntry) and item.group:
            names = tuple(grant.path for grant in members(item.group, rights, context))
        else:
            names = tuple(map(self.host.realpath, expand(value, self.host, self._home)))
        if isinstance(item, PathEntry) and item.group in ("@devices", "@tty") and rights != ALL_RIGHTS:
            rights |= WRITE
        return Claim(made_of(value, key, self._ways), rights, names)

    def inside(self, path: str) -> tuple[str, ...]:
        """The names inside of `filesystem.root` that a canonical path of the host has; itself without one."""
        return tuple(self.host.inner(path)) if isinstance(self.host, RootedHost) else (path,)


def best(claims: Iterable[Claim], paths: Iterable[str], rights: int) -> tuple[Entry, ...]:
    """The entries that speak of one of these paths and of all these rights together, the most specific first."""
    paths = tuple(paths)
    found = [(claim.longest(paths), claim) for claim in claims if claim.rights & rights]
    order = sorted((pair for pair in found if pair[0] >= 0), key=lambda pair: -pair[0])
    chosen: list[Entry] = []
    for _, claim in order:
        if rights & claim.rights and claim.entry not in chosen:
            chosen.append(claim.entry)
            rights &= ~claim.rights
    return tuple(chosen)
