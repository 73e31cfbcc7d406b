"""`sandrun profile audit`: what a command could still reach or leave behind under a profile, on this kernel.

Exit status: 0 if nothing is open but what the profile grants, 1 if something is, 2 wrong usage, 125 could not tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sandrun import report
from sandrun.cli import options
from sandrun.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.audit.findings import Finding

EXIT_OPEN = 1
MOST = 3
"""So many grants are named in a line; JSON has all."""
COMMAND = "/bin/sh"
"""Whose plan is looked at: groups such as @runtime depend on the command a little, and this one is everywhere."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="[NAME] [OPTION]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(words: tuple[str, ...], as_json: bool) -> int:
    """Print what a command could reach or leave behind under the profile NAME (default: default), and by what.

    Each OPTION is one of a launch and goes on top of it. The exit status is 0 if nothing is open but what is granted.
    """
    request = _request(words)
    findings = examine(request)
    document = {
        "sandrun": report.SCHEMA,
        "profiles": list(request.profiles or ("default",)),
        "findings": [_as_json(finding) for finding in findings],
    }
    report.emit(report.to_json(document, indent=2) if as_json else text(findings))
    return EXIT_OPEN if any(finding.state == "open" for finding in findings) else 0


def _request(words: Sequence[str]) -> options.Request:
    """The options of a launch, after the name of a profile if there is one. Raises UsageError."""
    name, rest = (words[:1], words[1:]) if words and not words[0].startswith("-") else ((), words)
    profile = [word for one in name for word in ("--profile", one)]
    request = options.parse([*profile, *rest, "--", COMMAND])
    if request.command != (COMMAND,):
        raise UsageError(
            f"not an option: {request.command[0]}", hint="an audit runs no command: name the profile first"
        )
    plain = request._replace(command=(), profiles=(), overrides=(), replace=(), optional=(), require=())
    if plain != options.Request():
        raise UsageError("an audit takes the options that say what is granted", hint="see sandrun profile audit --help")
    return request


def examine(request: options.Request) -> list[Finding]:
    """The findings of what this request would launch here. Raises SandrunError where it could not be launched."""
    from sandrun.audit.findings import Audit  # noqa: PLC0415 (--help does without all this)
    from sandrun.audit.questions import Questions  # noqa: PLC0415
    from sandrun.cli.run import prepare  # noqa: PLC0415
    from sandrun.host import System  # noqa: PLC0415

    prepared = prepare(request, (COMMAND,))
    questions = Questions(prepared.resolution, prepared.kernel, System())
    return Audit(questions, prepared.resolution.enforcement).findings()


def text(findings: Iterable[Finding]) -> str:
    """The lines to print: by topic, the state, what, and the mechanisms or grants; below it the places."""
    lines: list[str] = []
    topic = ""
    findings = list(findings)
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            lines += ["", f"{topic}:"] if lines else [f"{topic}:"]
        shown = [*finding.by[:MOST], f"and {len(finding.by) - MOST} more"] if len(finding.by) > MOST else finding.by
        lines.append(f"  {finding.state:7}  {finding.name:{width}}  {', '.join(shown) or finding.why}".rstrip())
        lines += [f"             {place}" for place in finding.where]
    return "".join(f"{report.printable(line)}\n" for line in lines)


def _as_json(finding: Finding) -> dict[str, Any]:
    return {**finding._asdict(), "by": list(finding.by), "where": list(finding.where)}
