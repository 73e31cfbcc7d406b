"""Filters: those of the most used built-in profiles compiled beforehand, any other by libseccomp.

What is asked of libseccomp is known in full before it is, so a filter can be found by a digest of that: 10 ms of a launch
that is not in the plan cache. The table is written by tools/gen_known.py; tests hold it to what libseccomp makes.
"""

from __future__ import annotations

from sandrun.digest import sha256
from sandrun.primitives._filters import FILTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.primitives.seccomp_match import Refusal


def compile_filter(arch: str, numbers: Mapping[int, int], refusals: Sequence[Refusal]) -> tuple[bytes, ...]:
    """The programs of one filter, as of `seccomp_compile.compile_filter`, which has the meaning and the errors."""
    known = FILTERS.get(request(arch, numbers, refusals))
    if known is not None:
        return tuple(map(bytes.fromhex, known))
    from sandrun.primitives import seccomp_compile  # noqa: PLC0415 (with pyseccomp: heavy)

    return seccomp_compile.compile_filter(arch, numbers, refusals)


def request(arch: str, numbers: Mapping[int, int], refusals: Sequence[Refusal]) -> str:
    """A digest of everything that makes the filter."""
    asked = (arch, sorted(numbers.items()), [tuple(refusal) for refusal in refusals])
    return sha256(repr(asked).encode()).hex()
