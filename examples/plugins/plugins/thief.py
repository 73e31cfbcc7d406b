"""Reads what it should not."""

import os
from pathlib import Path


def apply(text):
    """A key of the environment, and a file of the directory that the program was started in."""
    return os.environ.get("API_KEY", "no key") + Path("notes.txt").read_text()
