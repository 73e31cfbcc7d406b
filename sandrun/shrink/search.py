"""The search for the most that can be taken away: delta debugging by halving groups.

What passes is taken to be monotonous: who grants less than something that fails fails too. So each group is tried once,
a group that fails is halved until the one step that must stay is found, and answers are never asked for twice.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Steps = frozenset[int]
    Ask = Callable[[Sequence[Steps]], list[bool]]


class Answers:
    """What is known: which sets of steps passed the test when they were taken, and which failed."""

    def __init__(
        self, passed: Iterable[Steps] = (), failed: Iterable[Steps] = (), tried: dict[str, bool] | None = None
    ) -> None:
        self.tried = {} if tried is None else tried
        """Whether whole profiles passed, by digest."""
        self.passed = list(passed)
        self.failed = list(failed)

    def known(self, taken: Steps) -> bool | None:
        """Whether these steps pass, as far as the answers tell."""
        if any(taken <= less for less in self.passed):
            return True
        return False if any(more <= taken for more in self.failed) else None

    def add(self, taken: Steps, *, passed: bool) -> None:
        (self.passed if passed else self.failed).append(taken)


class Search:
    """One search. `taken` is the most that has passed so far, also when `ask` raised something to end it."""

    def __init__(self, ladders: Sequence[tuple[int, ...]], ask: Ask, width: int = 1) -> None:
        """`ladders` has the steps of each grant in the order in which they can be taken.

        `ask` says of several sets of steps, at most `width` at once, whether the test passes with them.
        """
        self.ladders = ladders
        self.ask = ask
        self.width = width
        self.taken: Steps = frozenset()

    def run(self) -> Steps:
        """The most that can be taken: first whole grants, then of those that stay all but the last step, and so on."""
        longest = max(map(len, self.ladders), default=0)
        for left in range(longest):
            groups = [
                frozenset(ladder[: len(ladder) - left])
                for ladder in self.ladders
                if len(ladder) > left and self.taken.isdisjoint(ladder)
            ]
            self._take_most(groups)
        return self.taken

    def _take_most(self, groups: Sequence[Steps]) -> None:
        waiting = deque([tuple(groups)] if groups else [])
        while waiting:
            batch = [waiting.popleft() for _ in range(min(self.width, len(waiting)))]
            answers = self.ask([self._with(each) for each in batch])
            passed = [each for each, answer in zip(batch, answers, strict=True) if answer]
            again = [half for each, answer in zip(batch, answers, strict=True) if not answer for half in _halves(each)]
            together = tuple(group for each in passed for group in each)
            # Each can be spared while the other is there: two ways to the same end.
            if len(passed) > 1 and not self.ask([self._with(together)])[0]:
                together = passed[0]
                again = passed[1:] + again
            self.taken = self._with(together)
            waiting.extendleft(reversed(again))

    def _with(self, groups: Iterable[Steps]) -> Steps:
        return self.taken.union(*groups)


def _halves(groups: tuple[Steps, ...]) -> Sequence[tuple[Steps, ...]]:
    """Two halves of a group that failed; nothing of a single one, which must stay."""
    middle = len(groups) // 2
    return (groups[:middle], groups[middle:]) if middle else ()
