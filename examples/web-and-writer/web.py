"""The server: takes notes by POST /NAME and hands them to the writer. It reads what anybody sends."""

import http.server
import os
import socket
import sys
from pathlib import Path

MOST = 1000


def plant():
    """What happens when the server would write a file."""
    try:
        Path("notes", "planted").write_text("planted\n")
    except OSError as error:
        return f"refused: {error.strerror}"
    return "done"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    store = None

    def do_POST(self):
        """Pass a note on."""
        length = min(int(self.headers.get("Content-Length", 0)), MOST)
        text = self.rfile.read(length).decode("utf-8", "replace").replace("\n", " ")
        self.store.write(f"{self.path[1:].replace(' ', '_')} {text}\n".encode())
        self.store.flush()
        said = self.store.readline(100)
        self.send_response(201 if said == b"kept\n" else 400)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *said):
        """Nothing: the client tells what happened."""


def main():
    """Serve on the port of the first word."""
    print("to write a file:", plant(), flush=True)
    with socket.socket(fileno=int(os.environ["SANDRUN_FD_STORE"])) as store, store.makefile("rwb") as stream:
        Handler.store = stream
        with http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
            server.serve_forever()


if __name__ == "__main__":
    main()
