"""Write sandrun/policy/_syscalls.py: syscall numbers, argument widths and sets, as plain data.

    python tools/gen_syscalls.py [--tracing DIR] [--check]

Reads facts from this machine and from `syscalls_newer.txt` beside it, and nothing else:

- names and numbers: libseccomp's resolver (through pyseccomp), compared with linux-libc-dev's headers for x86_64;
- argument types: the running kernel's syscall tracepoints (tracefs; root, CONFIG_FTRACE_SYSCALLS);
- membership of the @sets: `systemd-analyze syscall-filter`, names only.

`--check` writes nothing and fails if the file would change. Another kernel or library may know more calls; add what a
newer one has to `syscalls_newer.txt` rather than regenerating on an older one.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import re
import subprocess
import sys
from pathlib import Path

import pyseccomp

HERE = Path(__file__).resolve().parent
NEWER = HERE / "syscalls_newer.txt"
OUTPUT = HERE.parent / "sandrun" / "policy" / "_syscalls.py"
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
ARCHES = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}
LAST_NUMBER = 511

RENAMED = {
    "newfstat": "fstat",
    "newlstat": "lstat",
    "newstat": "stat",
    "newuname": "uname",
    "sendfile64": "sendfile",
    "umount": "umount2",
}
"""Tracepoints are named after the kernel's functions; these are the ones whose syscall is called otherwise."""

INTEGER_TYPES = frozenset(
    [
        "int",
        "unsigned",
        "unsigned int",
        "u32",
        "__u32",
        "__s32",
        "pid_t",
        "uid_t",
        "gid_t",
        "clockid_t",
        "timer_t",
        "mqd_t",
        "key_t",
        "key_serial_t",
        "qid_t",
        "rwf_t",
        "enum landlock_rule_type",
    ]
)
LONG_TYPES = frozenset(
    "unsigned long;long;size_t;loff_t;off_t;u64;__u64;aio_context_t;cap_user_header_t;cap_user_data_t".split(";")  # noqa: SIM905
)
FLAG_WORDS = frozenset({"flags", "prot", "unshare_flags", "mode_flags"})
"""Arguments of type long with these names are bit sets; the kernel may ignore the bits that it does not know."""


def numbers() -> dict[str, dict[str, int]]:
    """Each architecture's table as libseccomp has it; pseudo numbers of foreign calls are negative and never asked."""
    tables: dict[str, dict[str, int]] = {}
    for arch, token in ARCHES.items():
        table: dict[str, int] = {}
        for number in range(LAST_NUMBER + 1):
            try:
                table[pyseccomp.resolve_syscall(token, number).decode()] = number
            except ValueError:
                continue
        tables[arch] = table
    for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", HEADER.read_text(), re.MULTILINE):
        if tables["x86_64"].get(name) != int(number):
            raise SystemExit(f"{name}: {HEADER} says {number}, libseccomp {tables['x86_64'].get(name)}")
    return tables


def traced_widths(tracing: Path) -> dict[str, str]:
    """The argument widths of every syscall that the running kernel describes."""
    widths = {}
    for path in sorted((tracing / "events" / "syscalls").glob("sys_enter_*/format")):
        name = path.parent.name.removeprefix("sys_enter_")
        fields = re.findall(r"^\tfield:(.+?) ?(\w+);\toffset:(\d+);", path.read_text(), re.MULTILINE)
        arguments = [(kind, field) for kind, field, offset in fields if int(offset) >= 16]
        widths[RENAMED.get(name, name)] = "".join(width(kind, field, name) for kind, field in arguments)
    if not widths:
        raise SystemExit(f"{tracing}: no syscall tracepoints (mount -t tracefs tracefs /sys/kernel/tracing, as root)")
    return widths


def width(kind: str, field: str, name: str) -> str:
    """One letter for a C type: i (32 bits), s (16), l (64), ? (a bit set declared long)."""
    plain = kind.replace("const ", "").replace(" const", "").replace("*const", "*").strip()
    if plain.endswith("*"):
        return "l"
    if plain.removeprefix("const ") in INTEGER_TYPES:
        return "i"
    if plain == "umode_t":
        return "s"
    if plain in LONG_TYPES:
        return "?" if field in FLAG_WORDS and plain in {"unsigned long", "long"} else "l"
    raise SystemExit(f"{name}: what is the width of `{kind} {field}`?")


def systemd_sets() -> dict[str, list[str]]:
    """Set name -> members in systemd's order, nested sets by name."""
    text = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    sets: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("@"):
            sets[line.strip()] = members = []
        elif line.startswith("    ") and not line.lstrip().startswith("#"):
            members.append(line.strip())
        elif line.startswith("#"):
            break
    return sets


def newer_rows() -> list[list[str]]:
    """The lines of syscalls_newer.txt."""
    rows = [line.split() for line in NEWER.read_text().splitlines() if line.strip() and not line.startswith("#")]
    for row in rows:
        if len(row) != 5 or row[1] not in {"both", *ARCHES}:
            raise SystemExit(f"{NEWER}: {' '.join(row)}: not NUMBER ARCHITECTURE NAME SETS ARGUMENTS")
    return rows


def generate(tracing: Path) -> str:
    """The text of the module."""
    tables, widths, sets = numbers(), traced_widths(tracing), systemd_sets()
    for number, arch, name, joins, arguments in newer_rows():
        for each in ARCHES if arch == "both" else (arch,):
            if number != "-" and tables[each].setdefault(name, int(number)) != int(number):
                raise SystemExit(f"{name}: {NEWER} says {number}, libseccomp {tables[each][name]}")
        if arguments != "*":
            widths[name] = arguments.strip("-")
        for group in joins.split(",") if joins != "-" else ():
            sets[group] = sorted({*sets[group], name}, key=lambda member: (not member.startswith("@"), member))
    native = {name for table in tables.values() for name in table}
    mentioned = {name for members in sets.values() for name in members if not name.startswith("@")}
    del sets["@known"]
    return "\n".join(
        [
            '"""Syscall numbers, argument widths and sets. Made by tools/gen_syscalls.py; edit syscalls_newer.txt, not this.',
            "",
            f"From: {sources()}.",
            "",
            "NUMBERS: architecture -> name -> number. FOREIGN: names of other architectures. SETS: @set -> members, sets",
            "among them. WIDTHS: name -> one letter an argument: i (32 bits), s (16), l (64), ? (a bit set declared long).",
            '"""',
            "",
            "from __future__ import annotations",
            "",
            "NUMBERS: dict[str, dict[str, int]] = {",
            *(
                line
                for arch, table in tables.items()
                for line in (
                    f'    "{arch}": {{',
                    *(
                        f'        "{name}": {number},'
                        for name, number in sorted(table.items(), key=lambda item: item[1])
                    ),
                    "    },",
                )
            ),
            "}",
            "",
            "FOREIGN: frozenset[str] = frozenset({",
            *(f'    "{name}",' for name in sorted(mentioned - native)),
            "})",
            "",
            "SETS: dict[str, tuple[str, ...]] = {",
            *(
                line
                for group, members in sorted(sets.items())
                for line in (f'    "{group}": (', *(f'        "{member}",' for member in members), "    ),")
            ),
            "}",
            "",
            "WIDTHS: dict[str, str] = {",
            *(f'    "{name}": "{letters}",' for name, letters in sorted(widths.items()) if name in native),
            "}",
            "",
        ]
    )


def sources() -> str:
    """What the facts were read from, with versions."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)
    version = ".".join(map(str, library.seccomp_version().contents))
    systemd = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    kernel = re.match(r"\d+\.\d+", platform.release())
    return f"libseccomp {version}, systemd {systemd}, Linux {kernel[0] if kernel else '?'} and syscalls_newer.txt"


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description="Generate sandrun/policy/_syscalls.py")
    parser.add_argument("--tracing", type=Path, default=Path("/sys/kernel/tracing"), help="where tracefs is mounted")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    text = generate(options.tracing)
    if options.check:
        same = OUTPUT.read_text() == text
        print("up to date" if same else f"{OUTPUT} differs")
        return 0 if same else 1
    OUTPUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
