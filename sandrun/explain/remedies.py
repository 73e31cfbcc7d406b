"""The smallest flag, and the same as a line of a profile, that would let a refused thing through. Pure."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from sandrun.plan.groups import DNS, TEMPORARY
from sandrun.profile.paths import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandrun.explain.denials import Denial

DENYING = ("filesystem.deny", "filesystem.deny_write", "network.deny", "syscalls.deny", "syscalls.rules")
FILE_KEYS = {
    "read": "read",
    "look": "read",
    "write": "write",
    "create": "write",
    "remove": "write",
    "change": "write",
    "execute": "execute",
}
INTERNET = ("inet", "inet6")
PORTS = {"ftp": 21, "git": 9418, "http": 80, "https": 443, "ssh": 22, "ws": 80, "wss": 443}
"""The port of a URL that names none."""
MOST_NAMED = 5
_URL = re.compile(
    r"\b(?P<scheme>[a-z][a-z0-9+.-]{0,20})://(?:[^/@\s]{0,200}@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::(?P<port>\d{1,5}))?(?=[/?#\s'\"]|$)"
)
_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*):(?P<port>\d{1,5})")


class Remedy(NamedTuple):
    """What to do. `flag` and `toml` say the same; both are "" where only `text` can say it."""

    flag: str = ""
    toml: str = ""
    text: str = ""
    key: str = ""
    """The key of the profile that the flag stands for, "" without one."""
    item: str = ""
    """What the flag adds to it."""


def remedy(denial: Denial) -> Remedy:
    """The smallest grant that covers what was refused; of a denial by the profile itself, the entry to take out.

    Nothing says that it would be wise to grant it.
    """
    against = next((entry for entry in denial.entries if entry.key in DENYING), None)
    if against is not None:
        return Remedy(text=f"take out {against.key} {against.text} ({against.origin}): it wins over every grant")
    if denial.act in FILE_KEYS:
        return _of_file(denial)
    if denial.act == "connect":
        return _listed("network.connect", "--connect", denial.target)
    if denial.act == "name":
        return _listed("network.connect", "--connect", f"{denial.target}:443", "with the port that it is meant for")
    if denial.act == "bind":
        return _listed("network.bind", "--bind", denial.target)
    if denial.act == "unix":
        path = denial.target if denial.target.startswith("abstract:") else _written(denial.target)
        return _listed("network.unix", "--unix", path)
    if denial.act == "syscall":
        return _of_syscall(denial)
    return Remedy()


def others(denial: Denial, words: Iterable[str]) -> Iterator[Remedy]:
    """What else to try where the remedy itself does not allow it, or is none. `words` are those of the command line."""
    if denial.act == "read" and posixpath.normpath(denial.target) in DNS:
        yield _listed("filesystem.read", "--read", _written(posixpath.normpath(denial.target)))
    name, _, about = denial.target.partition(" ")
    if denial.act == "syscall" and name == "socket" and about.split(" ")[0] in (*INTERNET, "unix"):
        for place in endpoints(words):
            yield _listed("network.connect", "--connect", f"tcp:{place}", "the command line names it")


def endpoints(words: Iterable[str]) -> tuple[str, ...]:
    """The `HOST:PORT` that words name: those of URLs, and words that are nothing else."""
    found: dict[str, None] = {}
    for word in words:
        for url in _URL.finditer(word[:4096]):
            port = url["port"] or PORTS.get(url["scheme"])
            if port and 0 < int(port) <= 65535:
                found[f"{url['host'].lower()}:{int(port)}"] = None
        alone = _PLACE.fullmatch(word)
        if alone and 0 < int(alone["port"]) <= 65535:
            found[f"{alone['host'].lower()}:{int(alone['port'])}"] = None
    return tuple(found)[:MOST_NAMED]


def _of_file(denial: Denial) -> Remedy:
    path = posixpath.normpath(denial.target)
    key = FILE_KEYS[denial.act]
    if key == "read" and path in DNS:
        return _listed("filesystem.read", "--read", "@dns")
    if denial.act == "create" and posixpath.dirname(path) in TEMPORARY:
        text = "TMPDIR then names a directory of its own"
        return Remedy("--tmp private", 'filesystem.tmp = "private"', text, "filesystem.tmp", "private")
    if denial.act in ("create", "remove"):
        # Landlock asks for making and removing of the directory; a grant of what is not there would have to make it.
        path = posixpath.dirname(path)
    return _listed(f"filesystem.{key}", f"--{key}", _written(path))


def _of_syscall(denial: Denial) -> Remedy:
    name, _, about = denial.target.partition(" ")
    if name in ("socket", "socketpair") and about:
        family = about.split(" ")[0]
        if family in INTERNET:
            return Remedy(text="grant the endpoint that it is meant for: --connect HOST:PORT, or --bind PORT")
        if family == "unix":
            # The C library asks other programs for host names so; a host that is granted brings its own resolution.
            return Remedy(
                text="grant what it is meant for: --connect HOST:PORT for the name of a host, else --unix PATH"
            )
        return _listed("network.families", "--family", family)
    others = [entry for entry in denial.entries if not entry.key.startswith("syscalls.")]
    if others:
        return Remedy(text=f"it is refused for the sake of {others[0].key} ({others[0].origin})")
    return _listed("syscalls.allow", "--allow-syscall", name)


def raised(name: str, limit: int) -> Remedy:
    """A higher limit of resources: how much is enough, nobody knows, so twice as much."""
    return Remedy(f"--rlimit {name}={limit * 2}", f"rlimits.{name} = {limit * 2}", "or more")


def _listed(key: str, flag: str, item: str, text: str = "") -> Remedy:
    return Remedy(f"{flag} {shlex.quote(item)}", f"{key} = [{json.dumps(item, ensure_ascii=False)}]", text, key, item)


def _written(path: str) -> str:
    """A path as the grammar of paths has it: no character of it is a wildcard."""
    text = literal(path)
    return text if text.startswith("/") else f"./{text}"
