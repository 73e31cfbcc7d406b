#!/usr/bin/env python3
"""Write sandrun/native/plan_fields.h: what the C of the native executor must know of the Python it is a twin of.

The plan's fields and constants, the operations of a view and Landlock's rights by ABI are declared once, in Python.
Run it after a change there: `python tools/gen_plan_fields.py`; with `--check` it only tells whether the file is right.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sandrun.plan import format as plan  # noqa: E402  the checkout beside this file, whatever is installed
from sandrun.primitives import landlock, view  # noqa: E402

TARGET = ROOT / "sandrun/native/plan_fields.h"

_MEMBERS = {
    "integer": "int64_t",
    "mask": "uint64_t",
    "text": "struct bytes",
    "binary": "struct bytes",
    "texts": "struct strings",
    "binaries": "struct strings",
    "integers": "struct integers",
    "rules": "struct rules",
    "pairs": "struct pairs",
    "triples": "struct triples",
    "records": "struct records",
}
"""What a field may be, and the type of its member. A text holds no NUL, since the kernel would see an end in it."""
_KINDS = {
    "i": "integer",
    "Q": "mask",
    "b": "text",
    "B": "texts",
    "I": "integers",
    "P": "rules",
    "N": "pairs",
    "R": "triples",
    "V": "records",
}
_BINARY = {"egress": "binary", "broker_filter": "binary", "observe": "binary", "seccomp": "binaries"}
_PLAN_NUMBERS = (
    ("KEEP", "NICE_KEEP"),
    ("TTY_INHERIT", "TTY_PROTECTED", "TTY_NEW_SESSION", "TTY_PTY"),
    ("KIND_FILE", "KIND_DIRECTORY", "MAY_VANISH"),
    ("CGROUP_NONE",),
)
_OPERATIONS = (
    "VIEW_TREE",
    "VIEW_BIND",
    "VIEW_TMPFS",
    "VIEW_PROC",
    "VIEW_DEVPTS",
    "VIEW_OVERLAY",
    "VIEW_DIRECTORY",
    "VIEW_FILE",
    "VIEW_SYMLINK",
    "VIEW_ROOT",
    "VIEW_CHROOT",
    "VIEW_CONTENT",
)
_FLAGS = ("MODE", "READ_ONLY", "DEVICES", "OWNED", "SEALED", "NO_EXECUTE", "SET_ID")


def text() -> str:
    """The whole header."""
    fields = [(name, _BINARY.get(name, _KINDS[code])) for name, code, _ in plan.FIELDS]
    lines = [
        "/* Made by tools/gen_plan_fields.py from sandrun/plan/format.py, primitives/view.py and primitives/landlock.py.",
        " * Not to be edited; included by sandrun.h. */",
        "",
        f"enum {{ PLAN_VERSION = {plan.VERSION} }};",
        f'#define PLAN_MAGIC "{"".join(_escaped(byte) for byte in plan.MAGIC)}" /* {len(plan.MAGIC)} bytes */',
        *(_enumeration({name: getattr(plan, name) for name in names}) for names in _PLAN_NUMBERS),
        "",
        "/* FIELD(kind, name) for each field of a plan, in the order of its bytes. */",
        "#define PLAN_FIELDS(FIELD) \\",
        *(f"    FIELD({kind}, {name}){_continued(name == fields[-1][0])}" for name, kind in fields),
        "",
        "struct plan {",
        *(f"    {_MEMBERS[kind]} {name};" for name, kind in fields),
        "};",
        "",
        "/* The operations of `view`, and the flags of its records above the permission bits. */",
        _enumeration({name: getattr(view, name) for name in _OPERATIONS}),
        _enumeration({f"VIEW_{name}": getattr(view, name) for name in _FLAGS}),
        "",
        "/* What may be granted on anything but a directory. */",
        f"#define LANDLOCK_FILE_RIGHTS UINT64_C({landlock.FILE_RIGHTS:#x})",
        "",
        "/* ROW(file system rights, network rights, scopes, u64 fields of struct landlock_ruleset_attr) of ABI 1, 2, ... */",
        f"enum {{ LANDLOCK_NEWEST_ABI = {landlock.NEWEST_ABI} }};",
        "#define LANDLOCK_ABIS(ROW) \\",
        *(f"    {_row(abi)}{_continued(abi == landlock.NEWEST_ABI)}" for abi in range(1, landlock.NEWEST_ABI + 1)),
    ]
    return "\n".join(lines) + "\n"


def _escaped(byte: int) -> str:
    return chr(byte) if chr(byte).isalnum() else f"\\{byte:o}"


def _continued(is_last: bool) -> str:
    return "" if is_last else " \\"


def _enumeration(numbers: dict[str, int]) -> str:
    inner = ",\n".join(
        f"    {name} = {value:#x}" if value > 255 else f"    {name} = {value}" for name, value in numbers.items()
    )
    return f"enum {{\n{inner},\n}};"


def _row(abi: int) -> str:
    fields = next(count for since, count in landlock.ATTR_FIELDS if abi >= since)
    return f"ROW({landlock.fs_mask(abi):#x}, {landlock.net_mask(abi):#x}, {landlock.scope_mask(abi):#x}, {fields})"


def main(arguments: list[str]) -> int:
    """Write the header, or with --check say whether it is as it would be written. Returns the exit status."""
    made = text()
    if arguments == ["--check"]:
        return 0 if TARGET.read_text() == made else 1
    TARGET.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
