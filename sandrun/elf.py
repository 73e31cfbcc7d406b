"""What a command's file says it needs to start: its interpreters (`#!`, ELF) and libraries.

A file is a stranger's: every offset and count in it is checked against a bound, and what makes no sense is read as
"nothing known", never as an exception. Sources: elf(5), execve(2), ld.so(8).
"""

from __future__ import annotations

import posixpath
import struct

from sandrun.named import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.host import Host

SCRIPT_HEAD = 256
"""BINPRM_BUF_SIZE: the kernel looks at no more of a `#!` line."""
MOST_SCRIPTS = 5
"""How many interpreters that are scripts themselves the kernel follows before ELOOP."""

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 15, 29
_MOST_HEADERS = 512
_MOST_DYNAMIC = 1 << 16
_MOST_STRINGS = 1 << 20
_MOST_NAME = 4096


class Elf(NamedTuple):
    """The dynamic part of an ELF file. `search` is its RUNPATH, else its RPATH, with $ORIGIN replaced."""

    interpreter: str
    needed: tuple[str, ...]
    search: tuple[str, ...]


class Start(NamedTuple):
    """What `execve` of a file opens, in order, each as it is named there, not resolved.

    `programs` are the file itself and the interpreters of `#!` lines, with the program that `env` looks up; `loader`
    is the ELF interpreter of the last one ("" for a static program or an unknown format).
    """

    programs: tuple[str, ...]
    loader: str
    elf: Elf | None


def trace(path: str, host: Host, find: Callable[[str], str | None]) -> Start:
    """Follow `path` through its `#!` interpreters to the ELF program. `find` looks a name up in the command's PATH."""
    programs = [path]
    elf = None
    for _ in range(MOST_SCRIPTS):
        head = host.read(programs[-1], SCRIPT_HEAD) or b""
        if head[:2] != b"#!":
            elf = parse(programs[-1], host)
            break
        words = script_words(head)
        if not words:
            break
        programs.append(words[0])
        if posixpath.basename(words[0]) == "env":
            name = _env_program(words[1] if len(words) > 1 else "")
            found = find(name) if name else None
            if found:
                programs.append(found)
    return Start(tuple(programs), elf.interpreter if elf else "", elf)


def script_words(head: bytes) -> list[str]:
    """The interpreter of a `#!` line and, if there is one, its single argument, as the kernel splits them."""
    line = head[2:SCRIPT_HEAD].partition(b"\n")[0].partition(b"\0")[0].replace(b"\t", b" ").strip(b" ")
    parts = [part.strip(b" ") for part in line.split(b" ", 1)]
    return [part.decode("utf-8", "surrogateescape") for part in parts if part]


def _env_program(argument: str) -> str:
    """The program that env(1) runs for its argument in a `#!` line: `NAME`, or `-S [VAR=VALUE ...] NAME ARG ...`."""
    for word in argument.removeprefix("-S").split():
        if not word.startswith("-") and "=" not in word:
            return word
    return ""


def parse(path: str, host: Host) -> Elf | None:
    """The dynamic part of the ELF file at `path`; None if it is no ELF file, empty fields where it makes no sense."""
    ident = host.read(path, 64) or b""
    if len(ident) < 52 or ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    wide = ident[4] == 2
    order = "<" if ident[5] == 1 else ">"
    try:
        return _parse(path, host, ident, order, wide)
    except (struct.error, ValueError, OverflowError):
        return Elf("", (), ())


def _parse(path: str, host: Host, ident: bytes, order: str, wide: bool) -> Elf:
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), ident, 32 if wide else 28)
    size, count = struct.unpack_from(order + "HH", ident, 54 if wide else 42)
    if size < (56 if wide else 32) or size > 1024 or not 0 < count <= _MOST_HEADERS:
        return Elf("", (), ())
    headers = host.read(path, size * count, table) or b""
    segments = []
    for at in range(0, len(headers) - size + 1, size):
        # Elf64_Phdr: type flags offset vaddr paddr filesz; Elf32_Phdr: type offset vaddr paddr filesz
        row = struct.unpack_from(order + ("IIQQQQ" if wide else "IIIII"), headers, at)
        kind, offset, address, length = (row[0], row[2], row[3], row[5]) if wide else (row[0], row[1], row[2], row[4])
        segments.append((kind, offset, address, length))
    interpreter = b""
    needed: list[bytes] = []
    search: list[bytes] = []
    for kind, offset, _, length in segments:
        if kind == _PT_INTERP and 0 < length <= _MOST_NAME:
            interpreter = (host.read(path, length, offset) or b"").partition(b"\0")[0]
        elif kind == _PT_DYNAMIC:
            data = host.read(path, min(length, _MOST_DYNAMIC), offset) or b""
            needed, search = _dynamic(path, host, data, order + ("qQ" if wide else "iI"), segments)
    origin = posixpath.dirname(host.realpath(path))
    return Elf(
        interpreter.decode("utf-8", "surrogateescape"),
        tuple(name.decode("utf-8", "surrogateescape") for name in needed),
        tuple(dict.fromkeys(_search_path(search, origin))),
    )


def _dynamic(
    path: str, host: Host, data: bytes, entry: str, segments: list[tuple[int, int, int, int]]
) -> tuple[list[bytes], list[bytes]]:
    """The DT_NEEDED names and the search path strings of the dynamic section."""
    entries: dict[int, list[int]] = {}
    size = struct.calcsize(entry)
    for tag, value in struct.iter_unpack(entry, data[: len(data) // size * size]):
        if tag == 0:
            break
        entries.setdefault(tag, []).append(value)
    address = entries.get(_DT_STRTAB, [0])[0]
    for kind, offset, start, length in segments:
        if kind == _PT_LOAD and start <= address < start + length:
            size = min(entries.get(_DT_STRSZ, [0])[0], _MOST_STRINGS)
            strings = host.read(path, size, offset + address - start) or b""
            break
    else:
        return [], []

    def texts(tag: int) -> list[bytes]:
        found = (strings[at : at + _MOST_NAME].partition(b"\0")[0] for at in entries.get(tag, [])[:_MOST_HEADERS])
        return [text for text in found if text]

    return texts(_DT_NEEDED), texts(_DT_RUNPATH) or texts(_DT_RPATH)


def _search_path(entries: list[bytes], origin: str) -> list[str]:
    """The absolute directories among colon-separated entries; those with other tokens than $ORIGIN are left out."""
    found = []
    for entry in b":".join(entries).decode("utf-8", "surrogateescape").split(":"):
        if "$" in entry.replace("${ORIGIN}", "").replace("$ORIGIN", ""):
            continue
        directory = entry.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        if directory.startswith("/"):
            found.append(posixpath.normpath(directory))
    return found
