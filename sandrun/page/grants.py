"""The tree of what was granted, and of what was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandrun.page import reading
from sandrun.page.content import (
    CODE,
    LOOKED,
    QUIET,
    UNKNOWN,
    UNUSED,
    USED,
    WARN,
    Cell,
    Node,
    Section,
    Tree,
    code,
    note,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandrun.page.content import Block

MOST_GRANTS = 500
MOST_FILES = 2000
MOST_BELOW = 100
"""Lines directly below one line."""
DEEPEST = 40
NOT_OBSERVED = "not observed: --explain with --report says what a run used"
WRITING = ("filesystem.write", "filesystem.overlay")
READING = ("read_file", "read_dir", "execute", "resolve_unix")
WORDS = {USED: "used", UNUSED: "not used", LOOKED: "only looked at"}


def section(record: Mapping[str, Any]) -> Section:
    """What was granted and what was used: by entries of the profile if that is known, else the rules that were made of it."""
    used = reading.member(record, "used")
    plan = reading.member(record, "plan")
    blocks: tuple[Block, ...]
    if isinstance(used, dict):
        blocks = _observed(used)
    elif isinstance(plan, dict):
        blocks = (note(f"What was used of it is {NOT_OBSERVED}."), *_rules(plan))
    else:
        blocks = (note("Nothing is known of what was granted: there was no plan, or it is not in this record."),)
    return Section("granted", "Granted and used", blocks)


def unused(record: Mapping[str, Any]) -> int | None:
    """How many entries were not used; None where nobody looked."""
    used = reading.member(record, "used")
    if not isinstance(used, dict):
        return None
    return sum(_use(grant) == UNUSED for grant in reading.rows(used.get("grants")))


def _use(grant: Mapping[str, Any]) -> str:
    if reading.count(grant.get("times")):
        return USED
    return LOOKED if reading.count(grant.get("looked")) else UNUSED


# --- by entries ----------------------------------------------------------------------------------------------------


def _observed(used: Mapping[str, Any]) -> tuple[Block, ...]:
    grants = reading.rows(used.get("grants"))
    files: dict[int, list[Mapping[str, Any]]] = {}
    for row in reading.rows(used.get("files"))[:MOST_FILES]:
        index = row.get("grant")
        if isinstance(index, int) and not isinstance(index, bool):
            files.setdefault(index, []).append(row)
    by_key: dict[str, list[Node]] = {}
    for index, grant in enumerate(grants[:MOST_GRANTS]):
        by_key.setdefault(reading.text(grant.get("key")), []).append(_entry(grant, files.get(index, ())))
    nodes = tuple(_key(key, below) for key, below in by_key.items())
    blocks: list[Block] = []
    many = sum(node.use == UNUSED for below in by_key.values() for node in below)
    if not grants:
        blocks.append(note("The profile grants no file and no place of the network."))
    elif many:
        blocks.append(note(f"{_entries(many)} of {len(grants)} not used in this run. Another run may need them.", WARN))
    else:
        blocks.append(note("Every entry was used."))
    if nodes:
        blocks.append(Tree("Entries of the profile", nodes, has_uses=True))
    if len(grants) > MOST_GRANTS:
        blocks.append(note(f"and {len(grants) - MOST_GRANTS} entries more"))
    if used.get("complete") is not True:
        why = reading.text(used.get("gap"))
        blocks.append(note(f"Not everything was seen, so what is called unused may have been used: {why}", WARN))
    if reading.count(used.get("others")):
        blocks.append(note(f"{reading.count(used.get('others'))} more files, addresses or processes are not listed."))
    return tuple(blocks)


def _entries(many: int) -> str:
    return "1 entry" if many == 1 else f"{many} entries"


def _key(key: str, below: Sequence[Node]) -> Node:
    many = sum(node.use == UNUSED for node in below)
    label = (code(key), *((Cell(f"{many} not used", WARN),) if many else ()))
    return Node(label, USED if many < len(below) else UNUSED, tuple(below), is_open=True)


def _entry(grant: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> Node:
    use = _use(grant)
    label = [code(reading.text(grant.get("text")))]
    tone = {USED: QUIET, UNUSED: WARN, LOOKED: WARN}[use]
    times = reading.count(grant.get("times"))
    label.append(Cell(f"used {_times(times)}" if use == USED else WORDS[use], tone))
    label.append(Cell(reading.text(grant.get("origin")), QUIET))
    below = [Node((Cell(text),), UNUSED) for text in _too_wide(grant) if use == USED]
    names = reading.words(grant.get("names"))
    if use != USED and names and names != [reading.text(grant.get("text"))]:
        below.append(Node((Cell("stands for:"), code(", ".join(names))), use))
    below += _tree(files)
    return Node(tuple(label), use, tuple(below))


def _too_wide(grant: Mapping[str, Any]) -> Iterable[str]:
    """What of an entry that was used was not: that it may be written, or rights that it names one by one."""
    key, used = reading.text(grant.get("key")), reading.words(grant.get("used"))
    if key in WRITING and used and all(name in READING for name in used):
        yield "only read, never written"
    spare = [name for name in reading.words(grant.get("rights")) if name not in used]
    if key == "filesystem.rules" and spare:
        yield f"rights not used: {', '.join(spare)}"


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


# --- files as a tree -----------------------------------------------------------------------------------------------


class _Folder:
    """A directory while the tree is made."""

    __slots__ = ("below", "rows")

    def __init__(self) -> None:
        self.below: dict[str, _Folder] = {}
        self.rows: list[Mapping[str, Any]] = []


def _tree(files: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The files by their directories; a directory with one thing in it stands in one line with it."""
    top = _Folder()
    for row in files:
        folder = top
        for name in reading.text(row.get("path")).strip("/").split("/", DEEPEST):
            folder = folder.below.setdefault(name, _Folder())
        folder.rows.append(row)
    return _nodes(top, "/")


def _nodes(folder: _Folder, before: str) -> tuple[Node, ...]:
    found = sorted(folder.below.items())
    nodes = [_node(name, one, before) for name, one in found[:MOST_BELOW]]
    if len(found) > MOST_BELOW:
        nodes.append(Node((Cell(f"and {len(found) - MOST_BELOW} more"),), USED))
    return tuple(nodes)


def _node(name: str, folder: _Folder, before: str) -> Node:
    name = before + name
    while len(folder.below) == 1 and not folder.rows:
        below, folder = next(iter(folder.below.items()))
        name = f"{name}/{below}"
    marks = []
    for row in folder.rows:
        act, program = reading.text(row.get("act")), reading.text(row.get("program")).rpartition("/")[2]
        by = f" by {program}" if program else ""
        marks.append(Cell(f"{act}, {_times(reading.count(row.get('times')))}{by}", QUIET))
    count = [] if folder.rows else [Cell(f"{_leaves(folder)} used", QUIET)]
    return Node((Cell(name + ("/" if folder.below else ""), CODE), *marks, *count), USED, _nodes(folder, ""))


def _leaves(folder: _Folder) -> int:
    found, waiting = 0, [folder]
    while waiting:
        one = waiting.pop()
        found += bool(one.rows)
        waiting += one.below.values()
    return found


# --- by rules ------------------------------------------------------------------------------------------------------


def _rules(plan: Mapping[str, Any]) -> tuple[Block, ...]:
    """What the kernel was given, where nobody looked what was used of it."""
    files = reading.member(plan, "filesystem")
    if not reading.member(files, "handled"):
        return (note("Files are not restricted by Landlock."), *_view(files))
    by_access: dict[str, list[str]] = {}
    grants = reading.rows(reading.member(files, "grants"))
    for grant in grants:
        by_access.setdefault(", ".join(reading.words(grant.get("access"))), []).append(reading.text(grant.get("path")))
    nodes = []
    for access, paths in list(by_access.items())[:MOST_BELOW]:
        below = tuple(Node((code(path),)) for path in sorted(paths)[:MOST_GRANTS])
        label = (code(access), Cell(f"{len(paths)} path{'' if len(paths) == 1 else 's'}", QUIET))
        nodes.append(Node(label, UNKNOWN, below, max(0, len(paths) - MOST_GRANTS)))
    denied = reading.words(reading.member(files, "holes"), MOST_GRANTS)
    if denied:
        nodes.append(Node((Cell("denied"),), UNKNOWN, tuple(Node((code(path),)) for path in denied)))
    return (Tree("Rules for files, by access rights", tuple(nodes)), *_view(files))


def _view(files: object) -> tuple[Block, ...]:
    records = reading.rows(reading.member(files, "view"))
    if not records:
        return ()
    below = []
    for row in records[:MOST_GRANTS]:
        flags = ", ".join(reading.words(row.get("flags")))
        marks = [Cell(mark, QUIET) for mark in (reading.text(row.get("operation")), flags) if mark]
        below.append(Node((code(reading.text(row.get("path"))), *marks)))
    label = (Cell("mounts of the view"), Cell(str(len(records)), QUIET))
    return (Tree("What stands where", (Node(label, UNKNOWN, tuple(below), max(0, len(records) - MOST_GRANTS)),)),)
