"""What the program that a process was says to the one that takes its place, by a sealed memfd: "PID:WORD:WORD…".

SANDRUN_EXECUTOR then is `python:FD`, or `kept:FD` where it is a launch from the plan cache (sandrun/plancache/kept.py).
The variable alone could be anybody's: who may set those of a launch, but neither start it nor hand it descriptors, would
have it run nothing and end with a status of his choice.
"""

from __future__ import annotations

import os

from sandrun.errors import UsageError
from sandrun.native import VARIABLE, Executor
from sandrun.primitives import fds

MOST_BYTES = (1 << 23) + 128
"""Room for an entry of the plan cache (place.MOST_BYTES) behind the words."""


def tell(words: str) -> bool:
    """Leave these words to the program that this process executes next, if there is room left for them."""
    try:
        fd = fds.sealed("sandrun-said", b"%d:%s" % (os.getpid(), words.encode()))
    except OSError:
        return False
    os.set_inheritable(fd, True)
    os.environ[VARIABLE] = f"python:{fd}"
    return True


def asked() -> Executor:
    """Who is to execute plans, and what was said of the one before. Raises UsageError.

    Nothing but `python` is left of the variable, which holds for every launch within this process (`child`).
    """
    text = os.environ.pop(VARIABLE, "")
    name, colon, number = text.partition(":")
    if name == "python":
        os.environ[VARIABLE] = name
    try:
        words = heard(number).decode("ascii").split(":") if colon else []
        told = words.index("told") if "told" in words else None
        died = words.index("died") if "died" in words else None
        return Executor(
            ("", "python", "native")[("", "python", "native").index(name)],
            told=None if told is None else int(words[told + 1]),
            again="again" in words,
            died=None if died is None else (int(words[died + 1]), int(words[died + 2])),
            after=int(words[words.index("after") + 1]) if "after" in words else None,
        )
    except (ValueError, IndexError):
        raise UsageError(f"not an executor: {VARIABLE}={text}", hint="native or python") from None


def heard(number: str) -> bytes:
    """What the program before this one left in the descriptor of this number, which is closed.

    Raises ValueError if it is not one that this very process has sealed; then it stays as it is.
    """
    fd = int(number)
    try:
        is_sealed = fds.is_sealed(fd)
        process, _, said = os.pread(fd, MOST_BYTES, 0).partition(b":")
    except (OSError, OverflowError) as error:
        raise ValueError(number) from error
    if not is_sealed or int(process) != os.getpid():
        raise ValueError(number)
    os.close(fd)
    return said
