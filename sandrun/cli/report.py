"""`sandrun report`: the record of a run for people, as text, as Markdown or as a page of HTML.

Exit status: 0, 2 wrong usage, 125 if the record cannot be read or the page cannot be written.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sandrun import report as reporting
from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from collections.abc import Sequence

_STDIN = "-"


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun report` say and return the exit status. Raises click.UsageError, SandrunError."""
    report.main(args=[*argv], prog_name="sandrun report", standalone_mode=False)
    return 0


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--html", "as_html", is_flag=True, help="Make a page of HTML: one file that loads nothing.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Make Markdown, for the job summary of a CI service.")
@click.option("-o", "--output", metavar="OUT", default="", help="Write it to OUT, instead of standard output.")
def report(file: str, as_html: bool, as_markdown: bool, output: str) -> None:
    """Tell what a record says: how the run ended, what was granted, used and refused, and what stood around it.

    FILE is what --report wrote, what --dry-run --json printed, or the last line of what --explain --json or
    trace --json did; - is standard input.
    """
    from sandrun.cli.record import ReportFile  # noqa: PLC0415 (--help does without all this)
    from sandrun.page import html, markdown, text  # noqa: PLC0415
    from sandrun.page.compose import compose  # noqa: PLC0415
    from sandrun.page.reading import parse  # noqa: PLC0415

    if as_html and as_markdown:
        raise click.UsageError("--html and --markdown exclude each other")
    target = ReportFile(output)
    try:
        page = compose(parse(_read(file)))
    except ValueError as error:
        raise SandrunError(
            f"cannot use the record: {file}: {error}", hint="sandrun --report FILE -- COMMAND writes one"
        ) from None
    made = (html if as_html else markdown if as_markdown else text).render(page)
    if output:
        target.put(made)
    else:
        reporting.emit(made)


def _read(file: str) -> bytes:
    """The bytes of the file, at most one more than a record may have. Raises SandrunError."""
    from sandrun.page.reading import MOST_BYTES  # noqa: PLC0415

    try:
        with open(0 if file == _STDIN else os.fsencode(file), "rb", closefd=file != _STDIN) as stream:
            return stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise SandrunError(f"cannot read the record: {file}: {reporting.reason(error)}") from None
