"""One launch that is observed, from its plan to the findings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import libc, traffic
from sandrun.explain import kernel_log, limits, render
from sandrun.explain.attempts import EXITS, Collector
from sandrun.explain.causes import findings
from sandrun.explain.denials import find, of_relay
from sandrun.explain.proposals import Proposals
from sandrun.explain.used import Uses
from sandrun.observe.observer import Job, observe
from sandrun.why.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.explain.causes import Finding
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.observe.observer import Observer
    from sandrun.plan.format import Plan
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile
    from sandrun.supervise import Outcome


class Explained(NamedTuple):
    """What a run was refused. `failed`: the command did not exit with 0; `gap`: why something may be missing."""

    findings: tuple[Finding, ...]
    failed: bool
    gap: str = ""

    @property
    def section(self) -> str:
        """The key of the report that holds it."""
        return "explained"

    def text(self) -> list[str]:
        """Lines for stderr."""
        return render.text(self.findings, failed=self.failed, gap=self.gap)

    def document(self) -> dict[str, Any]:
        """For programs."""
        return render.document(self.findings, failed=self.failed, gap=self.gap)


class Session:
    """Of one launch."""

    def __init__(
        self,
        profile: Profile,
        resolution: Resolution,
        kernel: Kernel,
        host: Host,
        ways: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._profile = profile
        self._plan = resolution.plan
        self._host = host
        self._arch = kernel.arch
        # Before the command changes what it may: it is judged by what was there when the plan was made.
        self._judge = Judge(profile, resolution, kernel, host, ways, os.getgroups())
        self._proposals = Proposals(profile, resolution.plan, kernel, host)
        self._limits = limits.Watcher(resolution.plan)
        self._uses = Uses()
        self._collector = Collector(also=self._uses)
        self._log = kernel_log.KernelLog()
        self._observer: Observer | None = None

    def observed(self, plan: Plan) -> tuple[Plan, Observer]:
        """The plan to launch instead, and the observer for `watch.begin`. Raises SandrunError."""
        watched, observer = observe(plan, self._arch, Job(also=EXITS | limits.calls(plan)))
        observer.sink = self._collector
        observer.peek = self._limits
        self._observer = observer
        return watched, observer

    def finish(self, outcome: Outcome, private: Sequence[bytes] = ()) -> Explained:
        """What was refused. `private` are the directories that the launch made for the command alone."""
        attempts = self._collector.attempts()
        own = tuple(map(os.fsdecode, private))
        found = list(find(attempts, self._judge, self._host, own=own, relayed=bool(self._plan.egress)))
        record = traffic.read(outcome.network) if outcome.network else None
        found += of_relay(record.refused, outcome.wall) if record else ()
        found += limits.denials(self._plan, self._profile, outcome, self._limits.reached.values())
        if kernel_log.SIGSYS in (outcome.signal, outcome.status - limits.FROM_SIGNAL):
            pids = frozenset(attempt.event.pid for attempt in attempts.made)
            found += kernel_log.denials(self._log, pids, self._judge, self._arch, outcome.wall)
        failed = bool(outcome.status or outcome.signal or outcome.timed_out)
        gap = self._observer.record().gap if self._observer else ""
        if attempts.others:
            gap = gap or f"there were too many different calls: the first {attempts.others} were forgotten"
        # As it was when the plan was made: a process that is not dumpable may not read its own /proc (prctl(2)).
        libc.prctl(libc.PR_SET_DUMPABLE, 1)
        named = tuple(map(os.fsdecode, self._plan.argv[1:]))
        made = findings(found, attempts.exits, failed=failed, named=named)
        return Explained(self._proposals.checked(made), failed, gap)

    def used(self, outcome: Outcome, explained: Explained) -> dict[str, Any]:
        """What the run used of what is granted, as `--report` has it; after `finish`."""
        denied = [denial for finding in explained.findings for denial in finding.denials]
        record = traffic.document(outcome.network) if outcome.network else None
        return self._uses.document(self._judge, denied, record, explained.gap)
