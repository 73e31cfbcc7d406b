#!/usr/bin/env python3
"""Write what a launch with built-in profiles would else make anew each time: their documents, and their filters.

Run it after a change of profiles/, of the syscall sets or of what makes filters: `make known`; with `--check` it only
tells whether the files are right. A profile or filter that is in no table is parsed and compiled as any other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sandrun.cli import options  # noqa: E402  the checkout beside this file, whatever is installed
from sandrun.errors import SandrunError  # noqa: E402
from sandrun.plan.resolve import resolve  # noqa: E402
from sandrun.primitives import seccomp_compile, seccomp_known  # noqa: E402
from sandrun.profile import load, source  # noqa: E402
from tests.fakes import debian_host  # noqa: E402
from tests.golden.test_dry_run import kernel  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandrun.primitives.seccomp_match import Refusal

    Asked = tuple[str, Mapping[int, int], Sequence[Refusal]]

DOCUMENTS = ROOT / "sandrun/profile/_documents.py"
FILTERS = ROOT / "sandrun/primitives/_filters.py"
FILTERED = (*(("-p", name) for name in ("default", "strict", "read-only", "offline", "server")), ("--connect", "x:1"))
"""The profiles that are complete by themselves, and hosts by name, for the relay. Each filter is 9 KB, so not every one
is here."""
ABIS = (6, 7, 10)
"""Landlock of the kernels that are new enough for every protection: Linux 6.12 and later."""
WIDTH = 110
HEAD = '"""{} Written by tools/gen_known.py; do not edit."""\n\nfrom __future__ import annotations\n\n'
TYPES = """TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Parsed = tuple[Mapping[str, object], Mapping[tuple[str | int, ...], int]]

"""


def asked() -> dict[str, Asked]:
    """By its digest, each filter that is asked for when these profiles are planned for these kernels and users."""
    found: dict[str, Asked] = {}

    def note(*request: Asked) -> tuple[bytes, ...]:
        found.setdefault(seccomp_known.request(*request), request)
        return (b"",)

    with mock.patch("sandrun.plan.syscalls.compile_filter", note), mock.patch.object(source, "DOCUMENTS", {}):
        for words in FILTERED:
            request = options.parse((*words, "true"))
            for abi, uid, namespaces in ((a, u, n) for a in ABIS for u in (0, 1000) for n in (False, True)):
                try:
                    machine = kernel(abi, uid, namespaces=namespaces)
                    profile = load(request.profiles, request.overrides)
                    resolve(profile, machine, debian_host(uid=uid), ("/usr/bin/true", "x"))
                except SandrunError:
                    continue  # it cannot be kept there
    return found


def filters() -> str:
    """The text of the module with the filters."""
    text = HEAD.format(
        "The programs of filters, in hexadecimal (data, hence its length), by the digest of what is asked (seccomp_known.request)."
    )
    text += "FILTERS: dict[str, tuple[str, ...]] = {\n"
    for key, request in sorted(asked().items()):
        text += f'    "{key}": (\n'
        for program in seccomp_compile.compile_filter(*request):
            digits = program.hex()
            rows = (digits[at : at + WIDTH] for at in range(0, len(digits), WIDTH))
            text += "        " + "\n        ".join(f'"{row}"' for row in rows) + ",\n"
        text += "    ),\n"
    return text + "}\n"


def documents() -> str:
    """The text of the module with the parsed profiles."""
    text = HEAD.format(
        "The built-in profiles, parsed: values and lines, by the digest of the text (profile.source.digest)."
    )
    text += TYPES + "DOCUMENTS: dict[str, Callable[[], Parsed]] = {\n"
    for path in sorted((ROOT / "profiles").glob("*.toml")):
        profile = path.read_text()
        values, places = source.parse(profile, path.name), source.lines(profile)
        text += f'    # {path.name}\n    "{source.digest(profile)}": lambda: (\n        {values!r},\n        {places!r},\n    ),\n'
    return text + "}\n"


def main() -> int:
    """Write the files, or with --check say which ones are not right."""
    wrong = 0
    for target, text in ((DOCUMENTS, documents()), (FILTERS, filters())):
        if target.exists() and target.read_text() == text:
            continue
        if "--check" in sys.argv[1:]:
            print(f"{target.relative_to(ROOT)} is not what tools/gen_known.py makes: make known")
            wrong = 1
        else:
            target.write_text(text)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
