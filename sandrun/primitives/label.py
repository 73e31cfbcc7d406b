"""The label of another security module that the command gets at execve(2): an AppArmor profile, an SELinux context.

LIGHT. Written to /proc/self/attr, see aa_change_onexec(2) and setexeccon(3). The kernel lets a process write its own
file only, through a descriptor that it opened itself; that is done while /proc can be reached and before anything is
confined, and the label is written last, so that what it refuses does not hold for the steps before.
"""

from __future__ import annotations

import os

from sandrun import libc
from sandrun.errors import SandrunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.plan.format import Plan

# The file of its own that AppArmor has since Linux 5.8: the other belongs to whichever module was there first.
APPARMOR, SELINUX = b"/proc/self/attr/apparmor/exec", b"/proc/self/attr/exec"


class Labels:
    """The labels of a plan. The parent opens descriptors, whose numbers the child then fills with files of its own."""

    __slots__ = ("_wanted", "descriptors")

    def __init__(self, plan: Plan) -> None:
        """Raises SandrunError if there is no such file."""
        wanted = []
        if plan.apparmor:
            wanted.append((APPARMOR, b"exec " + plan.apparmor))
        if plan.selinux:
            wanted.append((SELINUX, plan.selinux))
        self._wanted = tuple(wanted)
        self.descriptors: list[int] = []
        for path, _ in wanted:
            try:
                self.descriptors.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                for fd in self.descriptors:
                    os.close(fd)
                number = error.errno or 0
                raise SandrunError(f"cannot label the command: {os.fsdecode(path)}: {libc.strerror(number)}") from None

    def open(self, *, detached: bool) -> None:
        """In the child: open the files of this process. Raises OSError.

        `detached`: by a copy of the mount, since one with a file open for writing cannot become read-only.
        """
        if not self.descriptors:
            return
        proc = os.open(b"/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if detached:
            shown, proc = proc, libc.open_tree(proc)
            os.close(shown)
        for fd, (path, _) in zip(self.descriptors, self._wanted, strict=True):
            own = os.open(path.removeprefix(b"/proc/"), os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
            os.dup2(own, fd, inheritable=False)
            os.close(own)
        os.close(proc)

    def set(self) -> None:
        """In the child: the labels for execve(2). Raises OSError: ENOENT for an AppArmor profile that is not loaded."""
        for fd, (_, text) in zip(self.descriptors, self._wanted, strict=True):
            os.write(fd, text)
