"""The validator: is the tar on standard input one that `tar -x` can be given? It runs in `strict`, and trusts nobody."""

import sys
import tarfile

MOST_FILES = 1000


def problem(archive):
    """What is wrong, or ""."""
    seen = set()
    for count, info in enumerate(archive, 1):
        name = ascii(info.name)
        if count > MOST_FILES:
            return "too many files"
        if not info.isreg():
            return f"{name}: no regular file"
        if info.name.startswith("/") or {"", ".", ".."} & set(info.name.split("/")) or not info.name.isprintable():
            return f"{name}: leads out, or is no name"
        if info.mode != 0o644 or info.pax_headers or info.uid or info.gid:
            return f"{name}: more than a name and a content"
        if info.name in seen:
            return f"{name}: twice"
        seen.add(info.name)
    return ""


try:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as found:
        wrong = problem(found)
except tarfile.TarError as error:
    wrong = f"no tar: {error}"
if wrong:
    sys.exit(wrong)
