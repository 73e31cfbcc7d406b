"""Paths as profiles write them: the grammar (`parse`), and the absolute paths an entry stands for (`expand`).

| written | meaning |
| --- | --- |
| `@name` | a group of paths, see GROUPS; `./@name` is a file of that name |
| `~`, `~/x` | the home of the account the command runs as; only at the start |
| `${NAME}` | a variable of the caller's environment; unset or empty is an error |
| `${PROFILE_DIR}` | the directory of the profile that says so |
| `*` | any characters of one name; not a leading dot (glob(7)) |
| `[ab]`, `[a-z]`, `[!a]` | one character; `[$]`, `[?]`, `[*]`, `[[]` are those characters themselves |
| `**` | alone between slashes: any number of directories, not through links and not into hidden ones |
| `x?` | skip the entry if it is absent, or needs a variable that is unset |

Nothing here resolves links or `..`: a link may lead `..` elsewhere, so that is the kernel's question.
"""

from __future__ import annotations

import os
import stat

from sandrun.named import NamedTuple
from sandrun.profile.bad import Bad, quoted, unknown
from sandrun.profile.model import AccessRule, PathEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from sandrun.host import Host
    from sandrun.profile.model import Origin, Value

GROUPS: tuple[str, ...] = ("@system", "@runtime", "@dns", "@tls", "@devices", "@tmp", "@tty", "@all")
PROFILE_DIR = "PROFILE_DIR"
MAX_MATCHES = 4096
"""Paths one entry may expand to; each becomes a rule of its own."""
MAX_VISITED = 100_000
"""Directory entries looked at for one entry, so that `**` in a home does not stall the launch."""
MAX_DEPTH = 3800
"""Bytes of a path that wildcards still look into: behind PATH_MAX (4096) names would be missed silently."""
ANY_DEPTH = "**"


class _Variable(str):
    """The name of a variable between the literal pieces of a component."""

    __slots__ = ()


class _Component(NamedTuple):
    """One name between slashes: `text` as written; `pattern` is None where it has no wildcard."""

    text: str
    pattern: re.Pattern[str] | None = None


def parse(text: str) -> PathEntry:
    """Read one entry of a path list.

    Raises Bad for everything that is not in the grammar.
    """
    if "\0" in text:
        raise Bad("a path cannot contain a NUL byte")
    if not text:
        raise Bad("a path cannot be empty", 'the working directory is "."')
    if text[0] == "@":
        if text not in GROUPS:
            bad = unknown("path group", text, GROUPS, list_them=True)
            bad.hint = f"{bad.hint} (a file of that name is {quoted('./' + text)})"
            raise bad
        return PathEntry(text, group=text)
    optional = text[-1] == "?"
    path = text[:-1] if optional else text
    if not path:
        raise Bad("a path cannot be empty", 'a final "?" means: skip if absent')
    if path[0] == "~" and path[1:2] not in ("", "/"):
        raise Bad(
            f'{quoted(text)}: "~" is only the home of the account the command runs as', f"write {quoted('./' + text)}"
        )
    if any(mark in path for mark in "$?*["):
        _check(path, text)
    return PathEntry(text, path=path, optional=optional)


def parse_single(text: str) -> PathEntry:
    """Read a path that must name exactly one place: no group, wildcard or final `?`."""
    entry = parse(text)
    if entry.group or entry.optional or has_wildcard(entry):
        raise Bad(f"{quoted(text)}: one path is wanted, without groups, wildcards or a final ?")
    return entry


def has_wildcard(entry: PathEntry) -> bool:
    """Whether the entry stands for what happens to be there, and not for one path."""
    return any(_component(name).pattern for name in entry.path.split("/"))


def expand(value: Value, host: Host, home: str) -> list[str]:
    """The absolute paths that an entry stands for on this host, sorted if there are wildcards.

    `value` holds a PathEntry (not a group) or an AccessRule. `home` is the home of the account the command runs as, ""
    if unknown. `//`, `.` and a final `/` are gone from the result, links and `..` are not resolved. An entry without
    wildcards gives its path whether it exists or not; wildcards that match nothing give [].

    Raises ProfileError: a variable is unset (unless the entry is optional), the home is unknown, the working directory
    was deleted, a directory cannot be listed, or too much matches.
    """
    entry = value.value.path if isinstance(value.value, AccessRule) else value.value
    if not isinstance(entry, PathEntry) or not entry.path:
        raise TypeError("not a path entry: " + repr(entry))
    try:
        path = _substitute(entry, value.origin, host, home)
        if path is None:
            return []
        if not path.startswith("/"):
            if not host.cwd:
                raise Bad(f"{quoted(entry.text)}: the working directory was deleted", "write an absolute path")
            path = f"{literal(host.cwd)}/{path}"
        components = [_component(text) for text in path.split("/") if text not in ("", ".")]
        return _Walk(host, entry.text).run(components)
    except Bad as bad:
        raise bad.as_error(str(value.origin)) from None


def literal(text: str) -> str:
    """`text` written so that no character of it is a wildcard or starts a variable."""
    return "".join(f"[{char}]" if char in "*?[$" else char for char in text)


def _substitute(entry: PathEntry, origin: Origin, host: Host, home: str) -> str | None:
    """The entry with `~` and variables filled in as literal text; None if it is to be skipped."""
    path = entry.path
    pieces: list[str] = []
    if path[0] == "~":
        if not home and entry.optional:
            return None
        if not home:
            raise Bad(f"{quoted(entry.text)}: the account the command runs as has no home directory")
        pieces.append(literal(home))
        path = path[1:]
    for piece in _scan(path):
        if not isinstance(piece, _Variable):
            pieces.append(piece)
            continue
        found = origin.directory if piece == PROFILE_DIR else host.environ.get(piece, "")
        if found:
            pieces.append(literal(found))
        elif piece == PROFILE_DIR:
            raise Bad("${PROFILE_DIR} is the directory of a profile: there is none on the command line")
        elif entry.optional:
            return None
        else:
            raise Bad(
                f"{quoted(entry.text)}: the variable {piece} is not set",
                'set it, or end the entry in "?" to skip it then',
            )
    return "".join(pieces)


def _scan(path: str) -> list[str]:
    """A checked path in pieces: literal runs, `*`s, brackets opened by `[`, and _Variable names.

    Brackets are cut as "[", and the rest up to and with the "]", so that `"".join` gives the path without variables.
    """
    if not any(mark in path for mark in "$*["):
        return [path]
    pieces: list[str] = []
    at = start = 0
    while at < len(path):
        char = path[at]
        if char not in "$*[":
            at += 1
            continue
        pieces.append(path[start:at])
        end = at + 1
        if char == "$":
            end = path.index("}", at) + 1
            pieces.append(_Variable(path[at + 2 : end - 1]))
        elif char == "[":
            end = _bracket_end(path, at)
            pieces += ("[", path[at + 1 : end])
        else:
            pieces.append("*")
        at = start = end
    pieces.append(path[start:])
    return pieces


def _bracket_end(path: str, at: int) -> int:
    """Behind the `]` that closes the `[` at `at`; a `]` directly after `[` or `[!` is literal (glob(7)).

    Raises Bad if nothing closes it before the next slash.
    """
    first = at + 2 if path[at + 1 : at + 2] in ("!", "^") else at + 1
    end = path.find("]", first + 1)
    if end < 0 or "/" in path[at:end]:
        raise Bad(f'{quoted(path)}: nothing closes "["', 'the character itself is "[[]"')
    return end + 1


def _check(path: str, text: str) -> None:
    """Raise Bad for wildcards and variables that are not well formed."""
    at = 0
    while at < len(path):
        char = path[at]
        if char == "[":
            end = _bracket_end(path, at)
            _pattern(path[at:end])
            at = end
            continue
        if char == "$":
            end = path.find("}", at)
            name = path[at + 2 : end]
            if path[at + 1 : at + 2] != "{" or end < 0 or not (name.isascii() and name.isidentifier()):
                raise Bad(
                    f'{quoted(text)}: "$" needs a name in braces',
                    'write "${NAME}" for a variable, "[$]" for the character itself',
                )
            at = end
        if char == "?":
            raise Bad(
                f'{quoted(text)}: "?" is only the final mark "skip if absent"', 'the character itself is written "[?]"'
            )
        at += 1
    if ANY_DEPTH in path and any(ANY_DEPTH in name and name != ANY_DEPTH for name in path.split("/")):
        raise Bad(f'{quoted(text)}: "**" stands alone between slashes', 'within a name write "*"')


def _component(text: str) -> _Component:
    """One component with `[x]` for a literal x undone where there is no other wildcard."""
    pieces = _scan(text)
    if len(pieces) == 1:
        return _Component(text)
    plain = ""
    bracket = False
    for piece in pieces:
        if bracket:
            bracket = False
            if len(piece) != 2:
                return _Component(text, _pattern(text))
            plain += piece[0]
        elif piece == "*":
            return _Component(text, _pattern(text))
        elif piece == "[":
            bracket = True
        else:
            plain += piece
    return _Component(plain)


def _pattern(text: str) -> re.Pattern[str]:
    """One component as a regular expression. Raises Bad for a range that runs backwards."""
    import re  # noqa: PLC0415 (only where wildcards are used)

    # A wildcard at the start does not match a hidden name; a bracket with a dot neither, as in glob(7).
    parts = [r"(?!\.)"] if text[0] in "*[" else []
    pieces = iter(_scan(text))
    for piece in pieces:
        if piece == "*":
            parts.append(".*")
        elif piece == "[":
            inner = next(pieces)[:-1]
            negated = inner[:1] in ("!", "^") and len(inner) > 1
            try:
                parts.append(_bracket(inner[1:] if negated else inner, negated=negated))
            except ValueError:
                raise Bad(f"{quoted(text)}: the range in brackets runs backwards") from None
        else:
            parts.append(re.escape(piece))
    return re.compile("".join(parts), re.DOTALL)


def _bracket(inner: str, *, negated: bool) -> str:
    ranges = []
    at = 0
    while at < len(inner):
        low = high = inner[at]
        if inner[at + 1 : at + 2] == "-" and at + 2 < len(inner):
            high = inner[at + 2]
            at += 2
        if low > high:
            raise ValueError(inner)
        ranges.append(f"\\U{ord(low):08x}-\\U{ord(high):08x}")
        at += 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]"


class _Walk:
    """The expansion of one entry, with its two limits."""

    def __init__(self, host: Host, text: str) -> None:
        self.host = host
        self.text = text
        self.visited = 0
        self.found: set[str] = set()

    def run(self, components: list[_Component]) -> list[str]:
        if not any(part.pattern for part in components):
            return ["/" + "/".join(part.text for part in components)]
        if components[-1].pattern and components[-1].text == ANY_DEPTH:
            # A rule on a directory covers its tree, so everything at any depth is each thing at the first.
            components[-1] = _Component("*", _pattern("*"))
        self.walk("", tuple(components))
        return sorted(self.found)

    def walk(self, base: str, components: tuple[_Component, ...]) -> None:
        """Collect what matches `components` below `base` (no final slash; "" is the root)."""
        for index, part in enumerate(components):
            if part.pattern is None:
                base = f"{base}/{part.text}"
                continue
            rest = components[index + 1 :]
            if part.text == ANY_DEPTH:
                for directory in self.tree(base):
                    self.walk(directory, rest)
            else:
                for name in self.names(base):
                    if part.pattern.fullmatch(name):
                        self.walk(f"{base}/{name}", rest)
            return
        if self.host.lstat(base or "/") is not None:
            self.found.add(base or "/")
            if len(self.found) > MAX_MATCHES:
                raise Bad(f"{quoted(self.text)}: matches more than {MAX_MATCHES} paths", "name their directory instead")

    def tree(self, base: str) -> Iterator[str]:
        """`base` and the directories below it, without hidden ones and those behind links."""
        waiting = [base]
        while waiting:
            directory = waiting.pop()
            yield directory
            for name in self.names(directory):
                path = f"{directory}/{name}"
                status = None if name[0] == "." else self.host.lstat(path)
                if status is not None and stat.S_ISDIR(status.mode):
                    waiting.append(path)

    def names(self, directory: str) -> list[str]:
        """The names in a directory; [] if it is none, or if the command cannot look names up in it either."""
        if len(os.fsencode(directory)) > MAX_DEPTH:
            raise Bad(f"{quoted(self.text)}: directories nested too deeply to look through")
        names = self.host.listdir(directory or "/")
        if names is None:
            status = self.host.stat(directory or "/")
            if status is not None and stat.S_ISDIR(status.mode) and self.can_search(status.mode, status.uid):
                # Unlistable, but its entries can be reached by name: a deny with a wildcard would miss them.
                raise Bad(
                    f"{quoted(self.text)}: the directory cannot be listed: {quoted(directory or '/')}",
                    "name what is meant without a wildcard",
                )
            return []
        self.visited += len(names)
        if self.visited > MAX_VISITED:
            raise Bad(
                f"{quoted(self.text)}: more than {MAX_VISITED} files to look through", "start from a smaller directory"
            )
        return names

    def can_search(self, mode: int, owner: int) -> bool:
        """Whether someone with the caller's ids may have search permission; groups are not looked up."""
        return bool(mode & (stat.S_IXUSR if owner == self.host.uid else stat.S_IXGRP | stat.S_IXOTH))
