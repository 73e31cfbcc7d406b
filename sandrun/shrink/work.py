"""Shrinking one profile: which grants the test can do without, held to this: nothing that is tried ever grants more."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from sandrun.errors import ProfileError, SandrunError
from sandrun.profile.diff import LESS, diff
from sandrun.profile.loader import load_text
from sandrun.profile.source import lines, spans
from sandrun.profile.write import profile_text
from sandrun.shrink import inherited as inheritance
from sandrun.shrink.edit import on_one_line
from sandrun.shrink.grants import forms, grants, ladders, render
from sandrun.shrink.search import Answers, Search

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from sandrun.profile.find import Found
    from sandrun.profile.model import Profile
    from sandrun.shrink.grants import Grant

    Attempt = Callable[[Sequence[Profile]], list[bool]]


def _digest(profile: Profile) -> str:
    return hashlib.sha256(profile_text(profile).encode("utf-8", "surrogateescape")).hexdigest()


class SpentError(Exception):
    """No run of the test is left."""


class Result(NamedTuple):
    """What became of a profile. `complete`: nothing was left to try."""

    text: str
    taken: frozenset[int]
    complete: bool
    below: Mapping[tuple[str, str], tuple[tuple[str, str], ...]] = MappingProxyType({})
    """For an entry that was a directory (its list and its TOML), the entries that stand in its stead."""


class Shrinking:
    """The work on one profile. `answers`, `runs` and `taken` may be looked at while it goes on."""

    def __init__(
        self,
        found: Found,
        text: str,
        attempt: Attempt,
        answers: Answers,
        tries: int,
        *,
        inherited: bool = False,
        repeat: int = 1,
        only: Container[tuple[str, str]] | None = None,
    ) -> None:
        """`text` is what stands in the file `found`; `attempt` runs the test under several profiles at once.

        `answers` are those of an earlier run with the same text; at most `tries` runs are made. `inherited`: what the
        file extends may be left out too. `repeat`: what passes has to pass so many times, which makes as many runs.
        `only`: look at no other grants than these, by list and text. Raises ProfileError if the text is no valid profile.
        """
        self.found = found
        self.profile = load_text(found, text)
        self.original = text
        self.lists = inheritance.inherited(self.profile, found) if inherited else {}
        self.text = inheritance.spell_out(found, text, self.lists)
        self.attempt = attempt
        self.answers = answers
        self.tries = tries
        self.repeat = repeat
        self.only = only
        self.runs = 0
        self.grants = self._that_only_lessen(self._with_origins(grants(self.text)))
        self.taken: frozenset[int] = frozenset()

    def _with_origins(self, candidates: Sequence[Grant]) -> list[Grant]:
        """The grants, each with the place that it has in the original text, or where it is inherited from."""
        own = {path: inheritance.count(self.original, path) for path in self.lists}
        at = lines(self.original)
        made = []
        for grant in candidates:
            index = grant.place[-1]
            is_own = grant.key not in own or not isinstance(index, int) or index < own[grant.key]
            inherited = "" if is_own else self.lists[grant.key].get(grant.text, "")
            made.append(grant._replace(line=at.get(grant.place, 0), inherited=inherited))
        return made

    def _that_only_lessen(self, candidates: Sequence[Grant]) -> tuple[Grant, ...]:
        """The grants with those of their forms that, by themselves, allow nothing more than the profile does."""
        kept = []
        for grant in candidates:
            if self.only is not None and (grant.key, grant.text) not in self.only:
                continue
            first, *others = grant.forms
            forms = (first, *(form for form in others if self._lessens(grant._replace(forms=(first, form)))))
            kept += [grant._replace(forms=forms)] if len(forms) > 1 else []
        return tuple(kept)

    def _lessens(self, grant: Grant) -> bool:
        try:
            profile = load_text(self.found, render(self.text, (grant,), frozenset((0,))))
        except ProfileError:
            return True  # by itself; together with others it may be right
        return self._is_less(profile)

    def _is_less(self, profile: Profile) -> bool:
        return all(change.sign == LESS for change in diff(self.profile, profile))

    def shrink(self, width: int) -> Result:
        """Take away what can be, `width` runs at a time. Raises SandrunError if a run cannot be made.

        The whole is compared once more at the end, since with inherited lists its text is not the one that was tried.
        """
        search = Search(ladders(self.grants), self._ask, width)
        complete = True
        try:
            search.run()
        except SpentError:
            complete = False
        self.taken = search.taken
        text = self._final(search.taken)
        if not self._is_less(load_text(self.found, text)):
            raise SandrunError(f"cannot shrink: {self.found.source}: the result would allow more than before")
        return Result(text, search.taken, complete)

    def passes(self) -> bool:
        """Whether the test passes under the profile as it is. Raises SpentError, SandrunError."""
        return self._ask([frozenset()])[0]

    def final(self) -> str:
        """The text of what was taken so far."""
        return self._final(self.taken)

    def _final(self, taken: frozenset[int]) -> str:
        """The text of the result: only lists of which something inherited went are written out."""
        gone = {grant.key for grant, form in forms(self.grants, taken) if grant.inherited and form != grant.forms[0]}
        text = inheritance.spell_out(self.found, self.original, inheritance.touched(self.lists, gone))
        own = spans(self.original).values
        new = (tuple(path.split(".")) for path in sorted(gone))
        return on_one_line(render(text, self.grants, taken), (place for place in new if place not in own))

    def _ask(self, several: Sequence[frozenset[int]]) -> list[bool]:
        todo: dict[frozenset[int], Profile] = {}
        for taken in dict.fromkeys(several):
            if self.answers.known(taken) is None:
                profile = self._candidate(taken)
                if profile:
                    todo[taken] = profile
                else:
                    self.answers.add(taken, passed=False)
        for taken in list(todo) if self.answers.tried else ():
            known = self.answers.tried.get(_digest(todo[taken]))
            if known is not None:
                self.answers.add(taken, passed=known)
                del todo[taken]
        asked = list(todo)[: max(0, (self.tries - self.runs) // self.repeat)]
        passing = asked
        for _ in range(self.repeat if asked else 0):
            self.runs += len(passing)
            results = self.attempt([todo[taken] for taken in passing]) if passing else []
            passing = [taken for taken, passed in zip(passing, results, strict=True) if passed]
        for taken in asked:
            self.answers.add(taken, passed=taken in passing)
            if self.only is not None:
                self.answers.tried[_digest(todo[taken])] = taken in passing
        if len(asked) < len(todo):
            raise SpentError
        self.taken = max((taken for taken in several if self.answers.known(taken)), key=len, default=self.taken)
        return [bool(self.answers.known(taken)) for taken in several]

    def _candidate(self, taken: frozenset[int]) -> Profile | None:
        """The profile without these; None if it contradicts itself, or would allow more than before."""
        try:
            profile = load_text(self.found, render(self.text, self.grants, taken))
        except ProfileError:
            return None
        return profile if self._is_less(profile) else None
