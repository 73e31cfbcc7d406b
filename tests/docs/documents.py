"""Reading the documentation: man pages by section and tag, marked example blocks, links and anchors of Markdown.

These marks make an example one that the tests run:

| in | a console session | a profile | a program |
| --- | --- | --- | --- |
| Markdown | a block fenced as `console` | a block fenced as `toml` | |
| a man page, before `.EX` | the comment `.\\" console` | the comment `.\\" profile` | the comment `.\\" python` |

In a session a line that starts with `$ ` is a command, lines that start with `> ` continue it, and the rest is what it
prints on both outputs. `...` stands for any text within a line, and alone on a line for any lines.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ESCAPES = {
    r"\-": "-",
    r"\e": "\\",
    r"\&": "",
    r"\~": " ",
    r"\(aq": "'",
    r"\(dq": '"',
    r"\(ha": "^",
    r"\(ti": "~",
    r"\(bu": "*",
    r"\(en": "-",
    r"\(co": "(c)",
}
_FONTS = re.compile(r"\\f(?:\[[^]]*\]|.)")
_ESCAPE = re.compile(r"\\(?:\(..|.)")
_JOINING = frozenset({".BR", ".RB", ".IR", ".RI", ".BI", ".IB"})


def plain(line: str) -> str:
    """One line of roff as the text that a reader sees; "" for a macro that prints nothing of its own."""
    if line.startswith("."):
        macro, _, rest = line.partition(" ")
        if macro in _JOINING:
            line = "".join(_arguments(rest))
        elif macro in (".B", ".I", ".SH", ".SS", ".SM"):
            line = " ".join(_arguments(rest))
        else:
            return ""
    return _ESCAPE.sub(lambda match: _ESCAPES[match[0]], _FONTS.sub("", line))


def _arguments(text: str) -> list[str]:
    """The arguments of a macro: words, or quoted by `"`."""
    return [quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', text)]


class Page:
    """A man page: its text and its `.TP` tags by the title of the section or subsection they stand in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = path.read_text(encoding="utf-8").splitlines()
        self.parents: dict[str, str] = {}
        self.entries: dict[str, dict[str, str]] = {}
        """The text behind each tag, by title and tag."""
        self._text: dict[str, list[str]] = {}
        self._read()

    def _read(self) -> None:
        section = title = tag = ""
        tag_next = False
        for line in self.lines:
            if line.startswith((".SH ", ".SS ")):
                title, tag = plain(line), ""
                section = title if line.startswith(".SH") else section
                assert title not in self.parents, f"{self.path}: two sections are called {title}"
                self.parents[title] = section
            elif line in (".TP", ".TQ"):
                tag_next = True
            elif line == ".PP":
                tag = ""
            elif text := plain(line):
                self._text.setdefault(title, []).append(text)
                entries = self.entries.setdefault(title, {})
                if tag_next:
                    tag, tag_next = text, False
                    assert tag not in entries, f"{self.path}: {title}: two entries {tag}"
                    entries[tag] = ""
                elif tag:
                    entries[tag] = f"{entries[tag]} {text}".lstrip()

    def sections(self) -> list[str]:
        """The titles of the sections, in order."""
        return list(dict.fromkeys(self.parents.values()))

    def titles(self, section: str) -> list[str]:
        """A section and the subsections in it."""
        return [title for title, parent in self.parents.items() if parent == section]

    def tags(self, *titles: str) -> list[str]:
        """The tags of these sections or subsections."""
        return [tag for title in titles for tag in self.entries.get(title, ())]

    def text(self, *titles: str) -> str:
        """The running text of these sections or subsections (all, if none is named), in one line."""
        return " ".join(line for title in titles or self._text for line in self._text.get(title, ()))

    def blocks(self, mark: str) -> Iterator[Block]:
        """The example blocks behind the comment `mark`."""
        for number, line in enumerate(self.lines):
            if line == f'.\\" {mark}':
                start = self.lines.index(".EX", number) + 1
                end = self.lines.index(".EE", start)
                lines = self.lines[start:end]
                text = "\n".join(_ESCAPE.sub(lambda m: _ESCAPES[m[0]], _FONTS.sub("", line)) for line in lines)
                yield Block(self.path, start + 1, text + "\n")


class Block(NamedTuple):
    """An example in a document, where it starts (lines count from 1), and its text."""

    path: Path
    line: int
    text: str


def fenced(path: Path, language: str) -> Iterator[Block]:
    """The blocks of a Markdown file that are fenced as this language."""
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(path, text.count("\n", 0, match.start(1)) + 1, match[1])


class Command(NamedTuple):
    """One command of a session and what it must print."""

    line: int
    words: str
    output: str


def commands(block: Block) -> list[Command]:
    """The commands of a console session."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            found.append(Command(number, line[2:], ""))
        else:
            assert found, f"{block.path}:{number}: output before the first command"
            last = found[-1]
            if line.startswith("> ") and not last.output:
                found[-1] = last._replace(words=f"{last.words}\n{line[2:]}")
            else:
                found[-1] = last._replace(output=f"{last.output}{line}\n")
    return found


def script(session: list[Command], separator: str) -> str:
    """A shell script that runs a session; `separator` is printed behind the output of each command.

    The commands share one shell, and each finds the exit status of the one before it in `$?`.
    """
    lines = ["exec 2>&1", "__status=0"]
    for command in session:
        lines += ["(exit $__status)", command.words, "__status=$?", f"printf %s {shlex.quote(separator)}"]
    return "\n".join(lines) + "\n"


def matches(expected: str, output: str) -> bool:
    """Whether `output` is what the document shows."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else ".*".join(re.escape(part) for part in line.split("...")) + r"\n"
        for line in expected.splitlines()
    )
    return re.fullmatch(pattern, output) is not None


_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def links(path: Path) -> list[str]:
    """The targets of the links in a Markdown file."""
    return _LINK.findall(_CODE.sub("", path.read_text(encoding="utf-8")))


def anchors(path: Path) -> set[str]:
    """The anchors that headings of a Markdown file get."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).strip().replace(" ", "-") for title in titles}
