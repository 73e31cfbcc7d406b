"""Ends the process that it runs in."""

import os


def apply(text):
    """No result."""
    os._exit(7)
