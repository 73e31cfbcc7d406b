"""The program of the log process: `python -I -S …/sandrun/group/__main__.py PATH…`, with what `sys.path` is to be.

As that of the relay (sandrun/egress/__main__.py), without the module `site`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path[:] = sys.argv[1:]
    from sandrun.group import log

    log.main()
