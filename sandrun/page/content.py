"""What a page says, before it is known how it looks. Text in here may be hostile; whoever renders it makes it harmless."""

from __future__ import annotations

from typing import NamedTuple

GOOD, BAD, WARN, QUIET = "good", "bad", "warn", "quiet"
"""Tones: what is as it should be, what is not, what deserves a look, what matters little. Words always say it too."""
CODE = "code"
USED, UNUSED, LOOKED, UNKNOWN = "used", "unused", "looked", ""


class Cell(NamedTuple):
    """A piece of text. `kind`: "" for prose, CODE for names of files, hosts and programs, or a tone for a short mark."""

    text: str
    kind: str = ""


class Facts(NamedTuple):
    """Names with what there is to say of each."""

    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


class Table(NamedTuple):
    """`more`: how many rows are left out."""

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    more: int = 0


class Node(NamedTuple):
    """One line of a tree, with what is below it. `use`: USED, UNUSED, LOOKED, or UNKNOWN where nobody looked."""

    label: tuple[Cell, ...]
    use: str = UNKNOWN
    below: tuple[Node, ...] = ()
    more: int = 0
    is_open: bool = False


class Tree(NamedTuple):
    """`has_uses`: it is known of each node whether it was used."""

    name: str
    nodes: tuple[Node, ...]
    has_uses: bool = False


class Moment(NamedTuple):
    """Something that happened `at` these seconds after the start; () if nobody knows when."""

    at: tuple[float, ...]
    words: tuple[Cell, ...]
    lines: tuple[tuple[Cell, ...], ...] = ()
    tone: str = ""


class TimeLine(NamedTuple):
    """From 0 to `end` seconds, which is more than 0."""

    name: str
    end: float
    moments: tuple[Moment, ...]
    more: int = 0


class Note(NamedTuple):
    """A sentence."""

    cells: tuple[Cell, ...]
    tone: str = ""


Block = Facts | Table | Tree | TimeLine | Note


class Section(NamedTuple):
    """`name` is a word that links can use."""

    name: str
    title: str
    blocks: tuple[Block, ...]


class Page(NamedTuple):
    """The whole. `status` is the sentence below the title, `tone` its tone."""

    title: str
    status: str
    tone: str
    sections: tuple[Section, ...]


def note(text: str, tone: str = "") -> Note:
    """A sentence of prose alone."""
    return Note((Cell(text),), tone)


def code(text: str) -> Cell:
    """A name."""
    return Cell(text, CODE)
