"""What a confined body covered of the code, for coverage.py in the process that waits for it.

The confined process cannot write a file of data, and what it could send of one is SQL; so it sends numbers of lines.
"""

from __future__ import annotations

import os
import sys
from typing import Any

MOST_LINES = 1_000_000
OPTIONS = ("branch", "source", "source_pkgs", "include", "omit")
"""What a measurement is made with (coverage.py, [run])."""


def begin() -> Any:
    """Measure in memory from here on, in the confined process; None where nothing is measured."""
    current = _current()
    if current is None:
        return None
    current.stop()
    options = {name: current.get_option(f"run:{name}") or None for name in OPTIONS}
    own = sys.modules["coverage"].Coverage(data_file=None, config_file=False, messages=False, **options)
    own.start()
    return own


def found(own: Any) -> dict[str, Any]:
    """What was measured since `begin`, for the record: lines and arcs by file."""
    if own is None:
        return {"lines": [], "arcs": []}
    own.stop()
    data = own.get_data()
    files = sorted(data.measured_files())
    if data.has_arcs():
        return {"lines": [], "arcs": [(name, data.arcs(name) or []) for name in files]}
    return {"lines": [(name, data.lines(name) or []) for name in files], "arcs": []}


def merge(record: dict[str, Any]) -> None:
    """Add what a confined body covered to the measurement of this process."""
    current = _current()
    if current is None or not (record["lines"] or record["arcs"]):
        return
    data = current.get_data()
    if record["arcs"]:
        arcs = {
            name: {(start, end) for start, end in arcs if _is_line(start) and _is_line(end)}
            for name, arcs in record["arcs"]
        }
        data.add_arcs({name: pairs for name, pairs in arcs.items() if _is_source(name)})
    else:
        lines = {name: set(filter(_is_line, lines)) for name, lines in record["lines"]}
        data.add_lines({name: numbers for name, numbers in lines.items() if _is_source(name)})


def _is_line(number: int) -> bool:
    """Whether it is a line, or -1 times the first of a function; coverage.py keeps a bit for each up to the last."""
    return -MOST_LINES < number < MOST_LINES


def _is_source(name: str) -> bool:
    """Whether it is a file that a report may open: neither a device nor a pipe, on which that would wait."""
    return "\0" not in name and name.endswith(".py") and os.path.isfile(name)


def _current() -> Any:
    coverage = sys.modules.get("coverage")
    return coverage.Coverage.current() if coverage and hasattr(coverage, "Coverage") else None
