"""The cage of a learning run: what a command that nobody knows yet may do, as flags of a launch. Pure, over a Host.

| cage | what it sees | where it writes |
| --- | --- | --- |
| `private` | the system, no home but an empty one of its own | the working directory, by an overlay; its own /tmp and home |
| `home` | also the home, without the sensitive tiers | the same, the home is read-only |
| `open` | everything | everywhere, for good |

The network is what the options of the command line say, in all of them; so are further files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandrun.learn.tiers import is_below
from sandrun.profile.paths import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sandrun.host import Host
    from sandrun.learn.tiers import Tiers

CAGES = ("private", "home", "open")
PROFILE = "builtin:programs"
"""The system calls of a cage: those of ordinary programs."""
FLAG = "--cage"
MOST_NAMED = 64


def flags(cage: str, cwd: str, home: str, tiers: Tiers, named: Iterable[str], host: Host) -> list[tuple[str, str, str]]:
    """The (key, value, flag) of a cage. `named` are the words of the command, of which paths that exist may be read."""
    filesystem: list[tuple[str, str]] = [("read", "@all"), ("execute", "@all")]
    if cage == "open":
        filesystem.append(("write", "@all"))
        return [(f"filesystem.{key}", text, FLAG) for key, text in filesystem]
    filesystem += [("write", "@devices"), ("execute", "@runtime"), ("overlay", literal(cwd)), ("execute", literal(cwd))]
    filesystem += [("tmp", "private"), ("proc", "own"), ("home", "private" if cage == "private" else "host")]
    if cage == "home" and home not in ("", "/"):
        filesystem.append(("execute", literal(home)))
    for path in inputs(named, cwd, tiers, host):
        filesystem.append(("execute", literal(path)))
    for path, _ in tiers.places:
        hidden = cage == "private" and is_below(path, home)
        real = host.realpath(path)
        if not hidden and host.lstat(real) is not None and not is_below(cwd, real):
            filesystem.append(("deny", literal(path)))
    return [*((f"filesystem.{key}", text, FLAG) for key, text in filesystem), ("process.isolate", "true", FLAG)]


OPTIONAL = ("process.isolate", "filesystem.proc")
"""What a cage may do without, as `default` may."""


def inputs(words: Iterable[str], cwd: str, tiers: Tiers, host: Host) -> Sequence[str]:
    """The words that name something that exists, as canonical paths: whoever names a file wants it read.

    Neither what is in a tier, nor what holds one, nor what is as wide as a home.
    """
    found: dict[str, None] = {}
    for word in words:
        path = word.partition("=")[2] if word.startswith("-") and "=" in word else word
        path = path.removeprefix("file://")
        if not path or path.startswith("-") or "\0" in path:
            continue
        real = host.realpath(path if path.startswith("/") else f"{cwd}/{path}")
        if host.lstat(real) is not None and tiers.may_cover(real) and not is_below(real, cwd):
            found[real] = None
    return tuple(found)[:MOST_NAMED]
