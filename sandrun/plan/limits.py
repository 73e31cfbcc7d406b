"""Resource limits and time: rlimits are lowered, the clock is the supervisor's."""

from __future__ import annotations

import resource

from sandrun.plan.format import UNLIMITED
from sandrun.profile.model import Limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft

CORE_PATTERN = "/proc/sys/kernel/core_pattern"


def resolve_limits(draft: Draft, kernel: Kernel, host: Host) -> None:
    """Set `rlimits`, `deadline_ms` and `grace_ms`, and what keeps `[resources]`."""
    limits: dict[int, tuple[int, int]] = {}
    for name, value in draft.profile.names("rlimits").items():
        number = getattr(resource, "RLIMIT_" + name.upper(), None)
        if number is None or not isinstance(value.value, Limit):
            draft.refuse(value.origin, f"this system has no resource limit {name}")
            continue
        limits[number] = _lowered(value.value, host.rlimit(number))
        inherited = host.rlimit(number)[0]
        clamped = value.value.soft is None or value.value.soft > inherited
        notes = (f"clamped to the inherited limit {_text(inherited)}",) if clamped and inherited != UNLIMITED else ()
        if number == resource.RLIMIT_CORE and value.value.soft == 0 and dumps_are_piped(host):
            limits[number], note = _without_pipe(limits[number], host.rlimit(number)[1])
            notes = (note,)
        draft.record(f"rlimits.{name}", "setrlimit", notes=notes)
    if draft.profile.names("resources"):
        from sandrun.plan.resources import resolve_resources  # noqa: PLC0415 (few launches need it)

        for number, amount in resolve_resources(draft, kernel).items():
            wanted = _lowered(Limit(amount, None), host.rlimit(number))
            limits[number] = min(limits.get(number, wanted), wanted)
    draft.fields["rlimits"] = tuple((number, *limits[number]) for number in sorted(limits))
    _resolve_time(draft)


def _lowered(limit: Limit, inherited: tuple[int, int]) -> tuple[int, int]:
    """Soft and hard, never above what is inherited; without a hard limit of its own, the soft one is both.

    A hard limit above the soft one could be raised back by the command, so that takes a word of the profile.
    """
    soft = UNLIMITED if limit.soft is None else limit.soft
    hard = soft
    if limit.has_hard:
        hard = UNLIMITED if limit.hard is None else limit.hard
    hard = min(hard, inherited[1])
    return min(soft, inherited[0], hard), hard


def dumps_are_piped(host: Host) -> bool:
    """Whether the kernel gives core dumps to a program, for which a limit of 0 does not count (core(5))."""
    return (host.read(CORE_PATTERN, 1) or b"") == b"|"


def _without_pipe(limit: tuple[int, int], most: int) -> tuple[tuple[int, int], str]:
    """No core dumps also where they are piped, and a note on it. `most` is the inherited hard limit."""
    if not most:
        return limit, "dumps are piped to a program, and 1, which would stop that, is above the inherited hard limit 0"
    return (1, max(limit[1], 1)), "1 instead of 0, since dumps are piped to a program: for that 0 is no limit"


def _resolve_time(draft: Draft) -> None:
    for key, name in (("time.timeout", "deadline_ms"), ("time.grace", "grace_ms")):
        value = draft.profile.scalar(key)
        if value is not None:
            seconds: float = value.value  # type: ignore[assignment]
            draft.fields[name] = round(seconds * 1000)
    if draft.profile.scalar("time.timeout") is not None:
        draft.record("time.timeout", "supervisor")


def _text(limit: int) -> str:
    return "unlimited" if limit == UNLIMITED else str(limit)
