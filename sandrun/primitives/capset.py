"""Set capabilities, securebits and the other attributes of prctl(2): what a process may still become.

LIGHT. The adapter of the package python-prctl, which does what it can: bounding set, the three sets of capset(2), the
attributes in `_SETTERS`. What it lacks goes through `libc`: the ambient set, SECBIT_NO_CAP_AMBIENT_RAISE, capabilities
newer than its build, and reading everything back, so that no library is believed. See capabilities(7).
"""

from __future__ import annotations

from sandrun import libc
from sandrun.errors import SandrunError
from sandrun.primitives.caps import CAP_SETPCAP, bounding_set, names

try:
    import prctl
except NameError:
    # Built against headers with a capability it has no name for, it warns without having imported warnings.
    prctl = None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.plan.format import Plan

_SETTERS = {
    libc.PR_SET_PDEATHSIG: "set_pdeathsig",
    libc.PR_SET_DUMPABLE: "set_dumpable",
    libc.PR_SET_KEEPCAPS: "set_keepcaps",
    libc.PR_SET_CHILD_SUBREAPER: "set_child_subreaper",
    libc.PR_SET_NO_NEW_PRIVS: "set_no_new_privs",
}
_KNOWN = frozenset(prctl.ALL_CAPS if prctl else ())
_KNOWN_SECUREBITS = 0b111111 if prctl else 0
"""python-prctl refuses any value with another bit."""


class Sets:
    """The arguments that set effective = permitted, and inheritable, in one call."""

    __slots__ = ("_arguments", "_data", "inheritable", "permitted")

    def __init__(self, permitted: int, inheritable: int, last: int) -> None:
        self.permitted = permitted
        self.inheritable = inheritable
        self._data = libc.capability_sets(permitted, permitted, inheritable)
        self._arguments = None
        if prctl and _KNOWN.issuperset(range(last + 1)):
            pairs = zip(prctl.ALL_FLAGS, (permitted, inheritable, permitted), strict=True)
            self._arguments = tuple(
                ([number for number in range(last + 1) if bool(value >> number & 1) == on], flag, on)
                for flag, value in pairs
                for on in (True, False)
            )

    def set(self) -> None:
        """Make them this process's sets."""
        if self._arguments is not None:
            prctl.set_caps(*self._arguments)
        else:
            libc.capset(self._data)


class Prepared:
    """What the child does about capabilities, worked out in the parent from the plan and from what we hold."""

    __slots__ = ("ambient", "drop", "final", "holding", "keepcaps", "left", "securebits")

    def __init__(self, plan: Plan) -> None:
        effective, held, _ = libc.capget()
        bounding, last = bounding_set()
        now = libc.prctl(libc.PR_GET_SECUREBITS)
        if plan.namespaces & libc.CLONE_NEWUSER:
            # The first process of a user namespace holds everything in it, and no securebits.
            effective = held = bounding = (1 << last + 1) - 1
            now = 0
        self._check(plan, held)
        may_drop = effective >> CAP_SETPCAP & 1
        self.left = bounding & plan.bounding if may_drop else bounding
        """The bounding set that must be there afterwards."""
        self.drop = tuple(number for number in range(last + 1) if (bounding & ~self.left) >> number & 1)
        if bounding & ~plan.bounding and not may_drop and not plan.no_new_privs:
            raise SandrunError(
                "cannot drop capabilities from the bounding set: Operation not permitted (EPERM)",
                hint="with no_new_privs (the default) the bounding set does not matter; without it CAP_SETPCAP is needed",
            )
        self.securebits = now | plan.securebits if plan.securebits & ~now else 0
        """The securebits to set, 0 = leave them."""
        if self.securebits and not may_drop:
            raise SandrunError(
                "cannot set securebits: Operation not permitted (EPERM)", hint="securebits need CAP_SETPCAP"
            )
        self.keepcaps = bool(plan.permitted or self.securebits)
        self.ambient = tuple(number for number in range(last + 1) if plan.ambient >> number & 1)
        # Securebits are set when the ambient set is complete, and setting them takes CAP_SETPCAP until then.
        holding = plan.permitted | (1 << CAP_SETPCAP if self.securebits else 0)
        self.holding = Sets(holding, plan.inheritable, last)
        self.final = Sets(plan.permitted, plan.inheritable, last)

    @staticmethod
    def _check(plan: Plan, held: int) -> None:
        missing = plan.permitted & ~held
        if missing:
            raise SandrunError(
                f"cannot keep capabilities that sandrun does not hold: {', '.join(names(missing))}",
                hint="run sandrun as root, or leave them out",
            )
        if plan.ambient & ~(plan.permitted & plan.inheritable):
            raise SandrunError("ambient capabilities must be permitted and inheritable as well (capabilities(7))")


def set_attribute(option: int, value: int) -> None:
    """prctl(2) with one argument: an option of `_SETTERS`."""
    if prctl:
        getattr(prctl, _SETTERS[option])(value)
    else:
        libc.prctl(option, value)


def drop_bounding(number: int) -> None:
    """Drop one capability from the bounding set. Irreversible."""
    if number in _KNOWN:
        prctl.capbset.drop(number)
    else:
        libc.prctl(libc.PR_CAPBSET_DROP, number)


def set_securebits(bits: int) -> None:
    """Set exactly these securebits. Irreversible where they hold a lock."""
    if bits & ~_KNOWN_SECUREBITS:
        libc.prctl(libc.PR_SET_SECUREBITS, bits)
    else:
        prctl.set_securebits(bits)


def apply(prepared: Prepared) -> None:
    """The last step of capabilities, in the child and after the change of ids: ambient set, securebits, final sets."""
    prepared.holding.set()
    libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_CLEAR_ALL)
    for number in prepared.ambient:
        libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_RAISE, number)
    if prepared.securebits:
        set_securebits(prepared.securebits)
    prepared.final.set()


def verify(prepared: Prepared) -> None:
    """Read everything back. Raises OSError with errno 0 if the kernel holds anything else than was asked for."""
    final = prepared.final
    ambient = 0
    bounding, last = bounding_set()
    for number in range(last + 1):
        ambient |= libc.prctl(libc.PR_CAP_AMBIENT, libc.PR_CAP_AMBIENT_IS_SET, number) << number
    as_asked = (
        libc.capget() == (final.permitted, final.permitted, final.inheritable)
        and ambient == sum(1 << number for number in prepared.ambient)
        and bounding == prepared.left
        and (not prepared.securebits or libc.prctl(libc.PR_GET_SECUREBITS) == prepared.securebits)
    )
    if not as_asked:
        raise OSError(0, "the kernel holds other capabilities than were asked for")
