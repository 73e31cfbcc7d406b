"""The program of the relay process: `python -I -S …/sandrun/egress/__main__.py PATH…`, with what `sys.path` is to be.

Without the module `site`, which takes longer than all the rest and may run code of the environment.
"""

from __future__ import annotations

import gc
import sys

if __name__ == "__main__":
    sys.path[:] = sys.argv[1:]
    # What is imported stays. Looking through it again and again is a tenth of the start.
    gc.disable()
    from sandrun.egress import serve

    gc.freeze()
    gc.enable()
    sys.exit(serve.main())
