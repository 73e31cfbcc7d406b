"""Receive one connection and write what comes: receive.py PORT|- FILE|-, where - is standard input or output."""

import os
import socket
import sys

if sys.argv[1] == "-":
    source = 0
else:
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        connection, _ = listener.accept()
    source = connection.fileno()
sink = 1 if sys.argv[2] == "-" else os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
while data := os.read(source, 1 << 16):
    left = memoryview(data)
    while left:
        left = left[os.write(sink, left) :]
