"""What a command uses of the broker: its inputs and outputs by name. Nothing but the standard library is needed.

    from sandrun import broker

    with broker.input("archive") as archive, broker.output("listing") as listing:
        listing.write(archive.read(100))

The descriptors are named by the environment, SANDRUN_IN_NAME and SANDRUN_OUT_NAME, so that any program can use them.
What is written to an output reaches its file only after the command has ended with status 0, if the profile's checks
let it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

INPUT, OUTPUT = "SANDRUN_IN_", "SANDRUN_OUT_"
"""What stands before a name in the environment."""


def variable(prefix: str, name: str) -> str:
    """The variable that holds the descriptor of this input or output."""
    return prefix + name.upper().replace("-", "_")


def input(name: str) -> BinaryIO:  # noqa: A001 (what it is)
    """The input of this name, to be read from its start. Raises KeyError if the command was given none of that name.

    Every call opens it anew, where /proc can be read: each then has a position of its own.
    """
    fd = _descriptor(INPUT, name)
    try:
        return open(f"/proc/self/fd/{fd}", "rb")
    except OSError:
        file = open(os.dup(fd), "rb")  # noqa: SIM115
        file.seek(0)
        return file


def output(name: str) -> BinaryIO:
    """The output of this name, to be written; closing it is no end of it. Raises KeyError if there is none."""
    return open(os.dup(_descriptor(OUTPUT, name)), "wb")


def inputs() -> dict[str, int]:
    """The descriptor of each input, by its name as the environment has it: upper case, with `_`."""
    return _all(INPUT)


def outputs() -> dict[str, int]:
    """The same of the outputs."""
    return _all(OUTPUT)


def _descriptor(prefix: str, name: str) -> int:
    text = os.environ.get(variable(prefix, name), "")
    if not text.isdecimal():
        kind = "input" if prefix == INPUT else "output"
        known = ", ".join(_all(prefix)) or "none"
        raise KeyError(f"the command has no {kind} {name}: there are {known}")
    return int(text)


def _all(prefix: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): int(text)
        for name, text in os.environ.items()
        if name.startswith(prefix) and text.isdecimal()
    }
