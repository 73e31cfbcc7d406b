"""Names that are another one in the next run: parts of them become wildcards, as far as `profile.paths` can say so. Pure.

A wildcard of a profile is expanded at launch, to what is there by then. So a pattern helps for what exists before the
command starts, under a name that changes: a cache entry, a version. What the command makes itself is granted by its
directory.
"""

from __future__ import annotations

import re

from sandrun.profile.paths import literal

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_HASH = re.compile(r"(?<![0-9a-zA-Z])(?=[0-9a-fA-F]*[0-9])(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{12,}(?![0-9a-zA-Z])")
_VERSION = re.compile(r"(?<![0-9a-zA-Z.])[vV]?([0-9]{1,4}(?:\.[0-9]{1,6}){1,4})(?![0-9a-zA-Z]*\.[0-9])")
_NUMBER = re.compile(r"(?<![0-9a-zA-Z.])([0-9]{3,10})(?![0-9a-zA-Z.])")
_RANDOM = re.compile(
    r"(?<=[.\-_])(?=[A-Za-z0-9_]*[A-Z0-9])(?=[A-Za-z0-9_]*[a-z])[A-Za-z0-9_]{6,12}$|(?<=^tmp)[a-z0-9_]{8}$"
)
_DIGIT = "[0-9]"


def pattern(name: str) -> str:
    """One name of a path as a profile's wildcard; `literal(name)` if nothing of it looks as if it would change.

    What is put in place of a version or a number still starts with a digit, so that `lib-1.2` never means `lib-private`.
    """
    for looks, stands in (
        (_UUID, "*"),
        (_HASH, "*"),
        (_VERSION, _DIGIT + "*"),
        (_NUMBER, _DIGIT + "*"),
        (_RANDOM, "*"),
    ):
        match = looks.search(name)
        if match is None:
            continue
        start = match.start(1) if looks.groups else match.start()
        head, tail = name[:start], name[match.end() :]
        if not head.strip(".") and name.startswith("."):
            break  # nothing but a dot before the wildcard would mean every hidden name
        # A name that is all wildcard would mean every name of the directory.
        whole = not head and not tail and stands == "*"
        return f"{literal(head)}{_class(match.group()) if whole else ''}{stands}{literal(tail)}"
    return literal(name)


def is_changing(name: str) -> bool:
    """Whether a part of this name looks as if it were another one in the next run."""
    return pattern(name) != literal(name)


def generalise(path: str, fixed: str = "/") -> str:
    """An absolute path with the names below `fixed` as patterns, and those of `fixed` literal."""
    below = path[len(fixed.rstrip("/")) :] if path.startswith(fixed) else path
    top = path[: len(path) - len(below)]
    return literal(top) + "/".join(pattern(name) if name else "" for name in below.split("/"))


def _class(text: str) -> str:
    """The narrowest class of first characters for a whole name of hexadecimal digits."""
    return "[0-9a-f]" if text == text.lower() else "[0-9A-Fa-f]"
