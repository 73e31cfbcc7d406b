"""`sandrun doctor`: what this kernel, this user and this container can enforce, why not more, and what to do.

Exit status: 0 if the built-in profile `default` can be launched here, 1 if not, 2 wrong usage, 125 could not tell.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from sandrun import report
from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.doctor.probes import Facts, Package
    from sandrun.doctor.protections import Verdict
    from sandrun.doctor.rows import Row
    from sandrun.kernel import Kernel

EXIT_NO = 1
COLOURS = {"ok": "32", "runs": "32", "partial": "33", "loses": "33", "no": "31", "refused": "31"}


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun doctor` say and return the exit status.

    Raises click.UsageError and SandrunError.
    """
    status = doctor.main(args=list(argv), prog_name="sandrun doctor", standalone_mode=False)
    return status if isinstance(status, int) else 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> int:
    """Say what this kernel, this user and this container can enforce, why not more, and what to do."""
    from sandrun.doctor.probes import packages  # noqa: PLC0415 (--help does without it)

    needed = packages()
    broken = [package for package in needed if package.problem]
    if broken:
        lines = "; ".join(f"{package.name}: {package.problem}" for package in broken)
        raise SandrunError(
            f"cannot tell: a package that sandrun needs cannot be used: {lines}", hint="install it again"
        )
    document = examine(needed)
    report.emit(report.to_json(document, indent=2) if as_json else text(document, colours=_colours()))
    default = next(one for one in document["profiles"] if one["name"] == "default")
    return EXIT_NO if default["state"] == "refused" else 0


def examine(needed: Sequence[Package]) -> dict[str, Any]:
    """Everything that the doctor finds, as JSON holds it."""
    from sandrun import kernel as kernels  # noqa: PLC0415 (each needs the packages that were checked before)
    from sandrun.doctor import probes  # noqa: PLC0415
    from sandrun.doctor.mechanisms import mechanisms, usable  # noqa: PLC0415
    from sandrun.doctor.protections import protections, verdict  # noqa: PLC0415
    from sandrun.doctor.trial import Elsewhere  # noqa: PLC0415
    from sandrun.profile.find import builtin_directory, names_in  # noqa: PLC0415

    kernel = kernels.probe()
    facts = probes.probe(kernel)
    works = usable(kernel, facts)
    host = Elsewhere()
    return {
        "sandrun": report.SCHEMA,
        "system": _system(kernel, facts, needed),
        "facts": kernels.names(works),
        "mechanisms": [_row(row) for row in mechanisms(kernel, facts)],
        "protections": [_row(row) for row in protections(works)],
        "profiles": [_verdict(verdict(name, works, host)) for name in names_in(builtin_directory())],
    }


def _system(kernel: Kernel, facts: Facts, needed: Iterable[Package]) -> dict[str, Any]:
    return {
        "arch": kernel.arch,
        "release": kernel.release,
        "uid": kernel.uid,
        "no_new_privs": facts.no_new_privs,
        "seccomp_mode": facts.seccomp_mode,
        "container": facts.container or None,
        "lsm": list(facts.lsm),
        "label": facts.label or None,
        "hidepid": facts.hidepid or None,
        "sysctls": dict(facts.sysctls),
        "python": facts.python,
        "libseccomp": facts.libseccomp,
        "packages": {package.name: package.version for package in needed},
    }


def _row(row: Row) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row._asdict().items()}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.name,
        "state": verdict.state,
        "lost": [{"key": key, "lost": lost} for key, lost in verdict.lost],
        "why": list(verdict.why),
        "todo": list(verdict.todo),
    }


# --- for people ----------------------------------------------------------------------------------------------------


def text(document: dict[str, Any], *, colours: bool = False) -> str:
    """The document in columns: name, state, what by; below it why no further and what to do."""
    system = document["system"]
    lines = [f"Linux {system['release']} {system['arch']}, uid {system['uid']}"]
    lines[0] += f", in a container ({system['container']})" if system["container"] else ""
    lines.append(f"Python {system['python']}, libseccomp {system['libseccomp']}")
    lines.append("facts: " + ", ".join(f"{name} {_value(value)}" for name, value in document["facts"].items()))
    for title in ("mechanisms", "protections", "profiles"):
        lines += ["", f"{title}:"]
        width = max(len(row["name"]) for row in document[title])
        for row in document[title]:
            lines += _lines(row, width, colours=colours)
    return "".join(f"{line}\n" for line in lines)


def _lines(row: dict[str, Any], width: int, *, colours: bool) -> list[str]:
    state = row["state"]
    shown = f"\x1b[{COLOURS[state]}m{state:7}\x1b[0m" if colours else f"{state:7}"
    by = report.printable(", ".join(row.get("by", ())))
    below = [("lost", f"{lost['key']}: {lost['lost']}") for lost in row.get("lost", ())]
    below += [("why", line) for line in row["why"]]
    below += [("do", line) for line in row["todo"]]
    below += [("note", line) for line in row.get("notes", ())]
    indent = " " * (width + 4)
    lines = [f"  {row['name']:{width}}  {shown}  {by}".rstrip()]
    return lines + [f"{indent}{word}: {report.printable(line)}" for word, line in below]


def _value(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _colours() -> bool:
    """Only for a terminal, and never with NO_COLOR (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.stdout.isatty()
