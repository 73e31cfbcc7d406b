"""Comparisons of syscall arguments, reduced to what libseccomp compiles faithfully.

A condition ("argument 0 is not one of 1, 2, 10") becomes masked equalities, *cubes*: `argument & mask == value`. The
conditions under which one action applies become a list of cube combinations that form a decision tree: arguments in
order, upper half before lower half, and at every branch tests of the same half whose masks and values exclude each
other. libseccomp joins rules into such a tree by itself, and never tries a sibling after a branch was entered: rules
that overlap on one test could lose one of them.

Pure.
"""

from __future__ import annotations

from itertools import islice, product

from sandrun.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    Condition = Mapping[int, Sequence["Cube"]]
    """Argument index -> cubes; it holds if every listed argument is in one of its cubes. Empty: it always holds."""

MAX_CUBES = 4096
"""More combinations than a program could hold anyway; stops a condition product before it eats the memory."""

_HALF = 0xFFFFFFFF


class TooComplexError(ValueError):
    """The conditions on one syscall need more tests than a program can hold."""


class Refusal(NamedTuple):
    """An action for a syscall wherever one of its conditions holds; `elsewhere`: wherever none of them does."""

    number: int
    action: int
    conditions: Sequence[Condition]
    elsewhere: bool = False


class Cube(NamedTuple):
    """The numbers n with `n & mask == value`."""

    mask: int
    value: int


EVERYTHING = Cube(0, 0)

Leaf = dict[int, Cube]
"""Argument index -> the one cube it must be in; no tests: everything."""
_Tests = tuple[tuple[int, Cube], ...]
"""Halves of arguments and the one cube that each must be in, in ascending order (`_halves`)."""


def cubes(op: str, operands: Sequence[int], mask: int, width: int, *, grant: bool = False) -> list[Cube]:
    """The values of an argument for which a comparison holds, as cubes over 64 bits.

    `op` is one of `plan.draft.Arg`; `operands` its value or values. `width` is how many low bits the kernel reads: 16,
    32, 64, or 0 if that is not known. Then a test holds if it holds for the low half or for the whole, so that a
    refusal is never passed by bits that the kernel may ignore; for a `grant`, if it holds for both. Numbers are
    compared unsigned; a negative operand is taken in two's complement.

    Raises ValueError for an operand or mask that does not fit, or that no argument can meet.
    """
    if width == 0:
        whole = cubes(op, operands, mask, 64)
        if not all(-(1 << 31) <= number <= _HALF for number in (*operands, mask)):
            return whole
        low = cubes(op, operands, mask, 32)
        if grant:
            return both(whole, low)
        return list(dict.fromkeys((*whole, *low)))
    full = (1 << width) - 1
    if mask and not 0 < mask <= full:
        raise ValueError(f"mask {mask:#x} does not fit: the kernel reads {width} bits")
    numbers = [_unsigned(number, width, op) for number in operands]
    if op in _ORDER:
        at = numbers[0] + (op in {"gt", "le"})
        return _range_cubes(0, at - 1, width) if op in {"lt", "le"} else _range_cubes(at, full, width)
    if op.startswith("masked_"):
        if any(number & ~mask for number in numbers):
            raise ValueError("the value has bits outside the mask: it never compares equal")
    else:
        mask = full
    equal = [Cube(mask, number) for number in dict.fromkeys(numbers)]
    return equal if op in {"eq", "in", "masked_eq"} else _complement(equal)


def decide(conditions: Iterable[Condition], *, invert: bool = False) -> list[Leaf]:
    """Where at least one of the conditions holds (`invert`: where none does), as rules ready for libseccomp.

    The rules exclude each other; a rule without tests is everything. Raises TooComplexError.
    """
    rules: list[_Tests] = []
    for condition in conditions:
        for combination in product(*condition.values()):
            rules.append(_halves(dict(zip(condition, combination, strict=True))))
            if len(rules) > MAX_CUBES:
                raise TooComplexError("too many combinations of argument values")
    leaves: list[Leaf] = []
    for path in _branch(rules, invert=invert):
        leaves.append(_join(path))
        if len(leaves) > MAX_CUBES:
            raise TooComplexError("too many combinations of argument values")
    return leaves


def both(left: Sequence[Cube], right: Sequence[Cube]) -> list[Cube]:
    """The values that are in a cube of each."""
    return [part for one in left for other in right for part in _common(one, other)]


def _branch(rules: Collection[_Tests], *, invert: bool) -> Iterable[_Tests]:
    """The paths of the decision tree over what is left of these rules that end where the answer is yes."""
    decided = any(not rule for rule in rules)
    if decided or not rules:
        if decided != invert:
            yield ()
        return
    half = min(rule[0][0] for rule in rules)
    left: dict[Cube, set[_Tests]] = {}
    for rule in rules:
        here = rule[0][0] == half
        left.setdefault(rule[0][1] if here else EVERYTHING, set()).add(rule[1:] if here else rule)
    below: dict[frozenset[Cube], list[_Tests]] = {}
    for piece, inside in _pieces(left):
        if inside not in below:
            rest = set[_Tests]().union(*(left[test] for test in inside))
            below[inside] = list(islice(_branch(rest, invert=invert), MAX_CUBES + 1))
        for path in below[inside]:
            yield ((half, piece), *path)


def _pieces(tests: Iterable[Cube]) -> list[tuple[Cube, frozenset[Cube]]]:
    """Cubes that make up everything, each with the tests that it is inside of; it is outside of every other one."""
    pieces = [(EVERYTHING, frozenset[Cube]())]
    for test in sorted(tests):
        mask, value = test
        parts = []
        for piece, inside in pieces:
            fixed, bits = piece
            if (bits ^ value) & fixed & mask:
                parts.append((piece, inside))
                continue
            parts += ((part, inside | {test}) for part in _common(piece, test))
            parts += ((part, inside) for part in _minus(piece, test))
        pieces = parts
    return pieces


def _common(left: Cube, right: Cube) -> list[Cube]:
    if (left.value ^ right.value) & left.mask & right.mask:
        return []
    return [Cube(left.mask | right.mask, left.value | right.value)]


def _minus(left: Cube, right: Cube) -> list[Cube]:
    """`left` without `right`: one cube a bit that only `right` fixes, from the highest down, none of them overlapping."""
    if not _common(left, right):
        return [left]
    parts = []
    mask, value = left
    free = right.mask & ~left.mask
    while free:
        bit = 1 << (free.bit_length() - 1)
        parts.append(Cube(mask | bit, value | (~right.value & bit)))
        mask, value, free = mask | bit, value | (right.value & bit), free & ~bit
    return parts


def _complement(tests: Iterable[Cube]) -> list[Cube]:
    rest = [EVERYTHING]
    for test in tests:
        rest = [part for piece in rest for part in _minus(piece, test)]
    return rest


def _halves(combination: Mapping[int, Cube]) -> _Tests:
    """The same tests of halves, in libseccomp's order: 2 * index is the upper half, 2 * index + 1 the lower."""
    halves = []
    for index, (mask, value) in sorted(combination.items()):
        if mask >> 32:
            halves.append((2 * index, Cube(mask >> 32, value >> 32)))
        if mask & _HALF:
            halves.append((2 * index + 1, Cube(mask & _HALF, value & _HALF)))
    return tuple(halves)


def _join(path: _Tests) -> Leaf:
    leaf: Leaf = {}
    for half, (mask, value) in path:
        if not mask:
            continue
        shift = 0 if half % 2 else 32
        old = leaf.get(half // 2, EVERYTHING)
        leaf[half // 2] = Cube(old.mask | mask << shift, old.value | value << shift)
    return leaf


_ORDER = frozenset({"lt", "le", "gt", "ge"})


def _unsigned(number: int, width: int, op: str) -> int:
    if number < 0 and op in _ORDER:
        raise ValueError(f"{number} cannot be ordered: arguments are compared unsigned")
    if not -(1 << (width - 1)) <= number < 1 << width:
        raise ValueError(f"{number:#x} does not fit: the kernel reads {width} bits")
    return number & ((1 << width) - 1)


def _range_cubes(low: int, high: int, width: int) -> list[Cube]:
    """The numbers from `low` to `high` as aligned blocks, largest first from below."""
    full = (1 << width) - 1
    parts = []
    while low <= high:
        size = low & -low or 1 << width
        while size > high - low + 1:
            size >>= 1
        parts.append(Cube(full & ~(size - 1), low))
        low += size
    return parts
