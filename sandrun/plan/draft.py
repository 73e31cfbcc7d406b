"""What the parts of `resolve` fill in: the fields of the Plan, the Enforcement, and what stands in the way.

A Draft is the only mutable thing on the way to a Plan; it lives for one call of `resolve`.
"""

from __future__ import annotations

from sandrun.errors import Problem
from sandrun.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sandrun.plan.broker import Broker
    from sandrun.plan.egress import Egress
    from sandrun.profile.model import Profile

ENFORCED = "enforced"
PARTIAL = "partial"
LOST = "lost"


class Protection(NamedTuple):
    """One protection of the record: who asked, what keeps it here, and what is not kept.

    `lost` holds plain sentences. PARTIAL is kept with exceptions, LOST is not kept at all; both happen only where the
    profile made the key optional, or where the loss is of convenience and not of the promise (`notes`).
    """

    key: str
    requested: tuple[str, ...]
    mechanisms: tuple[str, ...]
    state: str
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Arg(NamedTuple):
    """A test of one syscall argument (0 to 5).

    `op`: eq, ne, lt, le, gt, ge (with `value`), in, not_in (with `values`), masked_eq, masked_ne
    (`argument & mask` against `value`), masked_not_in (`argument & mask` against `values`). Whether 32 or 64 bits are
    compared follows from the kernel's type of that argument, not from here.
    """

    number: int
    op: str
    value: int = 0
    values: tuple[int, ...] = ()
    mask: int = 0


class Guard(NamedTuple):
    """A syscall that another protection refuses by seccomp, whatever the profile's own syscall lists say.

    All of `when` must hold (none: always). `action` is "errno:NAME" or "kill-process"; `key` is the key path whose
    protection this is, for the record and for conflicts.
    """

    syscall: str
    action: str
    key: str
    when: tuple[Arg, ...] = ()


def accept(key: str) -> str:
    """The end of a hint: how to run without the protection `key`."""
    return f"accept the loss: --optional {key}"


class Draft:
    """The growing result of `resolve`."""

    __slots__ = (
        "broker",
        "egress",
        "fields",
        "guards",
        "no_broker",
        "problems",
        "profile",
        "protections",
        "warnings",
    )

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.fields: dict[str, Any] = {}
        """Of the Plan."""
        self.protections: list[Protection] = []
        self.guards: list[Guard] = []
        self.egress: Egress | None = None
        """What a relay serves; None if there is none."""
        self.broker: Broker | None = None
        """What the supervisor connects to for the command; None if the command connects itself."""
        self.no_broker = ""
        """Why it cannot, where it was asked for."""
        self.warnings: list[str] = []
        self.problems: list[Problem] = []

    def record(self, key: str, *mechanisms: str, notes: tuple[str, ...] = (), requested: tuple[str, ...] = ()) -> None:
        """This protection is enforced, by these mechanisms."""
        who = requested or self.profile.origins(key) or ("the default",)
        self.protections.append(Protection(key, who, mechanisms, ENFORCED, notes=notes))

    def lose(self, key: str, lost: str, hint: str, *mechanisms: str, requested: tuple[str, ...] = ()) -> None:
        """This protection, or a part of it, cannot be kept here.

        Recorded if the profile made the key optional (PARTIAL if some mechanism keeps the rest), else a problem that
        ends in status 125: `lost` is what is not kept and why, `hint` what the user can do.
        """
        who = requested or self.profile.origins(key) or ("the default",)
        if self.profile.is_optional(key):
            state = PARTIAL if mechanisms else LOST
            self.protections.append(Protection(key, who, mechanisms, state, lost=(lost,)))
        else:
            self.problems.append(Problem(who[0], lost, hint))

    def refuse(self, where: object, message: str, hint: str | None = None) -> None:
        """Something in the profile is wrong on this host, whatever is optional."""
        self.problems.append(Problem(str(where), message, hint))
