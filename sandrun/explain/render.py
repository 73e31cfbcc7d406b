"""Findings as lines for people and as a document for programs."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from sandrun.explain.causes import CAUSE, SHRUGGED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sandrun.explain.causes import Finding
    from sandrun.explain.denials import Denial

MOST_HEARD = 12
"""Causes and possible ones that the text has; whoever is refused more than that, wants another profile."""
MOST_SHRUGGED = 10
"""Things that did no harm which the text names; `--json` has them all, and what would allow them."""
MOST_TOGETHER = 5


def text(findings: Sequence[Finding], *, failed: bool, gap: str = "") -> list[str]:
    """What to say on stderr, without the `sandrun: ` before each line."""
    lines: list[str] = []
    heard = [finding for finding in findings if finding.standing != SHRUGGED]
    quiet = [finding for finding in findings if finding.standing == SHRUGGED]
    for finding in heard[:MOST_HEARD]:
        lines += _finding(finding, "likely cause" if finding.standing == CAUSE else "perhaps")
    if len(heard) > MOST_HEARD:
        lines.append(f"and {len(heard) - MOST_HEARD} more, which --json has")
    if failed and not heard:
        lines.append("explain: nothing was refused that the command can have failed of")
    elif not findings:
        lines.append("explain: nothing was refused")
    if quiet:
        lines.append("refused as well, and the command went on without:" if failed else "refused, and no harm done:")
        lines += [f"  {_tried(finding.denials[0])}" for finding in quiet[:MOST_SHRUGGED]]
        if len(quiet) > MOST_SHRUGGED:
            lines.append(f"  and {len(quiet) - MOST_SHRUGGED} more")
    if gap:
        lines.append(f"explain: not everything was seen: {gap}")
    return lines


def _finding(finding: Finding, head: str) -> list[str]:
    first = finding.denials[0]
    lines = [f"{head}: {_tried(first)}{_who(first)}"]
    lines += [f"  also: {_tried(denial)}" for denial in finding.denials[1:MOST_TOGETHER]]
    if len(finding.denials) > MOST_TOGETHER:
        lines.append(f"  and {len(finding.denials) - MOST_TOGETHER} more of the same")
    if first.ordinary:
        lines.append(f"  it would fail without sandrun too: {first.ordinary}")
    remedy = finding.remedy
    if remedy.flag:
        more = f" ({remedy.text})" if remedy.text else ""
        lines.append(f"  to allow it: {remedy.flag}    or in the profile: {remedy.toml}{more}")
    elif remedy.text:
        lines.append(f"  to allow it: {remedy.text}")
    return lines


def _tried(denial: Denial) -> str:
    return f"{denial.words}: {denial.reason}"


def _who(denial: Denial) -> str:
    """Which program and process tried it, and how often."""
    known = [who for who in denial.who if who.pid]
    if not known:
        return ""
    last = max(known, key=lambda who: who.last)
    times = f", {denial.times} times" if denial.times > 1 else ""
    others = len({who.pid for who in known}) - 1
    more = f" and {others} more" if others else ""
    return f" [{posixpath.basename(last.program) or 'unknown'}, pid {last.pid}{more}{times}]"


def document(findings: Sequence[Finding], *, failed: bool, gap: str = "") -> dict[str, Any]:
    """The findings as `--json` and `--report` have them."""
    return {
        "failed": failed,
        "complete": not gap,
        "gap": gap or None,
        "findings": [
            {
                "standing": finding.standing,
                "remedy": {
                    "flag": finding.remedy.flag or None,
                    "toml": finding.remedy.toml or None,
                    "text": finding.remedy.text or None,
                },
                "denials": list(_denials(finding)),
            }
            for finding in findings
        ],
    }


def _denials(finding: Finding) -> Iterator[Mapping[str, Any]]:
    for denial in finding.denials:
        yield {
            "act": denial.act,
            "target": denial.target,
            "what": denial.words,
            "reason": denial.reason,
            "entries": [{**entry._asdict(), "through": list(entry.through)} for entry in denial.entries],
            "mechanisms": list(denial.mechanisms),
            "ordinary": denial.ordinary or None,
            "times": denial.times,
            "who": [{"program": who.program, "pid": who.pid, "last": round(who.last, 6)} for who in denial.who],
        }
