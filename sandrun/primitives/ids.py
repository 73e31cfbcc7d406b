"""User and group ids: who the command runs as, with no way back.

LIGHT. The order is groups, gid, uid: after the uid there is no right to change the others (credentials(7)).
"""

from __future__ import annotations

import os

from sandrun.errors import SandrunError
from sandrun.plan.format import KEEP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.plan.format import Plan

_CAP_SETUID = 7


def check(plan: Plan) -> None:
    """In the parent: a plan that changes the uid and keeps the caller's groups would keep root's."""
    if plan.uid not in (KEEP, os.geteuid()) and not (plan.set_groups and plan.gid != KEEP):
        raise SandrunError("cannot change the user alone: the groups of the caller would stay")


def set_groups(plan: Plan) -> None:
    """setgroups(2), if the plan says so."""
    if plan.set_groups:
        os.setgroups(plan.groups)


def set_gid(plan: Plan) -> None:
    """The real, effective and saved group id."""
    if plan.gid != KEEP:
        os.setresgid(plan.gid, plan.gid, plan.gid)


def set_uid(plan: Plan) -> None:
    """The real, effective and saved user id. Irreversible unless CAP_SETUID stays."""
    if plan.uid != KEEP:
        os.setresuid(plan.uid, plan.uid, plan.uid)


def verify(plan: Plan) -> None:
    """Read the ids back and try to become root again; after the capabilities, which could allow it.

    Where helpers mapped the ids it was not root that set this up, but the caller, who is the first of the map.

    Raises OSError with errno 0 if the ids are not the plan's, or if the way back is open.
    """
    as_asked = (
        (plan.uid == KEEP or os.getresuid() == (plan.uid,) * 3)
        and (plan.gid == KEEP or os.getresgid() == (plan.gid,) * 3)
        and (not plan.set_groups or sorted(set(os.getgroups())) == sorted(set(plan.groups)))
    )
    if not as_asked:
        raise OSError(0, "the kernel holds other ids than were asked for")
    former = int(plan.uid_map.split()[0]) if plan.id_helpers else 0
    if plan.uid not in (KEEP, former) and not plan.permitted >> _CAP_SETUID & 1:
        try:
            os.setresuid(-1, former, -1)
        except PermissionError:
            return
        raise OSError(0, "the former user can be had again")
