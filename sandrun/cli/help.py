"""The text of `sandrun --help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sandrun.cli.options import PROFILE_OPTIONS, RUN_OPTIONS, VERB_USAGE, key_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.cli.options import Option


TABLE_TITLES = {
    "filesystem": "Files",
    "network": "Network",
    "syscalls": "Syscalls",
    "privileges": "Privileges",
    "process": "Process",
    "environment": "Environment",
    "broker": "Broker",
    "rlimits": "Resource limits",
    "resources": "Resource limits",
    "time": "Time",
}


def help_text() -> str:
    """The whole of `sandrun --help`, options grouped by the tables of a profile."""
    formatter = click.HelpFormatter(max_width=100)
    formatter.write_usage("sandrun", "[OPTIONS] [--] COMMAND [ARGS]...")
    for line in VERB_USAGE:
        formatter.write(f"       {line}\n")
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(
            "Run COMMAND with only what a profile and the options grant. Everything else is refused, or the command "
            "does not run (status 125). See sandrun(1) and sandrun-profile(5)."
        )
    groups: dict[str, list[tuple[str, str]]] = {"Profiles": _rows(PROFILE_OPTIONS)}
    for option in key_options():
        title = TABLE_TITLES[option.key.partition(".")[0]]
        groups.setdefault(title, []).extend(_rows([option]))
    groups["This run"] = _rows(RUN_OPTIONS)
    for title, rows in groups.items():
        with formatter.section(title):
            formatter.write_dl(rows, col_max=34)
    return formatter.getvalue()


def _rows(options: Iterable[Option]) -> list[tuple[str, str]]:
    rows = []
    for option in options:
        if option.text == "false":
            continue
        names = f"{option.short}, {option.name}" if option.short else option.name
        if option.text == "true":
            names += ", --no-" + option.name.removeprefix("--")
        rows.append((f"{names} {option.metavar}".rstrip(), option.help))
    return rows
