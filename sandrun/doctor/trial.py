"""A launch as the doctor tries it."""

from __future__ import annotations

from sandrun.host import System

PLACE = "/usr"


class Elsewhere(System):
    """This machine as a launch from PLACE sees it: a doctor that is asked from a home would else be told of `.` only."""

    @property
    def cwd(self) -> str:
        return PLACE

    def fd_stat(self, fd: int) -> None:
        """The doctor's own descriptors are not those of a launch."""
        return
