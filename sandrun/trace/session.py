"""One launch that is traced, from its plan to what there is to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.observe.calls import DOING
from sandrun.observe.observer import Job, observe
from sandrun.observe.program import EVERY
from sandrun.observe.verdicts import MOST_REMEMBERED
from sandrun.trace.candidates import candidates
from sandrun.trace.coverage import promise_indices, promised, sufficient
from sandrun.trace.render import Traced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.observe.events import Record
    from sandrun.observe.observer import Observer
    from sandrun.plan.format import Plan
    from sandrun.supervise import Outcome


class Session:
    """Of one launch. The built-in profiles are resolved when it is made, before the command changes anything."""

    def __init__(self, kernel: Kernel, host: Host, command: Sequence[str]) -> None:
        self._arch = kernel.arch
        self._indices: dict[int, tuple[int, ...]] = {}
        self._observer: Observer | None = None
        self._candidates = tuple(candidates(kernel, host, command, self._record))

    def observed(self, plan: Plan) -> tuple[Plan, Observer]:
        """The plan to launch instead, and the observer for `watch.begin`. Raises SandrunError."""
        watched, self._observer = observe(plan, self._arch, Job(EVERY, named=DOING, variants=self._matter))
        return watched, self._observer

    def finish(self, _outcome: Outcome, _private: Sequence[bytes] = ()) -> Traced:
        """What was seen, and what covers it."""
        record = self._record()
        return Traced(
            record,
            promised(record.variants, self._arch),
            sufficient(record.variants, self._candidates),
            self._arch,
        )

    def _record(self) -> Record:
        if not self._observer:
            raise ValueError("nothing was observed")
        return self._observer.record()

    def _matter(self, number: int) -> tuple[int, ...]:
        """The arguments of a call that a filter of any candidate or a promise looks at."""
        found = self._indices.get(number)
        if found is None:
            looked = {index for one in self._candidates for index in one.verdicts.indices(number)}
            if len(self._indices) >= MOST_REMEMBERED:
                self._indices.clear()
            found = self._indices[number] = tuple(sorted(looked.union(promise_indices(number, self._arch))))
        return found
