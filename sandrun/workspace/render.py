"""Changes for people: one line each, and unified diffs of what is text. Names and contents are hostile: all is escaped."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import libc
from sandrun.report import printable
from sandrun.workspace import diff

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandrun.workspace.diff import Change
    from sandrun.workspace.tree import Tree, Upper

TEXT_LIMIT = 1 << 20
"""Bytes. Of larger files it is only said that they differ."""
LINE_LIMIT = 2000
"""Lines between the first and the last that differ. The search for a short diff takes the square of it."""
CONTEXT = 3
_NO_END = "\0"
_LETTERS = {diff.ADDED: "A", diff.CHANGED: "M", diff.DELETED: "D", diff.UNREADABLE: "?"}


def title(change: Change, directory: str, upper: Upper) -> str:
    """One line: the letter of git-status(1), the path, and what is not seen from these."""
    path = os.path.join(directory, change.path) if change.path else directory
    found = change.upper or change.lower
    if found is not None and stat.S_ISDIR(found.st_mode) and not path.endswith("/"):
        path += "/"
    notes = [_note(word, change, upper) for word in change.what if word != diff.CONTENT]
    if change.kind == diff.ADDED and change.type not in "-dl":
        notes.append("not committed: " + {"p": "a fifo", "s": "a socket"}.get(change.type, "a device"))
    if change.upper is not None and stat.S_ISREG(change.upper.st_mode) and upper.mode(change.upper) & 0o6000:
        notes.append("set-id bits are not committed")
    if change.why:
        notes.append(change.why)
    return printable(f"{_LETTERS[change.kind]} {path}" + (f" ({'; '.join(notes)})" if notes else ""))


def _note(word: str, change: Change, upper: Upper) -> str:
    above, below = change.upper, change.lower
    if above is None or below is None:
        return word
    if word == diff.MODE:
        return f"mode {stat.S_IMODE(below.st_mode):04o} -> {upper.mode(above):04o}"
    if word == diff.OWNER:
        return f"owner {below.st_uid}:{below.st_gid} -> {above.st_uid}:{above.st_gid}"
    if word == diff.TYPE:
        return f"type {stat.filemode(below.st_mode)[0]} -> {stat.filemode(above.st_mode)[0]}"
    return {diff.TIME: "modification time", diff.TARGET: "target", diff.ATTRIBUTES: "attributes"}[word]


def document(change: Change, directory: str, upper: Upper) -> dict[str, Any]:
    """The change as JSON holds it. Modes are octal as in chmod(1)."""
    return {
        "directory": directory,
        "path": change.path,
        "change": change.kind,
        "type": change.type,
        "what": list(change.what),
        "size": change.upper.st_size if change.upper else None,
        "mode": f"{upper.mode(change.upper):04o}" if change.upper else None,
        "why": change.why or None,
    }


# --- unified diffs ---------------------------------------------------------------------------------------------------


def details(change: Change, upper: Upper, lower: Tree) -> Iterator[str]:
    """The lines below the title: a unified diff that patch(1) takes with -p1, or in one line why there is none."""
    if change.kind == diff.UNREADABLE or (change.kind == diff.CHANGED and not set(change.what) & _CONTENTS):
        return
    try:
        after = _content(change, change.upper, upper)
        before = _content(change, change.lower, lower)
    except OSError as error:
        yield f"  cannot be shown: {libc.strerror(error.errno or 0)}"
        return
    for sign, content in (("-", before), ("+", after)):
        if isinstance(content, _Link):
            yield f"  {sign} link to {printable(content.target)}"
    words = [content for content in (after, before) if isinstance(content, str)]
    lines = [content if isinstance(content, list) else [] for content in (before, after)]
    if words:
        sizes = [f"{found.st_size if found else 0}" for found in (change.lower, change.upper)]
        yield f"  {words[0]}: {' -> '.join(sizes)} bytes"
    elif lines[0] != lines[1]:
        yield f"--- a/{printable(change.path)}" if isinstance(before, list) else "--- /dev/null"
        yield f"+++ b/{printable(change.path)}" if isinstance(after, list) else "+++ /dev/null"
        yield from _unified(*lines)


class _Link(NamedTuple):
    """What a symbolic link names."""

    target: str


_CONTENTS = {diff.CONTENT, diff.TARGET, diff.TYPE}


def _content(change: Change, found: os.stat_result | None, tree: Tree) -> list[str] | _Link | str | None:
    """The lines; a word why they are not shown; None where there is nothing to show. A last line without end has a NUL."""
    if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        return None
    folder, _, name = change.path.rpartition("/")
    above = tree.folder(folder)
    try:
        if stat.S_ISLNK(found.st_mode):
            return _Link(os.readlink(name, dir_fd=above))
        if found.st_size > TEXT_LIMIT:
            return "too large to show"
        fd = tree.file(name, above, found)
        with open(fd, "rb") as file:
            data = file.read(TEXT_LIMIT + 1)
    finally:
        os.close(above)
    if b"\0" in data or len(data) > TEXT_LIMIT:
        return "binary"
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    last = lines.pop()
    return [*lines, last + _NO_END] if last else lines


def _unified(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """A unified diff without file names. Only the part that differs is searched, since its cost is quadratic."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    start, end = max(0, start - CONTEXT), max(0, end - CONTEXT)
    before, after = before[start : len(before) - end], after[start : len(after) - end]
    if before and after and max(len(before), len(after)) > LINE_LIMIT:
        yield f"  too many lines to compare: {len(before)} -> {len(after)}"
        return
    import difflib  # noqa: PLC0415 (only where there is something to compare)

    for group in difflib.SequenceMatcher(None, before, after).get_grouped_opcodes(CONTEXT):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(start + first[1], start + last[2])} +{_range(start + first[3], start + last[4])} @@"
        for word, i, j, k, m in group:
            if word == "equal":
                yield from (f" {_line(line)}" for line in before[i:j])
            else:
                yield from (f"-{_line(line)}" for line in before[i:j])
                yield from (f"+{_line(line)}" for line in after[k:m])


def _range(start: int, stop: int) -> str:
    """The numbers of a hunk as diff(1) writes them: the first line and how many, or the line before an empty one."""
    length = stop - start
    return f"{start + 1}" if length == 1 else f"{start + (length > 0)},{length}"


def _line(line: str) -> str:
    text = "\t".join(map(printable, line.removesuffix(_NO_END).split("\t")))
    return text + "\n\\ No newline at end of file" if line.endswith(_NO_END) else text
