"""The native executor: the C program that launches and supervises a resolved plan in the place of this interpreter.

The variable SANDRUN_EXECUTOR chooses the executor: `python`, `native`, or without it the native one where it is there and
serves the plan. It is set as well where the native executor leaves the rest to Python, or Python to itself: to `python:FD`,
where FD has words (said.py), each behind a colon, that say what was done.

    told:SUM            the warnings of a plan are printed; SUM tells whether it is this one (Record.sum)
    died:CODE:STATUS    a child ended without a word and perhaps within the command (waitid(2)): it is never run again
    again               the plan that was kept (sandrun/plancache) could not be launched
    after:STATUS        the run is over, with this exit status; what is left is to explain it

Where the native front has found a plan in the plan cache that is Python's to launch, it is set to `kept:FD`.

Nothing but the language, `os` and `sys` is imported here: every launch passes.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "SANDRUN_EXECUTOR"
SCRIPT = "sandrun-python"
"""What the front executes for Python (tools/sandrun-python), beside it."""
BINARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sandrun-exec")


class Executor:
    """Who executes the plan of this process: `name` is "python", "native", or "" where it does not matter.

    `told`, `again`, `died` (the code and the status) and `after` are as above; None where nothing was said.
    """

    __slots__ = ("after", "again", "died", "name", "told")

    def __init__(
        self,
        name: str = "",
        *,
        told: int | None = None,
        again: bool = False,
        died: tuple[int, int] | None = None,
        after: int | None = None,
    ) -> None:
        self.name = name
        self.told = told
        self.again = again
        self.died = died
        self.after = after


PYTHON = Executor("python")
"""For a launch within a process that has more to do."""


def has_left() -> bool:
    """Whether the native front has found this launch in the plan cache, and left it to Python."""
    return os.environ.get(VARIABLE, "").startswith("kept:")


def is_absent() -> bool:
    """Whether Python itself looks in the plan cache: it executes plans, and no native front has looked."""
    text = os.environ.get(VARIABLE, "")
    return (text == "python" and not by_front()) or (not text and not os.path.exists(BINARY))


def by_front() -> bool:
    """Whether the native front that is installed beside this script has started this process."""
    is_script = bool(sys.flags.isolated) and os.path.basename(sys.argv[0]) == SCRIPT
    return is_script and os.path.exists(BINARY)


def starts_children() -> bool:
    """Whether the child of a supervisor in Python is the native program's (`child`), not a fork."""
    return os.environ.get(VARIABLE, "") != "python" and os.access(BINARY, os.X_OK)


def again() -> tuple[str, ...]:
    """The words that execute this program anew; () if it may not be found again.

    By then a command may have run and written into the working directory, so nothing is imported from there any more.
    """
    if not sys.executable:
        return ()
    if sys.flags.safe_path:
        return (sys.executable, *sys.orig_argv[1:])
    root = os.path.dirname(os.path.dirname(os.path.dirname(BINARY)))
    return (sys.executable, "-P", *sys.orig_argv[1:]) if root in sys.path else ()
