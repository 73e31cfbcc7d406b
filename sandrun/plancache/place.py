"""Where the entries are, and under which names: as sandrun/native/cache.c finds them.

The bytes of the key that the name is the hash of, and the facts, hold numbers in the machine's own order.
"""

from __future__ import annotations

import os
import stat
import sys
import time

from sandrun.digest import sha256
from sandrun.errors import SandrunError
from sandrun.plan import format as plan_format
from sandrun.plancache.answers import WORD
from sandrun.plancache.entry import MAGIC, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CACHE_VARIABLE, CACHE_BELOW = "SANDRUN_CACHE", ".local/state/sandrun/plans"
"""Plans are kept where the first says, if that is absolute, else there below the home of passwd(5), whatever HOME is."""
MOST_BYTES = 1 << 23
"""Of one entry: room for 20,000 paths."""
ACCOUNTS, MOST_ACCOUNTS = "/etc/passwd", 1 << 22
MOST_ENTRIES, MOST_IN_ALL = 256, 1 << 25
MOST_WORDS = 64
STATUS_FD, MOST_DIGITS = "--status-fd", 9
EXECUTOR = b"SANDRUN_EXECUTOR"
"""Not in the key: the plan is the same for both executors, and Python sets it."""
END_OF_NAMES = 2**32 - 1
NAME_LENGTH = 64
LEFTOVER_SECONDS = 60
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def path() -> str:
    """The directory of the entries: SANDRUN_CACHE, else below the home of passwd(5); "" if there is none.

    Not below HOME: what an earlier command could have written must not say where the next launch looks.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named is not None:
        return named if named.startswith("/") else ""
    home = home_in_passwd(os.geteuid())
    return f"{home.rstrip('/')}/{CACHE_BELOW}" if home else ""


def home_in_passwd(user: int) -> str:
    """The home of the first account of this number in /etc/passwd itself; "" if it has none that is absolute."""
    try:
        with open(ACCOUNTS, "rb") as file:
            return home_in(file.read(), user)
    except OSError:
        return ""


def home_in(accounts: bytes, user: int) -> str:
    """The same of these lines of passwd(5)."""
    for line in accounts.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 7 and fields[2].isdigit() and int(fields[2]) == user and line[:1] != b"+":
            return os.fsdecode(fields[5]) if fields[5].startswith(b"/") else ""
    return ""


def status_fd(words: Sequence[str]) -> str:
    """The number in `--status-fd NUMBER`, if the words begin with it: there it is an option for sure. Else ""."""
    if len(words) < 3 or words[0] != STATUS_FD:
        return ""
    number = words[1]
    return number if number.isascii() and number.isdecimal() and len(number) <= MOST_DIGITS else ""


def program() -> str:
    """What stands in the key for a Python that looks by itself: which one it is, and where it finds modules."""
    return "\n".join((sys.executable, sys.prefix, str(tuple(sys.flags)), *sys.path))


def key(program: str, words: Sequence[str]) -> str:
    """The name of the entry for these words, of which the last one is the command's name; "" if there can be none.

    A number that `status_fd` finds is no part of it, since programs have another one each time.
    """
    try:
        cwd = os.getcwdb()
    except OSError:
        return ""
    effective, group = os.geteuid(), os.getegid()
    if not 0 < len(words) <= MOST_WORDS or cwd[:1] != b"/":
        return ""
    if set(os.getresuid()) != {effective} or set(os.getresgid()) != {group}:
        return ""
    groups = os.getgroups()
    if status_fd(words):
        words = (f"{STATUS_FD}\0", *words[2:])  # with a NUL, so that no word is taken for it
    parts = [
        MAGIC + WORD.pack(VERSION) + WORD.pack(plan_format.VERSION),
        _text(os.fsencode(program)),
        *(WORD.pack(number) for number in (effective, group, len(groups), *groups)),
        _text(cwd),
        *(_text(name) for name in sorted(os.environb) if name != EXECUTOR),
        WORD.pack(END_OF_NAMES),
        *(_text(os.fsencode(word)) for word in words),
    ]
    return sha256(b"".join(parts)).hex()


def make(directory: str) -> None:
    """Make the directory, so that it can be kept from the command before anything is in it. Raises OSError or SandrunError."""
    os.close(_open_place(directory, make=True))


def read(directory: str, name: str) -> bytes:
    """The bytes of an entry, b"" if there is none that is this user's alone."""
    try:
        folder = _open_place(directory, make=False)
    except (OSError, SandrunError):
        return b""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            found = os.fstat(file)
            mine = found.st_uid == os.geteuid() and found.st_mode == stat.S_IFREG | 0o600 and found.st_nlink == 1
            return os.read(file, found.st_size) if mine and found.st_size <= MOST_BYTES else b""
        finally:
            os.close(file)
    except OSError:
        return b""
    finally:
        os.close(folder)


def write(directory: str, name: str, data: bytes) -> None:
    """Put an entry in place. Raises OSError or SandrunError; then there is none of this name."""
    if len(data) > MOST_BYTES:
        raise SandrunError("the plan is too large to be kept")
    folder = _open_place(directory, make=True)
    temporary = f".{os.urandom(8).hex()}"
    try:
        _prune(folder, len(data))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            os.fchmod(file, 0o600)  # whatever the umask is
            while data:
                data = data[os.write(file, data) :]
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(temporary, dir_fd=folder)
            raise
        finally:
            os.close(file)
    finally:
        os.close(folder)


def remove(directory: str, name: str) -> None:
    """Remove the entry of this name, if there is one. Raises OSError or SandrunError."""
    folder = _open_place(directory, make=False)
    try:
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _open_place(directory: str, *, make: bool) -> int:
    """The directory, a name at a time from what belongs to the home on, without links. It is this user's alone."""
    base, below = _base(directory)
    *above, last = [name for name in below.split("/") if name]
    at = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name, how in (*((name, os.O_PATH) for name in above), (last, os.O_RDONLY)):
        try:
            if make:
                _make(name, at)
            under = os.open(name, _FOLDER | how, dir_fd=at)
        finally:
            os.close(at)
        at = under
    found = os.fstat(at)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
        os.close(at)
        raise SandrunError(f"not a directory of this user alone: {directory}")
    return at


def _base(directory: str) -> tuple[str, str]:
    if CACHE_VARIABLE in os.environ:
        return "/", directory.strip("/")
    return directory.removesuffix("/" + CACHE_BELOW) or "/", CACHE_BELOW


def _make(name: str, folder: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
    except FileExistsError:
        return  # what it is, is looked at when it is opened


def _prune(folder: int, size: int) -> None:
    """Make room for one more of so many bytes: the oldest go, and what an interrupted launch left."""
    entries = []
    for name in os.listdir(folder):
        age, its_size = _age_and_size(name, folder)
        if len(name) == NAME_LENGTH:
            entries.append((age, name, its_size))
        elif name.startswith(".") and age > LEFTOVER_SECONDS:
            _remove(name, folder)
    for count, (_, name, its_size) in enumerate(sorted(entries), 2):
        size += its_size
        if count > MOST_ENTRIES or size > MOST_IN_ALL:
            _remove(name, folder)


def _age_and_size(name: str, folder: int) -> tuple[float, int]:
    try:
        found = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return 0, 0
    return time.time() - found.st_mtime, found.st_size


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return  # another launch makes room as well


def _text(data: bytes) -> bytes:
    return WORD.pack(len(data)) + data
