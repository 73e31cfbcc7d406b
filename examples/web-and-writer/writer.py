"""Keeps notes: requests on the socket of SANDRUN_FD_STORE, a name and a text in a line each. It judges what the server says."""

import os
import re
import socket
from pathlib import Path

MOST = 10_000


def reach():
    """What happens when the writer would talk to the network."""
    try:
        socket.create_server(("127.0.0.1", 0)).close()
    except OSError as error:
        return f"refused: {error.strerror}"
    return "done"


def main():
    """Serve until the other end is closed."""
    print("to make a socket:", reach(), flush=True)
    with socket.socket(fileno=int(os.environ["SANDRUN_FD_STORE"])) as store, store.makefile("rwb") as stream:
        while line := stream.readline(MOST):
            name, _, text = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
            if re.fullmatch(r"[a-z]{1,30}", name):
                Path("notes", name).write_text(text + "\n")
                stream.write(b"kept\n")
            else:
                stream.write(b"refused\n")
            stream.flush()


if __name__ == "__main__":
    main()
