"""How a run went: its end, what was refused when, its processes and figures, and what became of its files."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from sandrun.page import reading
from sandrun.page.content import (
    BAD,
    GOOD,
    QUIET,
    WARN,
    Cell,
    Facts,
    Moment,
    Note,
    Section,
    Table,
    TimeLine,
    code,
    note,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandrun.page.content import Block

MOST_DENIALS = 500
MOST_ROWS = 500
MOST_TIMES = 50
"""Marks on the line of one denial."""
STANDINGS = {"cause": ("likely cause", BAD), "possible": ("perhaps", WARN), "shrugged": ("went on without", QUIET)}


def ending(record: Mapping[str, Any]) -> tuple[str, str]:
    """How it ended, in one sentence, and the tone of it."""
    if record.get("outcome") is None and "status" not in record:
        failed = reading.member(record, "explained", "failed")
        if failed is None:
            return "Nothing was run." if record.get("plan") else "How the command ended is not in this record.", QUIET
        return ("The command failed.", BAD) if failed else ("The command ended well.", GOOD)
    status = reading.text(record.get("status"))
    if record.get("started") is not True:
        return (f"The command did not run: status {status}.", BAD if status != "0" else QUIET)
    how, ended = reading.member(record, "outcome", "how"), f"sandrun exited with {status}"
    if how == "timeout":
        return f"The timeout ended the command: {ended}.", BAD
    if how == "signal":
        number = reading.count(reading.member(record, "outcome", "signal"))
        return f"{_signal(number)} ended the command: {ended}.", BAD
    own = reading.text(reading.member(record, "outcome", "status"))
    if own != status:
        return f"The command exited with {own}, and {ended}.", BAD
    return f"The command exited with {status}.", GOOD if status == "0" else BAD


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"Signal {number}"


def outcome(record: Mapping[str, Any]) -> Section:
    """The command and its end."""
    ended = reading.member(record, "outcome")
    plan = reading.member(record, "plan")
    facts: list[tuple[str, tuple[Cell, ...]]] = [
        ("command", (code(" ".join(reading.words(record.get("command")))),)),
        ("program", (code(reading.text(reading.member(plan, "command", "executable"))),)),
        ("directory", (code(reading.text(reading.member(plan, "command", "cwd"))),)),
        ("profile", (code(reading.text(reading.member(plan, "profile", "name"))),)),
        ("layers", tuple(map(code, reading.words(reading.member(plan, "profile", "layers"))))),
        ("wall clock", (Cell(reading.duration(reading.member(ended, "wall"))),)),
        ("ended by sandrun", (_left_over(ended),)),
        ("still alive", (Cell(", ".join(reading.words(reading.member(ended, "survivors"))), BAD),)),
    ]
    blocks: list[Block] = [Facts(_said(facts))]
    blocks += [Note((Cell("error: " + text),), BAD) for text in reading.words(record.get("errors"))]
    blocks += [Note((Cell("warning: " + text),), WARN) for text in reading.words(record.get("warnings"))]
    for row in reading.rows(reading.member(ended, "left"))[:MOST_ROWS]:
        words = (Cell("not removed:"), code(reading.text(row.get("path"))), Cell(reading.text(row.get("reason"))))
        blocks.append(Note(words, WARN))
    return Section("outcome", "Outcome", tuple(blocks))


def _left_over(ended: object) -> Cell:
    killed = reading.count(reading.member(ended, "killed"))
    return Cell(f"{killed} process{'' if killed == 1 else 'es'} that it left behind" if killed else "")


def _said(rows: Iterable[tuple[str, tuple[Cell, ...]]]) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """Without the facts of which nothing is known."""
    return tuple((name, cells) for name, cells in rows if any(cell.text for cell in cells))


# --- what was refused ----------------------------------------------------------------------------------------------


def refused(record: Mapping[str, Any]) -> Section:
    """The denials on a time line."""
    explained = reading.member(record, "explained")
    by_filter = _by_filter(record)
    if not isinstance(explained, dict):
        network = reading.rows(reading.member(record, "outcome", "network", "refused"))
        more = " What the network refused is below." if network else ""
        blocks: tuple[Block, ...] = (note(f"Not observed: --explain says what was refused, and why.{more}"),)
        return Section("refused", "Refused", (*blocks, *by_filter))
    found = [
        (finding, denial)
        for finding in reading.rows(explained.get("findings"))
        for denial in reading.rows(finding.get("denials"))
    ]
    if not found:
        blocks = (note("Nothing was refused."),)
    else:
        moments = sorted((_moment(*one) for one in found[:MOST_DENIALS]), key=_order)
        wall = reading.number(reading.member(record, "outcome", "wall")) or 0
        last = max((at for moment in moments for at in moment.at), default=0)
        line = TimeLine("Denials by time", max(wall, last, 1e-6), tuple(moments), max(0, len(found) - MOST_DENIALS))
        text = f"{len(found)} thing{' was' if len(found) == 1 else 's were'} refused. Marks are the last time of each process."
        blocks = (note(text), line)
    if explained.get("complete") is False:
        blocks += (note(f"Not everything was seen: {reading.text(explained.get('gap'))}", WARN),)
    return Section("refused", "Refused", (*blocks, *by_filter))


def _order(moment: Moment) -> tuple[float, ...]:
    return moment.at[-1:] or (float("inf"),)


def _moment(finding: Mapping[str, Any], denial: Mapping[str, Any]) -> Moment:
    words, tone = STANDINGS.get(reading.text(finding.get("standing")), ("refused", QUIET))
    who = reading.rows(denial.get("who"))
    known = [one for one in who if reading.count(one.get("pid"))]
    at = sorted(at for one in known[:MOST_TIMES] for at in reading.seconds(one.get("last")))
    lines: list[tuple[Cell, ...]] = [(Cell(reading.text(denial.get("reason"))),)]
    walls = ", ".join(reading.words(denial.get("mechanisms")))
    if walls:
        lines.append((Cell(f"refused by {walls}", QUIET),))
    ordinary = reading.text(denial.get("ordinary"))
    if ordinary:
        lines.append((Cell(f"it would fail without sandrun too: {ordinary}"),))
    if known:
        lines.append(_who(known, reading.count(denial.get("times"))))
    lines += _remedy(finding.get("remedy"))
    return Moment(tuple(at), (Cell(words, tone), code(reading.text(denial.get("what")))), tuple(lines), tone)


def _who(known: list[Mapping[str, Any]], times: int) -> tuple[Cell, ...]:
    first = known[0]
    program = reading.text(first.get("program")).rpartition("/")[2] or "unknown"
    more = f" and {len(known) - 1} more" if len(known) > 1 else ""
    often = f", {times} times" if times > 1 else ""
    return (Cell("by"), code(program), Cell(f"process {reading.text(first.get('pid'))}{more}{often}", QUIET))


def _remedy(remedy: object) -> Iterable[tuple[Cell, ...]]:
    flag, toml, text = (reading.text(reading.member(remedy, name)) for name in ("flag", "toml", "text"))
    if flag:
        yield (Cell("to allow it:"), code(flag), *((Cell("or"), code(toml)) if toml else ()), Cell(text))
    elif text:
        yield (Cell(f"to allow it: {text}"),)


def _by_filter(record: Mapping[str, Any]) -> tuple[Block, ...]:
    found = reading.rows(reading.member(record, "trace", "refused"))
    rows = tuple(
        (
            code(reading.text(row.get("syscall"))),
            Cell(reading.text(row.get("error"))),
            Cell(reading.text(row.get("calls"))),
        )
        for row in found[:MOST_ROWS]
    )
    head = ("system call", "answer", "calls")
    return (Table("Refused by the filters", head, rows, max(0, len(found) - MOST_ROWS)),) if rows else ()


# --- processes and figures -----------------------------------------------------------------------------------------


def processes(record: Mapping[str, Any]) -> Section:
    """Who took part."""
    found = reading.rows(reading.member(record, "used", "processes"))
    if not isinstance(reading.member(record, "used"), dict):
        return Section("processes", "Processes", (note("Not observed: --explain with --report lists them."),))
    rows = []
    for row in found[:MOST_ROWS]:
        status = reading.text(row.get("status"))
        first, last = reading.duration(row.get("first")), reading.duration(row.get("last"))
        end = (
            Cell("ended by a signal, or unseen", QUIET) if not status else Cell(status, GOOD if status == "0" else WARN)
        )
        cells = (Cell(reading.text(row.get("pid"))), code(reading.text(row.get("program"))), Cell(first), Cell(last))
        rows.append((*cells, Cell(reading.text(row.get("calls"))), end))
    head = ("process", "program, the last that it ran", "first seen", "last seen", "calls seen", "exit status")
    table = Table("Processes that were seen", head, tuple(rows), max(0, len(found) - MOST_ROWS))
    return Section("processes", "Processes", (table if rows else note("None was seen."),))


def resources(record: Mapping[str, Any]) -> Section:
    """What it took, and the limits that were set."""
    ended = reading.member(record, "outcome")
    group = reading.member(ended, "resources")
    plan = reading.member(record, "plan")
    limits = reading.member(plan, "rlimits")
    facts: list[tuple[str, tuple[Cell, ...]]] = [
        ("processor, in programs", (Cell(reading.duration(reading.member(ended, "user"))),)),
        ("processor, in the kernel", (Cell(reading.duration(reading.member(ended, "system"))),)),
        ("memory of the largest process", (Cell(reading.amount(reading.member(ended, "max_rss"))),)),
        ("memory of the whole tree, peak", (Cell(reading.amount(reading.member(group, "memory_peak"))),)),
        ("processes killed for lack of memory", (_if_any(reading.member(group, "oom_kills")),)),
        ("processes not started for their number", (_if_any(reading.member(group, "pids_refused")),)),
        ("waited for processor time", (Cell(reading.duration(reading.member(group, "throttled"))),)),
        ("limits of the tree", tuple(map(code, reading.words(reading.member(plan, "resources", "limits"))))),
        ("timeout", (Cell(reading.duration(reading.member(plan, "time", "timeout"))),)),
    ]
    for name, value in list(limits.items())[:MOST_TIMES] if isinstance(limits, dict) else ():
        facts.append((f"limit {reading.shorten(name, 40)}", (Cell(_limit(value)),)))
    rows = _said(facts)
    return Section("resources", "Resources", (Facts(rows) if rows else note("Nothing is known of them."),))


def _if_any(value: object) -> Cell:
    return Cell(str(reading.count(value)), BAD) if reading.count(value) else Cell("")


def _limit(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{reading.shorten(name, 20)} {_limit(item)}" for name, item in list(value.items())[:4])
    return reading.text(value) or "unlimited"


# --- workspace and lock --------------------------------------------------------------------------------------------


def workspace(record: Mapping[str, Any]) -> Section | None:
    """What became of the changes; None without a workspace."""
    found = record.get("workspace")
    if not isinstance(found, dict):
        return None
    changes = found.get("changes")
    numbers = [
        f"{reading.count(value)} {reading.shorten(name, 40)}"
        for name, value in (list(changes.items())[:10] if isinstance(changes, dict) else ())
    ]
    rows = _said(
        [
            ("workspace", (code(reading.text(found.get("id"))),)),
            ("directories", tuple(map(code, reading.words(found.get("directories"))))),
            ("changes", (Cell(", ".join(numbers) or "could not be read"),)),
            ("became", (Cell(reading.text(found.get("became"))),)),
            ("committed", (Cell(reading.text(found.get("committed"))),)),
            ("refused", (_if_any(found.get("refused")),)),
            ("left out", (_if_any(found.get("left_out")),)),
        ]
    )
    return Section("workspace", "Workspace", (Facts(rows),))


def locked(record: Mapping[str, Any]) -> Section | None:
    """What the lock says to it; None without a lock."""
    found = record.get("locked")
    if not isinstance(found, dict):
        return None
    needed = reading.words(found.get("needed"))
    blocks: list[Block] = [Facts((("lock", (code(reading.text(found.get("lock"))),)),))]
    if found.get("runs") is not True:
        blocks.append(note("The policy is the one of the lock. What runs use is not recorded in it."))
    elif not needed:
        blocks.append(note("The run needed nothing that earlier ones had not."))
    else:
        blocks.append(note("The run needed what earlier ones had not:", BAD))
        blocks += [Note((code(line),)) for line in needed]
    return Section("locked", "Lock", tuple(blocks))
