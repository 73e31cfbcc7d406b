"""Where profiles are: the word after `-p` or in `extends` → a file.

A word with a `/` is a path. Any other is a name: looked up in the user's directory, then the system's, then among the
built-in ones, never in the working directory. `builtin:NAME` looks only there.
"""

from __future__ import annotations

import errno
import os

from sandrun.named import NamedTuple
from sandrun.profile.bad import Bad, escaped, quoted, reason, suggest

BUILTIN = "builtin:"
NONE = "none"
"""The word for the empty profile."""
SUFFIX = ".toml"
HANDED_OVER = "/proc/self/fd/"
SYSTEM_DIRECTORY = "/etc/sandrun/profiles"


class Found(NamedTuple):
    """A profile's file. `source` is how messages name it; `by_name`: searched for in a directory of user or system."""

    word: str
    path: str
    source: str
    by_name: bool = False

    @property
    def directory(self) -> str:
        """What `${PROFILE_DIR}` means in it: absolute; links and `..` as written. Raises Bad if the cwd was deleted."""
        place = os.path.dirname(self.path)
        try:
            place = place if place.startswith("/") else os.path.join(os.getcwd(), place)
        except FileNotFoundError:
            raise Bad("the working directory was deleted", "give an absolute path") from None
        return "/" + "/".join(name for name in place.split("/") if name not in ("", "."))


def builtin_directory() -> str:
    """The directory of the built-in profiles: in the package once installed, at the top of a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "profiles")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "profiles")


def directories() -> list[str]:
    """The directories that a name is looked up in before the built-in ones, in order."""
    found = []
    # The base directory specification: a relative path is to be ignored.
    config = os.environ.get("XDG_CONFIG_HOME", "")
    if not config.startswith("/"):
        home = os.path.expanduser("~")
        config = os.path.join(home, ".config") if home.startswith("/") else ""
    if config:
        found.append(os.path.join(config, "sandrun", "profiles"))
    return [*found, SYSTEM_DIRECTORY]


def locate(word: str, base: str = "") -> Found:
    """The file that a word names; a relative path is relative to the file `base`, else to the working directory.

    A path is not looked at here. Raises Bad for a name that nothing has.
    """
    if not word or "\0" in word:
        raise Bad(f"not the name of a profile: {quoted(word)}")
    if word.startswith(BUILTIN):
        name = word.removeprefix(BUILTIN)
        path = os.path.join(builtin_directory(), name + SUFFIX)
        if not _is_name(name) or not os.path.lexists(path):
            raise _unknown(word, [BUILTIN + found for found in names_in(builtin_directory())])
        return Found(name, path, escaped(word))
    if "/" in word:
        path = os.path.join(os.path.dirname(base), word.removeprefix("./")) if base else word
        return Found(word, path, escaped(_name_of_memory(path) or path))
    for directory in directories() if _is_name(word) else ():
        path = os.path.join(directory, word + SUFFIX)
        if _exists(path):
            return Found(word, path, escaped(path), by_name=True)
    path = os.path.join(builtin_directory(), word + SUFFIX)
    if _is_name(word) and os.path.lexists(path):
        return Found(word, path, escaped(BUILTIN + word))
    raise _unknown(word, [found.word for found in available()])


def _name_of_memory(path: str) -> str:
    """What the file of a descriptor is called if it is in no directory (memfd_create(2)); "" for all others."""
    start, end = "/memfd:", " (deleted)"
    try:
        target = os.readlink(path) if path.startswith(HANDED_OVER) else ""
    except OSError:
        return ""
    return target[len(start) : -len(end)] if target.startswith(start) and target.endswith(end) else ""


def available() -> list[Found]:
    """Every profile that a name finds, sorted by name; one that is hidden by another of its name is left out."""
    found: dict[str, Found] = {}
    for directory in directories():
        for name in names_in(directory):
            path = os.path.join(directory, name + SUFFIX)
            found.setdefault(name, Found(name, path, escaped(path), by_name=True))
    for name in names_in(builtin_directory()):
        path = os.path.join(builtin_directory(), name + SUFFIX)
        found.setdefault(name, Found(name, path, escaped(BUILTIN + name)))
    return [found[name] for name in sorted(found)]


def names_in(directory: str) -> list[str]:
    """The names of the profiles in a directory, sorted; none if it cannot be listed."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and _is_name(name))


def _is_name(word: str) -> bool:
    return bool(word) and "/" not in word and word[0] != "."


def _exists(path: str) -> bool:
    """Whether a file is there, also one that cannot be read: the next of its name must not quietly take its place.

    Raises Bad if that cannot be told.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        hint = "profiles are looked for below XDG_CONFIG_HOME, or else HOME: set it to a place of your own"
        denied = error.errno == errno.EACCES
        raise Bad(f"cannot look for the profile: {escaped(path)}: {reason(error)}", hint if denied else None) from None
    return True


def _unknown(word: str, names: list[str]) -> Bad:
    if word.endswith(SUFFIX) and os.path.lexists(word):
        return Bad(f"no such profile: {quoted(word)}", f"a file in the working directory is {quoted('./' + word)}")
    searched = "only built in" if word.startswith(BUILTIN) else ", ".join([*map(escaped, directories()), "built in"])
    like = suggest(word, names)
    return Bad(f"no such profile: {quoted(word)}", f"{like or 'see sandrun profile list'} (searched: {searched})")
