"""A profile's bytes → its TOML document and the line of each key. Nothing here knows what the keys mean."""

from __future__ import annotations

import os
import stat

from sandrun.digest import sha256
from sandrun.errors import Problem, ProfileError
from sandrun.named import NamedTuple
from sandrun.profile._documents import DOCUMENTS
from sandrun.profile.bad import escaped, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Place = tuple[str | int, ...]

MAX_BYTES = 1024 * 1024
TOO_DEEP = "not a profile: nested too deeply"
BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
HANDED_OVER = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Where the shell hands over a pipe (`-p <(generate)`): the caller opened it, so waiting for it is what was asked."""


class UnreadableError(ProfileError):
    """The file is not there or cannot be read, so nothing can be said about it.

    The place of its problem is left empty, for whoever knows who named the file.
    """


class Document(NamedTuple):
    """A parsed file. `lines` has the line of a table, key or array item by its path: `("filesystem", "read", 2)`."""

    data: Mapping[str, object]
    lines: Mapping[Place, int]
    identity: tuple[int, int]
    """Device and inode, to notice a profile that includes itself under another name."""


def read(path: str, shown: str, *, trusted_owner: bool = False) -> Document:
    """Read and parse a profile; `shown` names it in messages.

    With `trusted_owner` a file that root finds by its name alone has to be root's.
    Raises ProfileError: the file cannot be read, is no regular file, too large, writable by others when read by root,
    no UTF-8 or no TOML. Never waits for a FIFO or device.
    """
    text, identity = read_text(path, shown, trusted_owner=trusted_owner)
    known = DOCUMENTS.get(digest(text))
    if known:
        values, places = known()
        return Document(values, places, identity)
    document = parse(text, shown)
    try:
        return Document(document, lines(text), identity)
    except RecursionError:
        raise _fail(shown, TOO_DEEP) from None


def digest(text: str) -> str:
    """What stands for a text in the table of the built-in profiles, which tools/gen_known.py parses beforehand."""
    return sha256(text.encode()).hex()


def read_text(path: str, shown: str, *, trusted_owner: bool = False) -> tuple[str, tuple[int, int]]:
    """The text of a profile, and which file it is (device and inode). Raises ProfileError as `read` does."""
    data, identity = _read_bytes(path, shown, trusted_owner=trusted_owner)
    return _decode(data, shown), identity


def _fail(shown: str, message: str, hint: str | None = None) -> ProfileError:
    return ProfileError([Problem(shown, message, hint)])


def _read_bytes(path: str, shown: str, *, trusted_owner: bool) -> tuple[bytes, tuple[int, int]]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:
        raise _fail(shown, "a path cannot contain a NUL byte") from None
    except OSError as error:
        raise _unreadable(shown, error) from None
    try:
        status = os.fstat(fd)
        _check_file(status, path, shown, trusted_owner=trusted_owner)
        if stat.S_ISFIFO(status.st_mode):
            os.set_blocking(fd, True)
        parts = []
        size = 0
        while size <= MAX_BYTES and (part := os.read(fd, MAX_BYTES + 1 - size)):
            parts.append(part)
            size += len(part)
    except OSError as error:
        raise _unreadable(shown, error) from None
    finally:
        os.close(fd)
    if size > MAX_BYTES:
        raise _fail(shown, f"larger than {MAX_BYTES // 1024} KiB: not a profile")
    return b"".join(parts), (status.st_dev, status.st_ino)


def _unreadable(shown: str, error: OSError) -> UnreadableError:
    return UnreadableError([Problem("", f"cannot read the profile: {shown}: {reason(error)}")])


def _check_file(status: os.stat_result, path: str, shown: str, *, trusted_owner: bool) -> None:
    """Refuse what is no file, and as root what others could have changed: a profile grants root's powers."""
    mode = status.st_mode
    if stat.S_ISFIFO(mode) and path.startswith(HANDED_OVER):
        return
    if stat.S_ISDIR(mode):
        raise _fail(shown, "a profile is a file, this is a directory")
    if not stat.S_ISREG(mode):
        raise _fail(shown, "not a regular file", 'the empty profile is "-p none"' if path == "/dev/null" else None)
    if os.geteuid() != 0:
        return
    # A group that has its owner's number is the owner's own (adduser(8)), and root's group is root.
    others_write = mode & stat.S_IWOTH or (mode & stat.S_IWGRP and status.st_gid not in (0, status.st_uid))
    if others_write:
        raise _fail(shown, "writable by others than its owner, and read by root", "chmod go-w it")
    if trusted_owner and status.st_uid != 0:
        raise _fail(
            shown,
            f"found by its name by root, and owned by uid {status.st_uid}",
            "give its path to use it all the same",
        )


def _decode(data: bytes, shown: str) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise _fail(f"{shown}:1:1", "starts with a byte order mark", "save it as UTF-8 without one")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        raise _fail(f"{shown}:{line}:{column}", f"not UTF-8: byte 0x{data[error.start]:02x}") from None


def parse(text: str, shown: str) -> dict[str, object]:
    """The TOML document of a text. Raises ProfileError with line and column."""
    import tomli  # noqa: PLC0415 (completion and help do without it)

    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        message = escaped(error.msg[:1].lower() + error.msg[1:])
        raise _fail(f"{shown}:{error.lineno}:{error.colno}", f"not TOML: {message}") from None
    except RecursionError:
        raise _fail(shown, TOO_DEEP) from None
    except ValueError as error:
        # An integer of more digits than Python converts (sys.set_int_max_str_digits).
        raise _fail(shown, f"not a profile: {error}") from None


def lines(text: str) -> dict[Place, int]:
    """The line of every table, key and array item of a text that `parse` accepted.

    Places that this small scanner gets wrong would only misplace a message, never change a value.
    """
    return _Scanner(text).run()


class Spans(NamedTuple):
    """Where things stand in a text: from and to which character. `keys` has a key before its `=`, or a header."""

    keys: Mapping[Place, tuple[int, int]]
    values: Mapping[Place, tuple[int, int]]


def spans(text: str) -> Spans:
    """The place of every key, header, value and array item of a text that `parse` accepted."""
    scanner = _Scanner(text)
    scanner.run()
    return Spans(scanner.keys, scanner.values)


class _Scanner:
    """Walks over the statements of valid TOML and notes where values start."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Place, int] = {}
        self.keys: dict[Place, tuple[int, int]] = {}
        self.values: dict[Place, tuple[int, int]] = {}
        self.counted = 0
        self.line = 1
        self.arrays: dict[Place, int] = {}

    def run(self) -> dict[Place, int]:
        header: Place = ()
        while self.skip_blank():
            if self.text[self.at] != "[":
                self.key_value(header)
                continue
            double = self.text.startswith("[[", self.at)
            start = self.at
            self.at += 2 if double else 1
            header = self.below_arrays(self.key())
            self.at += 2 if double else 1
            if double:
                index = self.arrays.get(header, -1) + 1
                self.arrays[header] = index
                header = (*header, index)
            self.keys[header] = start, self.at
            self.note_all(header, 1, start)
        return self.lines

    def below_arrays(self, key: Place) -> Place:
        """The place of a header's key: `[a.b]` behind `[[a]]` is within the last `a`."""
        place: Place = ()
        for number, part in enumerate(key):
            place = (*place, part)
            if place in self.arrays and number < len(key) - 1:
                place = (*place, self.arrays[place])
        return place

    def note_all(self, place: Place, shortest: int, at: int) -> None:
        """Note a place and the tables that naming it makes, from those of `shortest` parts."""
        for length in range(shortest, len(place) + 1):
            self.note(place[:length], at)

    def note(self, place: Place, at: int) -> None:
        self.line += self.text.count("\n", self.counted, at)
        self.counted = at
        self.lines.setdefault(place, self.line)

    def skip_blank(self) -> bool:
        """Go behind white space and comments; False at the end of the text."""
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if char == "#":
                end = text.find("\n", self.at)
                self.at = len(text) if end < 0 else end
            elif char in " \t\r\n":
                self.at += 1
            else:
                return True
        return False

    def key(self) -> Place:
        parts: Place = ()
        while True:
            self.skip_blank()
            char = self.text[self.at : self.at + 1]
            start = self.at
            if char in ('"', "'") and char:
                self.string()
                parts = (*parts, self.unquoted(self.text[start : self.at]))
            else:
                while self.text[self.at : self.at + 1] in BARE:
                    self.at += 1
                parts = (*parts, self.text[start : self.at])
            self.skip_blank()
            if self.text[self.at : self.at + 1] != ".":
                return parts
            self.at += 1

    def unquoted(self, text: str) -> str:
        if "\\" not in text:
            return text[1:-1]
        return next(iter(parse(f"{text} = 0", "")))

    def key_value(self, header: Place) -> None:
        self.skip_blank()
        start = self.at
        key = self.key()
        self.note_all((*header, *key), len(header) + 1, start)
        self.keys[*header, *key] = start, self.at
        self.at += 1
        self.value((*header, *key))

    def value(self, place: Place) -> None:
        self.skip_blank()
        start = self.at
        char = self.text[start]
        if char in "\"'":
            self.string()
        elif char == "[":
            self.at += 1
            index = 0
            while self.more("]"):
                self.note((*place, index), self.at)
                self.value((*place, index))
                index += 1
        elif char == "{":
            self.at += 1
            while self.more("}"):
                self.key_value(place)
        else:
            while self.text[self.at : self.at + 1] not in ("", ",", "]", "}", "\n", "#"):
                self.at += 1
        self.values[place] = start, start + len(self.text[start : self.at].rstrip())

    def more(self, closing: str) -> bool:
        """Whether another item follows before `closing`, which is then passed."""
        self.skip_blank()
        if self.text[self.at] == ",":
            self.at += 1
            self.skip_blank()
        if self.text[self.at] != closing:
            return True
        self.at += 1
        return False

    def string(self) -> None:
        text = self.text
        quote = text[self.at]
        triple = quote * 3
        if text.startswith(triple, self.at):
            end = self.closing(triple, self.at + 3)
            # Up to two quotes may stand before the closing three.
            while text.startswith(quote, end + 3) and end + 3 < len(text):
                end += 1
            self.at = end + 3
        else:
            self.at = self.closing(quote, self.at + 1) + 1

    def closing(self, quote: str, start: int) -> int:
        """Where `quote` next closes a string; in basic strings a backslash protects the character behind it."""
        text = self.text
        end = text.index(quote, start)
        if quote[0] == "'":
            return end
        slash = text.find("\\", start, end)
        while slash >= 0:
            start = slash + 2
            end = text.index(quote, start)
            slash = text.find("\\", start, end)
        return end
