"""The decoder: an archive in the descriptor SANDRUN_IN_ARCHIVE becomes a plain tar in SANDRUN_OUT_PLAIN.

It is the code that reads hostile bytes, so nothing relies on it: it refuses what leads out as a service to its user.
"""

import io
import os
import sys
import tarfile
import zipfile


def members(data):
    """Name and content of each regular file. Raises ValueError for a member that is something else."""
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, archive.open(info)
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            if info.isreg():
                yield info.name, archive.extractfile(info)
            elif not info.isdir():
                raise ValueError(f"{info.name}: no regular file")


def main():
    """Write one member after the other; what is too much for the limits ends it."""
    with open(int(os.environ["SANDRUN_IN_ARCHIVE"]), "rb") as stream:
        data = stream.read()
    with open(int(os.environ["SANDRUN_OUT_PLAIN"]), "wb") as out, tarfile.open(fileobj=out, mode="w|") as plain:
        for name, stream in members(data):
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"{name}: leads out")
            content = stream.read()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            plain.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, MemoryError, tarfile.TarError, zipfile.BadZipFile) as error:
        sys.exit(f"unpack: {error or type(error).__name__}")
