"""What stood around a run: the network, system calls, protections, and what else its plan says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandrun.page import reading
from sandrun.page.content import BAD, CODE, GOOD, QUIET, WARN, Cell, Facts, Section, Table, code, note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandrun.page.content import Block

MOST_ROWS = 500
STATES = {"enforced": GOOD, "partial": WARN, "lost": BAD}
NO_TRACE = "Not observed: sandrun trace with --report says which were made."


def network(record: Mapping[str, Any]) -> Section:
    """What could be reached, what was, and what was not."""
    blocks: list[Block] = [*_asked(record), *_seen(record), *_passed(reading.member(record, "outcome", "network"))]
    return Section("network", "Network", tuple(blocks))


def _asked(record: Mapping[str, Any]) -> list[Block]:
    """The entries or, if these are not known, the rules."""
    used = reading.member(record, "used")
    grants = [
        row
        for row in reading.rows(reading.member(used, "grants"))
        if reading.text(row.get("key")).startswith("network.")
    ]
    if grants:
        rows = tuple(
            (
                code(reading.text(row.get("key"))),
                code(reading.text(row.get("text"))),
                Cell("used", QUIET) if reading.count(row.get("times")) else Cell("not used", WARN),
                Cell(reading.text(row.get("times"))),
            )
            for row in grants[:MOST_ROWS]
        )
        head = ("key", "entry", "use", "times")
        return [Table("Granted", head, rows, max(0, len(grants) - MOST_ROWS))]
    plan = reading.member(record, "plan", "network")
    if plan is None:
        return [note("What was granted is not known.")]
    words = {"connect": "connect", "deny": "never", "private": "names may resolve to", "publish": "shown on the host"}
    facts = [
        (f"{word} ({by})", tuple(map(code, reading.words(reading.member(plan, by, key)))))
        for by in ("relay", "broker")
        for key, word in words.items()
    ]
    ports = [
        f"{reading.text(row.get('port'))} ({', '.join(reading.words(row.get('access')))})"
        for row in reading.rows(reading.member(plan, "ports"))[:MOST_ROWS]
    ]
    facts.append(("ports", tuple(map(code, ports))))
    found = tuple((name, cells) for name, cells in facts if cells)
    return [Facts(found)] if found else [note("No place of the network was granted by name, address or port.")]


def _seen(record: Mapping[str, Any]) -> list[Block]:
    used = reading.member(record, "used")
    found = reading.rows(reading.member(used, "endpoints"))
    if not found:
        return [note("No use of it was seen.")] if isinstance(used, dict) else []
    rows = []
    for row in found[:MOST_ROWS]:
        place = f"{reading.text(row.get('host'))} {reading.text(row.get('port'))}".removesuffix(" 0").strip()
        protocol, act = reading.text(row.get("protocol")), reading.text(row.get("act"))
        program = reading.text(row.get("program")).rpartition("/")[2]
        rows.append((Cell(act), Cell(protocol), code(place), Cell(reading.text(row.get("times"))), code(program)))
    head = ("call", "protocol", "address", "times", "program")
    return [Table("Asked for, and not refused", head, tuple(rows), max(0, len(found) - MOST_ROWS))]


def _passed(traffic: object) -> list[Block]:
    """What the relay or the broker did."""
    if not isinstance(traffic, dict):
        return []
    blocks: list[Block] = []
    if traffic.get("complete") is not True:
        blocks.append(note("The relay left no record of what it did.", BAD))
    found = reading.rows(traffic.get("endpoints"))
    rows = tuple(
        (
            code(reading.text(row.get("endpoint"))),
            Cell(reading.text(row.get("connections"))),
            Cell(_failures(row), WARN if reading.count(row.get("failed")) else ""),
            Cell(reading.amount(row.get("sent")) or "not seen"),
            Cell(reading.amount(row.get("received")) or "not seen"),
        )
        for row in found[:MOST_ROWS]
    )
    if rows:
        head = ("endpoint", "connections", "failed", "sent", "received")
        blocks.append(Table("Connected", head, rows, max(0, len(found) - MOST_ROWS)))
    found = reading.rows(traffic.get("refused"))
    columns = ("what", "target", "reason", "count")
    refused = tuple(
        tuple(Cell(reading.text(row.get(name)), CODE if name == "target" else "") for name in columns)
        for row in found[:MOST_ROWS]
    )
    more = max(0, len(found) - MOST_ROWS) + reading.count(traffic.get("others"))
    if refused:
        blocks.append(Table("Refused", ("what", "target", "reason", "times"), refused, more))
    for row in reading.rows(traffic.get("published"))[:MOST_ROWS]:
        text = f"port {reading.text(row.get('port'))} was shown on the host: {reading.count(row.get('connections'))} connections"
        blocks.append(note(text))
    return blocks or [note("Nothing went through it.")]


def _failures(row: Mapping[str, Any]) -> str:
    failed = reading.count(row.get("failed"))
    error = reading.text(row.get("error"))
    return f"{failed}: {error}" if failed and error else str(failed)


# --- system calls --------------------------------------------------------------------------------------------------


def syscalls(record: Mapping[str, Any]) -> Section:
    """Which were made, and what would have been enough."""
    trace = reading.member(record, "trace")
    programs = reading.rows(reading.member(record, "plan", "syscalls", "programs"))
    filters: list[Block] = []
    if programs:
        sizes = [f"{reading.text(row.get('instructions'))} instructions" for row in programs[:20]]
        filters = [Facts((("filters", (Cell(", ".join(sizes)),)),))]
    if not isinstance(trace, dict):
        return Section("syscalls", "System calls", (note(NO_TRACE), *filters))
    found = reading.rows(trace.get("syscalls"))
    rows = tuple(
        (
            code(reading.text(row.get("syscall"))),
            Cell(reading.text(row.get("calls"))),
            code(reading.text(reading.member(row, "first", "program")).rpartition("/")[2]),
        )
        for row in found[:MOST_ROWS]
    )
    facts = [
        ("all together", (Cell(reading.text(trace.get("total"))),)),
        ("sets", tuple(map(code, reading.words(trace.get("sets"))))),
        ("besides these sets", tuple(map(code, reading.words(trace.get("besides_sets"))))),
        ("promises", tuple(map(code, reading.words(trace.get("promises"))))),
        ("besides these promises", tuple(map(code, reading.words(trace.get("besides_promises"))))),
    ]
    blocks: list[Block] = [Facts(tuple((name, cells) for name, cells in facts if cells)), *filters]
    if reading.text(trace.get("gap")):
        blocks.append(note(f"Something may be missing: {reading.text(trace.get('gap'))}", WARN))
    blocks.append(Table("Calls", ("system call", "calls", "first by"), rows, max(0, len(found) - MOST_ROWS)))
    profiles = reading.rows(trace.get("profiles"))
    if profiles:
        rows = tuple(
            (
                code(reading.text(row.get("profile"))),
                Cell(reading.text(row.get("allows"))),
                code(", ".join(reading.words(row.get("needless"))) or "nothing"),
            )
            for row in profiles[:MOST_ROWS]
        )
        name = "Built-in profiles that would let these calls through, the tightest first"
        head = ("profile", "allows", "needless; of the others: beyond the first")
        blocks.append(Table(name, head, rows))
    return Section("syscalls", "System calls", tuple(blocks))


# --- protections and the rest of the plan --------------------------------------------------------------------------


def protections(record: Mapping[str, Any]) -> Section:
    """What was kept, how, and what was not."""
    rows = []
    found = reading.rows(record.get("protections"))
    for row in sorted(found[:MOST_ROWS], key=lambda one: reading.text(one.get("state")) == "enforced"):
        state = reading.text(row.get("state"))
        lost = [Cell(text, BAD) for text in reading.words(row.get("lost"))]
        notes = [Cell(text, QUIET) for text in reading.words(row.get("notes"))]
        asked = reading.words(row.get("requested"))
        by = asked[0] + (f" and {len(asked) - 1} more" if len(asked) > 1 else "") if asked else ""
        said = "; ".join(cell.text for cell in (*lost, *notes))
        cells = (code(reading.text(row.get("key"))), Cell(state, STATES.get(state, WARN)))
        how = Cell(", ".join(reading.words(row.get("mechanisms"))) or "nothing")
        rows.append((*cells, how, Cell(by, QUIET), Cell(reading.shorten(said), BAD if lost else QUIET)))
    if not rows:
        return Section("protections", "Protections", (note("None are in this record."),))
    head = ("protection", "state", "kept by", "asked for by", "lost, or to know")
    return Section(
        "protections",
        "Protections",
        (Table("Each protection, and what keeps it", head, tuple(rows), max(0, len(found) - MOST_ROWS)),),
    )


def setting(record: Mapping[str, Any]) -> Section | None:
    """What else the plan says of the process; None without a plan."""
    plan = reading.member(record, "plan")
    if not isinstance(plan, dict):
        return None
    facts: list[tuple[str, tuple[Cell, ...]]] = []
    for part in ("privileges", "process", "environment"):
        values = plan.get(part)
        for name, value in list(values.items())[:MOST_ROWS] if isinstance(values, dict) else ():
            label = f"{part}.{reading.shorten(name, 40)}"
            facts.append((label, tuple(map(code, _values(value)))))
    rows = tuple((name, cells) for name, cells in facts if any(cell.text for cell in cells))
    return Section("setting", "Process and environment", (Facts(rows) if rows else note("Nothing is set."),))


def _values(value: object) -> list[str]:
    if isinstance(value, list):
        return reading.words(value) or ["none"]
    if isinstance(value, dict):
        return [
            f"{reading.shorten(name, 40)} {reading.text(item) or 'none'}" for name, item in list(value.items())[:50]
        ]
    return [reading.text(value)]
