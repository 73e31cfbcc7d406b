"""`sandrun doctor`: what this kernel, this user and this container can enforce, why not more, and what to do.

Exit status: 0 if the built-in profile `default` can be launched here, 1 if not, 2 wrong usage, 125 could not tell.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from sandrun import report
from sandrun.errors import SandrunError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.doctor.packages import Package
    from sandrun.doctor.probes import Facts
    from sandrun.doctor.protections import Verdict
    from sandrun.doctor.rows import Row
    from sandrun.kernel import Kernel

EXIT_NO = 1
REFUSED = "refused"
TRIED = "default"
"""The built-in profile that is launched for real, and decides about the exit status."""
GREEN, YELLOW, RED = "32", "33", "31"
COLOURS = {"ok": GREEN, "runs": GREEN, "partial": YELLOW, "loses": YELLOW, "no": RED, REFUSED: RED}


def main(argv: Sequence[str]) -> int:
    """Do what the words after `sandrun doctor` say and return the exit status.

    Raises click.UsageError and SandrunError.
    """
    status = doctor.main(args=list(argv), prog_name="sandrun doctor", standalone_mode=False)
    return status if isinstance(status, int) else 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> int:
    """Say what this kernel, this user and this container can enforce, why not more, and what to do.

    The exit status is 0 if the built-in profile default can be launched here, 1 if not.
    """
    from sandrun.doctor.packages import packages  # noqa: PLC0415 (--help does without it)

    needed = packages()
    broken = [f"{package.name}: {package.problem}" for package in needed if package.problem]
    if broken:
        raise SandrunError(
            "cannot tell: needed packages cannot be used: " + "; ".join(broken), hint="install them again"
        )
    document = examine(needed)
    report.emit(report.to_json(document, indent=2) if as_json else text(document, colours=_colours()))
    states = {profile["name"]: profile["state"] for profile in document["profiles"]}
    return EXIT_NO if states[TRIED] == REFUSED else 0


def examine(needed: Sequence[Package]) -> dict[str, Any]:
    """Everything that the doctor finds, as JSON holds it. Raises SandrunError if nothing can be tried at all."""
    from sandrun import kernel as kernels  # noqa: PLC0415 (these need the packages, which were looked at before)
    from sandrun.doctor import probes  # noqa: PLC0415
    from sandrun.doctor.mechanisms import mechanisms, usable  # noqa: PLC0415
    from sandrun.doctor.protections import protections  # noqa: PLC0415
    from sandrun.host import System  # noqa: PLC0415

    kernel = kernels.probe()
    facts = probes.probe(kernel)
    works = usable(kernel, facts)
    return {
        "sandrun": report.SCHEMA,
        "system": _system(kernel, facts, needed),
        "facts": dict(sorted(kernels.names(works).items())),
        "mechanisms": [_row(row, "found") for row in mechanisms(kernel, facts)],
        "protections": [_row(row, "mechanisms") for row in protections(works, System())],
        "profiles": [_verdict(verdict) for verdict in _verdicts(works)],
    }


def _verdicts(kernel: Kernel) -> Iterable[Verdict]:
    from sandrun.doctor.protections import verdict  # noqa: PLC0415
    from sandrun.doctor.trial import Elsewhere, try_launch  # noqa: PLC0415
    from sandrun.profile import load  # noqa: PLC0415
    from sandrun.profile.find import BUILTIN, builtin_directory, names_in  # noqa: PLC0415

    for name in names_in(builtin_directory()):
        profile = load((BUILTIN + name,))
        launch = functools.partial(try_launch, profile) if name == TRIED else lambda _: ()
        yield verdict(profile, kernel, Elsewhere(), launch)


def _system(kernel: Kernel, facts: Facts, needed: Iterable[Package]) -> dict[str, Any]:
    from sandrun.primitives.seccomp_compile import library_version  # noqa: PLC0415

    return {
        "arch": kernel.arch,
        "release": kernel.release,
        "uid": kernel.uid,
        "container": facts.container or None,
        "no_new_privs": facts.no_new_privs,
        "seccomp_mode": facts.seccomp_mode,
        "security_modules": list(facts.lsm),
        "security_label": facts.label or None,
        "hidepid": facts.hidepid or None,
        "sysctls": dict(facts.sysctls),
        "python": ".".join(map(str, sys.version_info[:3])),
        "libseccomp": library_version(),
        "packages": {package.name: package.version for package in needed},
    }


def _row(row: Row, by: str) -> dict[str, Any]:
    document: dict[str, Any] = {"name": row.name, "state": row.state}
    if row.key:
        document["key"] = row.key
    return document | {by: list(row.by), "why": list(row.why), "hints": list(row.hints), "notes": list(row.notes)}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "name": verdict.name,
        "description": verdict.description,
        "state": verdict.state,
        "lost": [{"key": key, "lost": lost} for key, lost in verdict.lost],
        "why": list(verdict.why),
        "hints": list(verdict.hints),
    }


# --- for people ----------------------------------------------------------------------------------------------------


def text(document: Mapping[str, Any], *, colours: bool = False) -> str:
    """The document in lines: what, how far, by what; below it why not further and what to do."""
    lines = [*_about(document["system"])]
    lines.append("facts: " + ", ".join(f"{name} {_word(value)}" for name, value in document["facts"].items()))
    for title in ("mechanisms", "protections", "profiles"):
        lines += ["", f"{title}:"]
        width = max(len(row["name"]) for row in document[title])
        for row in document[title]:
            last = ", ".join(row.get("found") or row.get("mechanisms") or ()) or row.get("description", "")
            state = f"{row['state']:7}"
            shown = f"\x1b[{COLOURS[row['state']]}m{state}\x1b[0m" if colours else state
            lines.append(f"  {row['name']:{width}}  {shown}  {report.printable(last)}".rstrip())
            lines += _below(row)
    return "".join(f"{line}\n" for line in lines)


def _about(system: Mapping[str, Any]) -> list[str]:
    first = f"Linux {system['release']} {system['arch']}, uid {system['uid']}"
    if system["container"]:
        first += f", seems to be a container ({system['container']})"
    second = f"Python {system['python']}, libseccomp {system['libseccomp']}"
    modules = ", ".join(system["security_modules"])
    third = [f"security modules: {modules}"] if modules else []
    return [report.printable(line) for line in (first, second, *third)]


def _below(row: Mapping[str, Any]) -> list[str]:
    lines = [f"lost: {lost['key']}: {lost['lost']}" for lost in row.get("lost", ())]
    lines += [f"why: {why}" for why in row["why"]]
    lines += [f"hint: {hint}" for hint in row["hints"]]
    lines += [f"note: {note}" for note in row.get("notes", ())]
    return [f"      {report.printable(line)}" for line in lines]


def _word(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _colours() -> bool:
    """Only for a terminal, and never with NO_COLOR (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and os.isatty(1)
