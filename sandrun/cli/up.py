"""`sandrun up`: several commands together, each under a profile of its own.

Exit status: by the group's own rule; 128 + n after a signal n; 2 wrong usage; 125 if the file is wrong or the group cannot
be run.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from sandrun import native, report
from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.group.model import Group


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun up` say and return the exit status. Raises click.UsageError, SandrunError."""
    status = up.main(args=[*argv], prog_name="sandrun up", standalone_mode=False, obj=tuple(argv))
    return status if isinstance(status, int) else 0


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Write events to standard output, as JSON lines.")
@click.option("--dry-run", "-n", is_flag=True, help="Check FILE, print what would be started, and run nothing.")
@click.pass_obj
def up(argv: tuple[str, ...], file: str, as_json: bool, dry_run: bool) -> int:
    """Run the commands of the group that FILE describes, each under a profile of its own.

    None of them starts before all are confined. What they write goes to standard error, with their names. SIGTERM or
    SIGINT stops the group in the reverse order of its start; a second one kills it.
    """
    from sandrun.group.reading import read_group  # noqa: PLC0415 (--help does without all this)

    group = read_group(file)
    if dry_run:
        report.emit(_shown(group))
        return 0
    from sandrun.group.supervisor import supervise  # noqa: PLC0415

    return supervise(group, _own_words(argv), as_json=as_json)


def _own_words(argv: Sequence[str]) -> tuple[str, ...]:
    """The words that execute sandrun, as this process was executed. Raises SandrunError."""
    given = ["up", *argv]
    words = native.again()
    if not words or list(words[-len(given) :]) != given:
        raise SandrunError("cannot run a group: it is not known how sandrun was started", hint="start it as sandrun")
    own = words[: -len(given)]
    front = os.path.join(os.path.dirname(sys.argv[0]), "sandrun")
    is_front = os.path.basename(sys.argv[0]) == "sandrun-python" and os.access(front, os.X_OK)
    return (os.path.abspath(front),) if is_front else own


def _shown(group: Group) -> str:
    """The commands in the order of their start."""
    lines = []
    for command in group.commands:
        after = f" after {', '.join(command.after)}" if command.after else ""
        words = report.printable(" ".join(command.argv))
        lines.append(f"{command.name}{after}: {words} (profile {', '.join(command.profiles)})\n")
    return "".join(lines)
