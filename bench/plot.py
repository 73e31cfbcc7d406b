"""Plots as SVG, written by hand: bars with their spread, and lines on axes of powers of ten. Nothing to install."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, LEFT, ROW, TOP_MARGIN = 760, 300, 22, 56
_COLOURS = ("#2266aa", "#cc6622", "#338844", "#884499", "#aa2233", "#777777")
_STYLE = (
    "<style>text{font:12px sans-serif;fill:#222}.t{font-size:15px;font-weight:bold}.s{fill:#666}"
    ".g{stroke:#ddd}.w{stroke:#222;stroke-width:1.5}</style>"
)


def _document(height: float, title: str, subtitle: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">{_STYLE}'
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>'
        f'<text class="t" x="10" y="22">{escape(title)}</text><text class="s" x="10" y="40">{escape(subtitle)}</text>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _powers(low: float, high: float) -> list[float]:
    """The powers of ten from the one at or below `low` to the one at or above `high`."""
    return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def bars(title: str, subtitle: str, rows: Mapping[str, Sequence[float]], ours: str = "sandrun") -> str:
    """One bar a row, (first quartile, median, third quartile), on a logarithmic axis; rows that begin with `ours` stand out."""
    values = [value for row in rows.values() for value in row]
    ticks = _powers(min(values), max(values))
    low, span = math.log10(ticks[0]), math.log10(ticks[-1]) - math.log10(ticks[0]) or 1.0
    bottom = TOP_MARGIN + ROW * len(rows) + 4

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - 70) * (math.log10(value) - low) / span

    parts = []
    for tick in ticks:
        parts.append(_line(across(tick), TOP_MARGIN - 4, across(tick), bottom, "g"))
        parts.append(_text(across(tick), bottom + 14, f"{tick:g}", "middle", "s"))
    for number, (name, (first, median, third)) in enumerate(rows.items()):
        y = TOP_MARGIN + ROW * number
        colour = _COLOURS[0] if name.startswith(ours) else "#bbbbbb"
        width = across(median) - LEFT
        parts.append(_text(LEFT - 8, y + 13, name, "end"))
        parts.append(f'<rect x="{LEFT}" y="{y + 3}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>')
        parts.append(_line(across(first), y + 10, across(third), y + 10, "w"))
        parts.append(_text(max(across(third), across(median)) + 6, y + 14, f"{median:.3g}"))
    return _document(bottom + 24, title, subtitle, parts)


def lines(title: str, subtitle: str, series: Mapping[str, Mapping[float, float]]) -> str:
    """One line a series, y over x, both axes logarithmic."""
    height, right = 360.0, WIDTH - 190.0
    flat = [(x, y) for points in series.values() for x, y in points.items()]
    xs, ys = (
        _powers(min(x for x, _ in flat), max(x for x, _ in flat)),
        _powers(min(y for _, y in flat), max(y for _, y in flat)),
    )

    def place(value: float, ticks: Sequence[float], start: float, end: float) -> float:
        low, high = math.log10(ticks[0]), math.log10(ticks[-1])
        return start + (end - start) * (math.log10(value) - low) / ((high - low) or 1.0)

    parts = []
    for tick in xs:
        x = place(tick, xs, 70, right)
        parts += [_line(x, TOP_MARGIN, x, height - 30, "g"), _text(x, height - 14, f"{tick:g}", "middle", "s")]
    for tick in ys:
        y = place(tick, ys, height - 30, TOP_MARGIN)
        parts += [_line(70, y, right, y, "g"), _text(64, y + 4, f"{tick:g}", "end", "s")]
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dots = [(place(x, xs, 70, right), place(y, ys, height - 30, TOP_MARGIN)) for x, y in sorted(points.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
        parts.append(
            f'<rect x="{right + 12:.0f}" y="{TOP_MARGIN + 20 * number}" width="10" height="10" fill="{colour}"/>'
        )
        parts.append(_text(right + 28, TOP_MARGIN + 20 * number + 10, name))
    return _document(height, title, subtitle, parts)
