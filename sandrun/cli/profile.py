"""`sandrun profile list|show|check|schema|diff|audit`: look at profiles without running anything.

Exit status: 0 yes, 1 no (problems found, or the two differ), 2 wrong usage, 125 could not tell.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sandrun import report
from sandrun.cli.audit import audit
from sandrun.errors import ProfileError
from sandrun.profile.bad import Bad, escaped
from sandrun.profile.find import NONE, Found, available, builtin_directory, locate

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_NO = 1


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun profile` say and return the exit status.

    Raises click.UsageError and SandrunError.
    """
    status = profile.main(args=list(argv), prog_name="sandrun profile", standalone_mode=False)
    return status if isinstance(status, int) else 0


@click.group(no_args_is_help=False)
def profile() -> None:
    """Look at profiles: which there are, what they say, whether they are right, how they differ, what they leave open."""


profile.add_command(audit)


@profile.command("list")
@click.option("--names", is_flag=True, help="Names only, one a line: what completion asks for.")
def list_(names: bool) -> int:
    """The profiles that a NAME finds: name, where from, description."""
    if names:
        report.emit("".join(f"{found.word}\n" for found in available()))
        return 0
    from sandrun.profile.loader import read_layer  # noqa: PLC0415 (--help does without it)

    rows = []
    for found in available():
        try:
            description = read_layer(found)[0].profile.description
        except (ProfileError, Bad) as error:
            description = f"(cannot be used: {escaped(str(error))})"
        where = os.path.dirname(found.path)
        rows.append((escaped(found.word), "built in" if where == builtin_directory() else escaped(where), description))
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    report.emit(
        "".join(f"{name:{widths[0]}}  {where:{widths[1]}}  {text}".rstrip() + "\n" for name, where, text in rows)
    )
    return 0


@profile.command()
@click.argument("name")
@click.option("--effective", is_flag=True, help="With everything that `extends` brings, and where each value is from.")
def show(name: str, effective: bool) -> int:
    """Print the profile NAME (or a path with a slash) as TOML. Values of environment variables are left out."""
    from sandrun.profile import write  # noqa: PLC0415 (--help does without it)
    from sandrun.profile.loader import load_file, read_layer  # noqa: PLC0415

    try:
        if name == NONE:
            report.emit("schema = 1\n")
            return 0
        found = locate(name)
        text = write.profile_text(load_file(found)) if effective else write.layer_text(read_layer(found)[0])
    except Bad as bad:
        raise bad.as_error() from None
    report.emit(f"# {found.source}\n{text}")
    return 0


@profile.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def check(files: tuple[str, ...]) -> int:
    """Say everything that is wrong with each FILE, one line a problem."""
    from sandrun.profile.loader import load_file  # noqa: PLC0415 (--help does without it)
    from sandrun.profile.source import UnreadableError  # noqa: PLC0415

    lines: dict[str, None] = {}
    for word in files:
        try:
            load_file(_file(word))
        except UnreadableError:
            raise
        except ProfileError as error:
            for line in error.lines():
                lines[escaped(line)] = None
        except Bad as bad:
            raise bad.as_error() from None
    report.emit("".join(f"{line}\n" for line in lines))
    return EXIT_NO if lines else 0


def _file(word: str) -> Found:
    """A word of `check` is a file first, since that is what is being written; else a name."""
    if "/" in word or os.path.lexists(word):
        return Found(word, word, escaped(word))
    return locate(word)


@profile.command()
def schema() -> int:
    """Print the JSON Schema of profiles, for editors."""
    from sandrun.profile.schema import schema as make  # noqa: PLC0415 (--help does without it)

    report.emit(report.to_json(make(), indent=2))
    return 0


@profile.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
def diff(first: str, second: str) -> int:
    """Print what a command may do more (+) or less (-) under B than under A; ~ is neither."""
    from sandrun.profile import diff as comparison  # noqa: PLC0415 (--help does without it)
    from sandrun.profile.loader import load  # noqa: PLC0415

    changes = comparison.diff(load([first]), load([second]))
    report.emit(comparison.text(changes))
    return EXIT_NO if changes else 0
