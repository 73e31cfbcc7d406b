"""A launch as the doctor tries it: what resolves is done for real, up to the exit status of a command that does nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from sandrun import libc, report, supervise
from sandrun.errors import SandrunError
from sandrun.host import System
from sandrun.launch import launch
from sandrun.plan import environment
from sandrun.watch import begin

if TYPE_CHECKING:
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.model import Profile

PLACE = "/usr"


class Elsewhere(System):
    """This machine as a launch from PLACE sees it: a doctor that is asked from a home would else be told of `.` only."""

    @property
    def cwd(self) -> str:
        return PLACE

    def fd_stat(self, fd: int) -> None:
        """The descriptors of the doctor are not those of a launch."""
        return


def try_launch(profile: Profile, resolution: Resolution) -> list[str]:
    """Launch the plan in a child and wait for it: the lines of what goes wrong, none if the command ends with 0."""
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        raise SandrunError(f"cannot try a launch: fork: {libc.strerror(error.errno or 0)}") from None
    if not pid:
        _supervisor(profile, resolution, writer)
    os.close(writer)
    with open(reader, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return lines if lines or not status else [f"the launch ended with status {status}: try sandrun -- true"]


def _supervisor(profile: Profile, resolution: Resolution, writer: int) -> NoReturn:
    status = 1
    try:
        os.chdir(PLACE)
        for fd in range(3):  # what the command might say is no part of the doctor's answer
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
        plan = resolution.plan
        watch = begin(plan)
        child = launch(plan, environment.values(profile, resolution.account), watch)
        status = report.status(supervise.supervise(child, watch, plan))
    except SandrunError as error:
        os.write(writer, "\n".join(error.lines()).encode("utf-8", "surrogateescape"))
    except OSError as error:
        os.write(writer, report.reason(error).encode())
    finally:
        os._exit(status)
