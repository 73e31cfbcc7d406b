"""Connect to each host that is named, and print what it says. The source travels by `python -c`."""

from __future__ import annotations

import socket
import sys

for name in sys.argv[1:]:
    try:
        with socket.create_connection((name, 80), 60) as made:
            print(name, made.recv(100).decode())
    except OSError as error:
        print(name, "failed", error)
