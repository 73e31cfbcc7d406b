"""What is proposed, tried: with the flag added the profile is resolved again, and the judge asked again. Over a Host.

A proposal that does not allow the thing is worse than none: whoever follows it has granted something, for nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sandrun.errors import SandrunError
from sandrun.explain.denials import CHANGE, LOOK
from sandrun.explain.remedies import Remedy, others
from sandrun.kernel import with_broker, with_namespaces
from sandrun.plan import namespaces
from sandrun.plan.resolve import resolve
from sandrun.profile.bad import Bad
from sandrun.profile.endpoints import parse
from sandrun.profile.layer import read_flags
from sandrun.profile.merge import merge
from sandrun.why.judge import ACTS, NO_WAYS, Answer, Judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandrun.explain.causes import Finding
    from sandrun.explain.denials import Denial
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.format import Plan
    from sandrun.profile.model import Profile

MOST = 12
"""Proposals that are tried, each some 40 ms; what is beyond is not proposed."""
MOST_DENIALS = 50
"""Of one proposal so many of the things that it is to allow are asked about."""
TOO_MANY = Remedy(text="too much was refused to try a proposal for each: grant the others first")


class Proposals:
    """For one launch of one profile. It has to be made before the launch, which changes what can be tried."""

    def __init__(self, profile: Profile, plan: Plan, kernel: Kernel, host: Host) -> None:
        """Raises SandrunError if nothing can be forked, to see which namespaces there could be."""
        kernel = with_namespaces(kernel, user=namespaces.wants_user(profile))
        self._kernel = kernel if kernel.netns and kernel.mountns else with_broker(kernel)
        self._profile = profile
        self._host = host
        self._words = tuple(map(os.fsdecode, plan.argv))

    def checked(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The same, each with a remedy that allows it; without a flag where none was found that does."""
        return tuple(self._checked(findings))

    def _checked(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        tried = 0
        for finding in findings:
            first = finding.remedy
            remedies = [first] if first.key else []
            remedies += others(finding.denials[0], self._words[1:])
            if not remedies:
                yield finding
                continue
            whys = []
            for remedy in remedies[: max(0, MOST - tried)]:
                tried += 1
                why = self._why_not(remedy, finding.denials[:MOST_DENIALS])
                if not why:
                    yield finding._replace(remedy=remedy)
                    break
                whys.append(f"not by {remedy.flag} alone: {why}")
            else:
                yield finding._replace(remedy=_none(first, whys))

    def _why_not(self, remedy: Remedy, denials: Iterable[Denial]) -> str:
        """Why the grant is not enough; "" if it is."""
        layer, problems = read_flags([(remedy.key, remedy.item, remedy.flag.partition(" ")[0])])
        if problems:
            return problems[0].message
        try:
            profile = merge(self._profile, layer)
            resolution = resolve(profile, self._kernel, self._host, self._words)
        except SandrunError as error:
            return error.message
        if remedy.key == "filesystem.tmp":
            return ""  # where it cannot be mounted, its place has another name, which the command is told
        judge = Judge(profile, resolution, self._kernel, self._host, NO_WAYS, os.getgroups())
        for denial in denials:
            answer = _connected(judge, remedy) if denial.act == "syscall" and "connect" in remedy.key else None
            answer = answer or _again(judge, denial)
            if not answer.granted and (denial.act not in (LOOK, CHANGE) or "mount" in answer.mechanisms):
                return answer.reason
        return ""


def _none(first: Remedy, whys: list[str]) -> Remedy:
    if not first.key:
        return first
    return Remedy(text=whys[0]) if whys else TOO_MANY


def _connected(judge: Judge, remedy: Remedy) -> Answer:
    """Of a socket that was refused: whether what it is proposed for can be reached."""
    endpoint = parse(remedy.item)
    return judge.connect(endpoint.host, endpoint.first_port, endpoint.protocol or "tcp")


def _again(judge: Judge, denial: Denial) -> Answer:
    """The answer to the same question."""
    act, target = denial.act, denial.target
    if act in ACTS or act in (LOOK, CHANGE):
        return judge.file({LOOK: "read", CHANGE: "write"}.get(act, act), target, denial.rights)
    if act == "unix":
        return judge.unix(target)
    if act == "syscall":
        return judge.syscall(target.partition(" ")[0], denial.arguments)
    try:
        endpoint = parse(f"{target}:443" if act == "name" else target, bind=act == "bind")
    except Bad as bad:
        return Answer(target, granted=False, reason=bad.message)
    protocol = endpoint.protocol or "tcp"
    if act == "bind":
        return judge.bind(endpoint.first_port, protocol)
    return judge.connect(endpoint.host, endpoint.first_port, protocol)
