"""Where a process can have control groups made, as `cgroup_probe` finds out. Every launch imports this, few look."""

from __future__ import annotations

from sandrun.named import NamedTuple
from sandrun.plan.format import CGROUP_NONE

KILLER = "kill"
"""In `Cgroup.places`: a hierarchy of version 2 besides those of version 1, for cgroup.kill alone."""
NONE_MOUNTED = "no hierarchy of control groups is mounted, or none can be seen"
MOUNT_HINT = "mount -t cgroup2 none /sys/fs/cgroup"


class Cgroup(NamedTuple):
    """Where control groups can be made here.

    `version` is that of the hierarchy which has the controllers, 0 for none. `way` is one of CGROUP_*; CGROUP_NONE if no
    group can be made, and then `reason` and `hint` say why and what to do. `places` has a directory for each controller
    (cgroups(7)) that a group can be made in. `mounts` are all mount points of control groups; `disks` the block devices
    with a size, as MAJOR:MINOR.
    """

    version: int = 0
    way: int = CGROUP_NONE
    places: tuple[tuple[str, str], ...] = ()
    mounts: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    reason: str = NONE_MOUNTED
    hint: str = MOUNT_HINT

    def place(self, controller: str) -> str:
        """The directory where a group with this controller can be made, "" for none."""
        return dict(self.places).get(controller, "")

    @property
    def usable(self) -> int:
        """The version if groups can be made, else 0."""
        return self.version if self.way != CGROUP_NONE else 0
