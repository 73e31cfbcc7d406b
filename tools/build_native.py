#!/usr/bin/env python3
"""Compile the native executor: every sandrun/native/*.c but the fuzz target, in one call of the C compiler.

    tools/build_native.py                       sandrun/native/sandrun-exec
    tools/build_native.py --strict ...          warnings are errors, and the compiler's static analysis is run
    tools/build_native.py --sanitize OUT        with the address and undefined behaviour sanitizers, for the tests
    tools/build_native.py --fuzz OUT            the fuzz target with its own driver, with the sanitizers
    tools/build_native.py --editable            and the programs in .venv/bin, as an installation would have them

`CC`, `CFLAGS` and `LDFLAGS` are honoured, and `CFLAGS` come last. The result depends on the compiler and the sources alone: the
same again gives the same bytes. Status 3: there is no compiler that works, or no Linux. Nothing but the standard
library is used, since the wheel is built by this too.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "sandrun" / "native"
BINARY = SOURCES / "sandrun-exec"
EXIT_NO_COMPILER = 3

LANGUAGE = ["-std=c17", "-fno-strict-aliasing"]
WARNINGS = [
    *("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wformat=2", "-Wvla", "-Wundef"),
    *("-Wmissing-prototypes", "-Wpointer-arith", "-Wwrite-strings"),
]
HARDENING = ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3", "-fstack-protector-strong"]
BRANCHES = {"x86_64": ["-fcf-protection"], "aarch64": ["-mbranch-protection=standard"]}
SECTIONS = ["-ffunction-sections", "-fdata-sections"]
LINK = [
    *("-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,-z,separate-code", "-Wl,--gc-sections"),
    *("-Wl,--build-id=none", "-s"),
]
POSITION_INDEPENDENT = [["-fPIE", "-static-pie"], ["-fPIE", "-pie"]]
"""Static where the toolchain has a static libc: a start is then spared the dynamic loader, and any libc's system will do."""
SANITIZERS = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def main() -> int:
    """Compile as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", nargs="?", type=Path, default=BINARY)
    parser.add_argument("--strict", action="store_true", help="warnings are errors; run the static analysis")
    parser.add_argument("--editable", action="store_true", help="put it into .venv/bin, as an installation would")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--sanitize", action="store_true", help="with the sanitizers")
    kind.add_argument("--fuzz", action="store_true", help="the fuzz target, with the sanitizers")
    given = parser.parse_args()
    if not compiler_works():
        print("build_native: no C compiler that works: the executor in Python serves", file=sys.stderr)
        return EXIT_NO_COMPILER
    if given.sanitize or given.fuzz:
        more = ["-Wl,--wrap=free"] if given.fuzz else []
        done = build(given.output, [*SANITIZERS, "-fPIE", "-pie", *more], strict=given.strict, fuzz=given.fuzz)
    else:
        done = build_hardened(given.output, strict=given.strict)
    programs = ROOT / ".venv" / "bin"
    if done and given.editable and programs.is_dir():
        put(given.output.read_bytes(), programs / "sandrun")
        lines = (ROOT / "tools" / "sandrun-python").read_bytes().partition(b"\n")
        put(b"#!%s\n%s" % (os.fsencode(programs / "python"), lines[2]), programs / "sandrun-python")
    return 0 if done else 1


def compiler() -> list[str]:
    """The words that call the C compiler."""
    return shlex.split(os.environ.get("CC", "cc"))


def compiler_works() -> bool:
    """Tell whether a program of a few lines can be made for this system, which has to be Linux."""
    return sys.platform == "linux" and bool(shutil.which(compiler()[0])) and links(["-fPIE", "-pie"])


def links(flags: list[str]) -> bool:
    """Tell whether a program can be linked with `flags`."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "a.c")
        source.write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n')
        words = [*compiler(), *flags, str(source), "-o", str(source.with_suffix(""))]
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def build_hardened(output: Path, *, strict: bool) -> bool:
    """Compile the program as it is shipped."""
    kind = next(kind for kind in POSITION_INDEPENDENT if kind is POSITION_INDEPENDENT[-1] or links(kind))
    flags = ["-O2", *HARDENING, *BRANCHES.get(platform.machine(), []), *SECTIONS, *kind, *LINK]
    return build(output, flags, strict=strict)


def build(output: Path, flags: list[str], *, strict: bool, fuzz: bool = False) -> bool:
    """Compile with `flags`; the result appears in one step, so that nothing runs half of it."""
    if strict:
        flags = [*flags, "-Werror", *(["-fanalyzer"] if is_gcc() and not fuzz else [])]
    output.parent.mkdir(parents=True, exist_ok=True)
    made = output.with_name(f".{output.name}.{os.getpid()}")
    words = [
        *compiler(),
        *LANGUAGE,
        *WARNINGS,
        *flags,
        f'-DSANDRUN_VERSION="{version()}"',
        f"-ffile-prefix-map={ROOT}=.",
    ]
    words += [*shlex.split(os.environ.get("CFLAGS", "")), *sources(fuzz=fuzz), "-o", str(made)]
    words += shlex.split(os.environ.get("LDFLAGS", ""))
    try:
        # In the directory of the sources, so that no name in the result depends on where the checkout lies.
        if subprocess.run(words, cwd=SOURCES, check=False).returncode:
            return False
        made.replace(output)
    finally:
        made.unlink(missing_ok=True)
    return True


def sources(*, fuzz: bool) -> list[str]:
    """The files to compile, always in the same order; the fuzz target has a main() of its own and includes the cache."""
    left_out = ("main.c", "front.c", "cache.c") if fuzz else ("fuzz.c",)
    return sorted(path.name for path in SOURCES.glob("*.c") if path.name not in left_out)


def is_static(binary: Path) -> bool:
    """Tell whether a 64-bit ELF program names no dynamic loader: elf(5), PT_INTERP."""
    data = binary.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return False
    first, size, count = struct.unpack_from("=Q14xHH", data, 32)
    return all(struct.unpack_from("=I", data, first + index * size) != (3,) for index in range(count))


def is_gcc() -> bool:
    """Tell whether the compiler is GCC, which alone has -fanalyzer."""
    done = subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=False)
    return "Free Software Foundation" in done.stdout


def version() -> str:
    """The version of the package."""
    text = (ROOT / "sandrun" / "__init__.py").read_text()
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if match is None:
        raise SystemExit("build_native: no version in sandrun/__init__.py")
    return match[1]


def put(content: bytes, target: Path) -> None:
    """Write a program in the place of `target`, which may be running."""
    made = target.with_name(f".{target.name}.{os.getpid()}")
    made.write_bytes(content)
    made.chmod(0o755)
    made.replace(target)


if __name__ == "__main__":
    sys.exit(main())
