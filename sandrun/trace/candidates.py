"""The built-in profiles, resolved for this command on this kernel: what their filters would be."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sandrun.errors import SandrunError
from sandrun.observe.verdicts import Verdicts
from sandrun.plan.resolve import resolve
from sandrun.plan.syscalls import let_through
from sandrun.profile import load
from sandrun.profile.find import builtin_directory, names_in
from sandrun.trace.coverage import Candidate
from sandrun.trace.places import refusals
from sandrun.why.judge import NO_WAYS, Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.observe.events import Record
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile


def candidates(kernel: Kernel, host: Host, command: Sequence[str], record: Callable[[], Record]) -> Iterator[Candidate]:
    """Those under which the command would start here at all. `record` is called once the trace is over."""
    still = cast("Host", _Still(host))
    for name in names_in(builtin_directory()):
        try:
            profile = load((f"builtin:{name}",))
            resolution = resolve(profile, kernel, still, command)
        except SandrunError:
            continue
        if any("the command will not start" in warning for warning in resolution.warnings):
            continue
        verdicts = Verdicts(resolution.plan.seccomp, kernel.arch)
        refuses = functools.partial(_refuses, _Planned(profile, resolution, kernel, still), record)
        yield Candidate(name, verdicts, let_through(profile, resolution.guards, kernel.arch), refuses)


class _Planned(NamedTuple):
    profile: Profile
    resolution: Resolution
    kernel: Kernel
    host: Host


def _refuses(planned: _Planned, record: Callable[[], Record]) -> tuple[str, ...]:
    plan = planned.resolution.plan
    judge = Judge(*planned, NO_WAYS, os.getgroups())
    own = tuple(map(os.fsdecode, plan.private_dirs)) if not plan.view else ()
    return refusals(record(), judge, planned.host, own=own, relayed=bool(plan.egress))


class _Still:
    """A host as it was when it was first asked: the profiles ask of the same places, root of all that is below /etc."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._host, name)
        if callable(found):
            found = functools.cache(found)
        setattr(self, name, found)
        return found
