"""Calls that were seen → the promises and the profiles that let them all through. Pure.

Only system calls are looked at here, with the arguments that filters look at. Of files and endpoints a candidate's judge
is asked, and of nothing else that a profile grants or refuses.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from sandrun.plan.syscalls import FALLBACKS
from sandrun.policy import promises, syscalls
from sandrun.primitives.seccomp import errno_action
from sandrun.primitives.seccomp_match import cubes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sandrun.observe.events import Variant
    from sandrun.observe.verdicts import Verdicts
    from sandrun.plan.draft import Arg

FIRST = "stdio"
"""Every other promise brings it."""
NEWER = dict(FALLBACKS)


class Candidate(NamedTuple):
    """A profile that may be enough: its filters, and the names of what they let through for some arguments at least."""

    name: str
    verdicts: Verdicts
    allows: frozenset[str]
    refuses: Callable[[], tuple[str, ...]] = tuple
    """What it would have refused of the files and endpoints, in plain words."""


class Sufficient(NamedTuple):
    """A profile that is enough for the calls. `needless`: what it allows and the command did not use; of those that allow
    more than the tightest only what the tightest does not allow either."""

    name: str
    allows: int
    needless: tuple[str, ...]
    refuses: tuple[str, ...] = ()
    """Files and endpoints that it would have refused, the first of them; () for one that is enough altogether."""


class Promised(NamedTuple):
    """The fewest promises that were found to cover the calls, and the calls that no promise covers."""

    names: tuple[str, ...]
    besides: tuple[str, ...]


def sufficient(variants: Sequence[Variant], candidates: Iterable[Candidate]) -> tuple[Sufficient, ...]:
    """The profiles that let every call through, those that allow the fewest first. The tightest is the first of them that
    refuses no file and endpoint either; the first of all if there is none."""
    known = [one for one in variants if not one.syscall.startswith("#")]
    used = {one.syscall for one in known}
    enough = [one for one in candidates if all(_passes(one, variant) for variant in known)]
    enough.sort(key=lambda one: (len(one.allows), one.name != FIRST, one.name))
    refuses = [one.refuses() for one in enough]
    best = next((at for at, words in enumerate(refuses) if not words), 0)
    tightest = enough[best].allows if enough else frozenset()
    return tuple(
        Sufficient(
            one.name,
            len(one.allows),
            tuple(sorted(one.allows - used - (tightest if at > best else frozenset()))),
            refuses[at],
        )
        for at, one in enumerate(enough)
    )


def _passes(candidate: Candidate, variant: Variant) -> bool:
    """Whether the filters let it through; or say that there is no such call where the C library then makes an older
    one, which they let through."""
    if candidate.verdicts.lets(variant.number, variant.arguments):
        return True
    answer = candidate.verdicts.answer(variant.number, variant.arguments)
    return answer == errno_action(errno.ENOSYS) and NEWER.get(variant.syscall) in candidate.allows


def promised(variants: Sequence[Variant], arch: str) -> Promised:
    """Promises that cover the calls: greedily, the one with most of what is left first."""
    covered = {name: _covered(name, variants, arch) for name in promises.PROMISES}
    names = [FIRST]
    left = set(range(len(variants))) - covered[FIRST]
    sizes = {name: len(promises.PROMISES[name].calls) for name in covered}
    while left:
        best = max(covered, key=lambda name: (len(covered[name] & left), -sizes[name]))
        if not covered[best] & left:
            break
        names.append(best)
        left -= covered[best]
    return Promised(tuple(names), tuple(sorted({variants[at].syscall for at in left})))


def promise_indices(number: int, arch: str) -> tuple[int, ...]:
    """The arguments of a call that some promise looks at."""
    return tuple(sorted({test.number for when in _limits(number, arch) for test in when}))


def _limits(number: int, arch: str) -> Iterable[tuple[Arg, ...]]:
    for name in promises.PROMISES:
        for call, when in promises.limited(name):
            if number in syscalls.meaning(call, arch).numbers:
                yield when


def _covered(promise: str, variants: Sequence[Variant], arch: str) -> set[int]:
    """Places in `variants` of what the promise allows."""
    whole = {number for call in promises.calls(promise) for number in syscalls.meaning(call, arch).numbers}
    limited: dict[int, list[tuple[str, tuple[Arg, ...]]]] = {}
    for call, when in promises.limited(promise):
        for number in syscalls.meaning(call, arch).numbers:
            limited.setdefault(number, []).append((call, when))
    return {
        at
        for at, one in enumerate(variants)
        if one.number in whole
        or any(_meets(call, when, one.arguments) for call, when in limited.get(one.number, ()))
        or _older(one, arch) in whole.union(limited)
    }


def _older(variant: Variant, arch: str) -> int | None:
    """The number of the call that the C library makes where a filter says that there is no such call as this."""
    older = NEWER.get(variant.syscall)
    return syscalls.number(older, arch) if older else None


def _meets(call: str, when: tuple[Arg, ...], arguments: Sequence[int]) -> bool:
    for test in when:
        operands = test.values if test.op.endswith("in") else (test.value,)
        width = syscalls.argument_width(call, test.number)
        found = cubes(test.op, operands, test.mask, width, grant=True)
        if not any(arguments[test.number] & mask == value for mask, value in found):
            return False
    return True
