"""One line on the terminal about long work, written over itself; nothing where standard error is no terminal."""

from __future__ import annotations

import os
import time

from sandrun.report import printable

EVERY = 0.1
"""Seconds between two lines: more often nobody can read."""


class Progress:
    """The line. Use it in a `with`, so that it is gone when something else is written."""

    def __init__(self) -> None:
        self._shown = 0.0
        self._on = os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        self.clear()

    def show(self, text: str) -> None:
        """Show this in the place of what was shown before."""
        if not self._on or time.monotonic() - self._shown < EVERY:
            return
        self._shown = time.monotonic()
        try:
            width = (os.get_terminal_size(2).columns or 80) - 1
        except OSError:
            width = 79
        self._write(f"\r{printable(text)[:width]}\x1b[K")

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = 0.0

    def _write(self, text: str) -> None:
        try:
            os.write(2, text.encode())
        except OSError:
            self._on = False
