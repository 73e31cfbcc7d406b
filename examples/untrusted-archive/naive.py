"""How a program unpacks that trusts its archive."""

import sys
import tarfile

with tarfile.open(sys.argv[1]) as archive:
    # Newer Pythons look at names themselves, unless they are told not to.
    options = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    archive.extractall("out", **options)
