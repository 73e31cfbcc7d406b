"""What a confined body was refused: noticed in the confined process, judged by the plan outside of it."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from sandrun.profile.bad import Bad

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    from sandrun.library.inplace import Entry
    from sandrun.why.judge import Judge

SIZE = 4096
"""Of the memory in which the last event stands."""
REFUSALS = frozenset(("EPERM", "EACCES", "EAFNOSUPPORT", "ENOSYS", "EROFS"))
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
EVENTS = frozenset(
    (
        *("open", "socket.__new__", "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"),
        *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill", "os.remove", "os.rename"),
        *(
            "os.mkdir",
            "os.rmdir",
            "os.link",
            "os.symlink",
            "os.chmod",
            "os.chown",
            "os.truncate",
            "os.listdir",
            "os.scandir",
        ),
    )
)
"""The audit events of Python's own calls that a sandbox can refuse (sys.addaudithook)."""
CHANGES = frozenset(("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"))
DEEPEST = 10
"""Exceptions of a chain that are looked at."""


def watch(memory: mmap.mmap) -> Callable[[], None]:
    """Keep the last event in this memory, which is seen outside even if the process is killed for what comes next.

    Returns what ends this.
    """
    ended: list[bool] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and not ended:
            shown = arguments[1:] if event in ("socket.connect", "socket.bind", "socket.sendto") else arguments
            writes = event in CHANGES or (event == "open" and bool(_flags(arguments) & WRITES))
            words = ", ".join(map(_said, shown[:3]))
            text = f"{'w' if writes else 'r'}{event}({words})".encode(errors="replace")[: SIZE - 1]
            memory[: len(text) + 1] = text + b"\0"

    sys.addaudithook(hook)
    return lambda: ended.append(True)


def _said(value: Any) -> str:
    """An argument as text, without a call of what the body may have defined."""
    if type(value) in (str, bytes):
        return repr(value[:200])
    if type(value) in (int, type(None)):
        return repr(value)
    return f"({', '.join(map(_said, value[:4]))})" if type(value) is tuple else type(value).__name__


def _flags(arguments: tuple[Any, ...]) -> int:
    return arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0


def last(memory: mmap.mmap) -> tuple[bool, str]:
    """The last event, and whether it changes a file. Of whoever wrote there, so only what can be printed is kept."""
    text = memory[:SIZE].split(b"\0", 1)[0].decode(errors="replace")
    return text[:1] == "w", "".join(char if char.isprintable() else "?" for char in text[1:400])


def refusals(error: BaseException | None, memory: mmap.mmap) -> list[dict[str, Any]]:
    """The refusals in a chain of exceptions, for the record."""
    found: list[dict[str, Any]] = []
    writes, event = last(memory)
    for _ in range(DEEPEST):
        if error is None:
            break
        name = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
        if name in REFUSALS:
            path = getattr(error, "filename", None)
            text = os.fsdecode(path) if isinstance(path, str | bytes) else ""
            # Only of the last one is known what it was that failed.
            found.append({"error": name, "path": text, "writes": writes, "event": "" if found else event})
        error = error.__cause__ or error.__context__
    return found


def explain(prepared: Entry, denied: list[dict[str, Any]]) -> list[str]:
    """What the plan says of each refusal: one line, in the words of `sandrun why`."""
    if not denied:
        return []
    from sandrun.host import System  # noqa: PLC0415 (only after a refusal)
    from sandrun.why.judge import Judge  # noqa: PLC0415

    judge = Judge(prepared.profile, prepared.resolution, prepared.kernel, System())
    return list(dict.fromkeys(filter(None, (_line(judge, one) for one in denied[:DEEPEST]))))


def plainly(denied: list[dict[str, Any]], profile: str) -> list[str]:
    """As `explain`, from inside of a session, where nobody knows the plan."""
    why = f"sandrun why -p {profile}"
    lines = []
    for one in denied[:DEEPEST]:
        act = "write" if one["writes"] else "read"
        if one["path"]:
            lines.append(f"{act} {one['path']}: {one['error']}: ask {why} {act} {shlex.quote(one['path'])}")
        elif one["event"]:
            lines.append(f"{one['event']}: {one['error']}: the session is confined by {profile}")
    return lines


def _line(judge: Judge, attempt: dict[str, Any]) -> str:
    path, event, error = attempt["path"], attempt["event"], attempt["error"]
    if path and "\0" not in path:
        try:
            answer = judge.file("write" if attempt["writes"] else "read", path)
        except (Bad, OSError, ValueError):
            return f"{path}: {error}"
        if not answer.granted:
            return f"{answer.act}: {answer.reason}"
        return f"{answer.act}: {error}: {answer.ordinary}" if answer.ordinary else f"{event or path}: {error}"
    return f"{event}: {error}" if event else ""
