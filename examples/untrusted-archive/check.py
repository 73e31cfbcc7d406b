"""The validator: is the tar on standard input one that `tar -x` can be given? It runs in `strict`, and trusts nobody.

Two programs can read two things in one archive. So each header has to be, byte by byte, the one that is written for what
is read here, and nothing may follow the last member.
"""

import io
import sys
import tarfile

MOST_FILES = 1000


def problem(archive, data):
    """What is wrong, or ""."""
    seen = set()
    end = 0
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
        header = data[end : info.offset_data]
        if info.type != tarfile.REGTYPE or header != info.tobuf(tarfile.USTAR_FORMAT):
            return f"{name}: a header that others may read otherwise"
        seen.add(info.name)
        blocks = -(-info.size // tarfile.BLOCKSIZE)
        end = info.offset_data + blocks * tarfile.BLOCKSIZE
    return "something behind its end" if data[end:].strip(b"\0") else ""


try:
    content = sys.stdin.buffer.read()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as found:
        wrong = problem(found, content)
except (tarfile.TarError, ValueError) as error:
    wrong = f"no tar: {error}"
if wrong:
    sys.exit(wrong)
