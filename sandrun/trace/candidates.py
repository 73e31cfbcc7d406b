"""The built-in profiles, resolved for this command on this kernel: what their filters would be."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from sandrun.errors import SandrunError
from sandrun.observe.verdicts import Verdicts
from sandrun.plan.resolve import resolve
from sandrun.plan.syscalls import let_through
from sandrun.profile import load
from sandrun.profile.find import builtin_directory, names_in
from sandrun.trace.coverage import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandrun.host import Host
    from sandrun.kernel import Kernel


def candidates(kernel: Kernel, host: Host, command: Sequence[str]) -> Iterator[Candidate]:
    """Those under which the command would start here at all."""
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
        yield Candidate(name, verdicts, let_through(profile, resolution.guards, kernel.arch))


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
