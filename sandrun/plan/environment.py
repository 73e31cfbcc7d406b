"""The environment of the command: default-deny, by name.

The Plan holds names only. Values that the profile sets are handed to the launch beside the plan (`values`), so that
they reach neither the dry run, nor a report, nor a cache.
"""

from __future__ import annotations

import os

from sandrun.native import VARIABLE
from sandrun.plan.account import DYNAMIC, is_dynamic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.host import Account, Host
    from sandrun.plan.draft import Draft
    from sandrun.profile.model import Profile

BASIC = ("PATH", "HOME", "USER", "SHELL", "LANG", "LC_*", "TERM", "TZ")
SECRET_WORDS = (
    "AUTH",
    "COOKIE",
    "CREDENTIAL",
    "DSN",
    "KEY",
    "PASS",
    "PRIVATE",
    "PWD_",
    "SECRET",
    "SESSION",
    "SIGNATURE",
    "TOKEN",
)
"""A variable with one of these in its name is not passed by a wildcard; its exact name passes it."""
OWN_TMP = "/tmp"  # noqa: S108 (empty and the command's own where this is used)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def looks_secret(name: str) -> bool:
    """Whether a wildcard leaves this variable out (`AWS_SECRET_ACCESS_KEY`, `GITHUB_TOKEN`)."""
    upper = name.upper()
    return any(word in upper for word in SECRET_WORDS)


def resolve_environment(draft: Draft, host: Host, account: Account | None) -> None:
    """Set `env_pass` and `env_set`: which names the command gets from the caller, and which from the profile."""
    profile = draft.profile
    written = [str(value.value) for value in profile.items("environment.pass")]
    patterns = written if "environment.pass" in profile.values else ["@basic"]
    unset = [str(value.value) for value in profile.items("environment.unset")]
    assigned = {name for name in assignments(profile, account) if not _matches(name, unset)}
    passed = sorted(
        name
        for name in host.environ
        if name not in (*assigned, VARIABLE) and _selects(name, patterns) and not _matches(name, unset)
    )
    draft.fields["env_pass"] = tuple(os.fsencode(name) for name in passed)
    draft.fields["env_set"] = tuple(os.fsencode(name) for name in sorted(assigned))
    draft.record("environment.pass", "execve", notes=(f"{len(passed)} passed, {len(assigned)} set",))


def assignments(profile: Profile, account: Account | None) -> dict[str, str]:
    """The variables that are set, with their values: the profile's, and those a change of user brings."""
    values: dict[str, str] = {}
    if account is not None and profile.scalar("privileges.user") is not None and account.name:
        values.update(HOME=account.home, USER=account.name, LOGNAME=account.name, SHELL=account.shell)
    if is_dynamic(profile.scalar("privileges.user")):
        values.update(HOME="/", USER=DYNAMIC, LOGNAME=DYNAMIC, SHELL="/bin/sh")
    values.update({name: str(value.value) for name, value in profile.names("environment.set").items()})
    return values


def values(profile: Profile, account: Account | None) -> dict[bytes, bytes]:
    """What `launch` needs beside the plan: the value of each name that may be in `Plan.env_set`."""
    assigned = {"TMPDIR": OWN_TMP, "HOME": account.home if account else "", **assignments(profile, account)}
    return {os.fsencode(name): os.fsencode(value) for name, value in assigned.items()}


def command_path(draft: Draft, host: Host, account: Account | None) -> str:
    """The PATH that the command will see, which is also where it is looked up."""
    if b"PATH" in draft.fields["env_set"]:
        return assignments(draft.profile, account)["PATH"]
    if b"PATH" in draft.fields["env_pass"]:
        return host.environ["PATH"]
    return DEFAULT_PATH


def _selects(name: str, patterns: Iterable[str]) -> bool:
    for pattern in patterns:
        if pattern in (name, "@all"):
            return True
        if pattern == "@basic":
            if _matches(name, BASIC):
                return True
        elif _fits(name, pattern) and not looks_secret(name):
            return True
    return False


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    """As fnmatchcase(name, pattern), whose module and its `re` are only needed for more than one last star."""
    start = pattern.removesuffix("*")
    if not any(char in start for char in "*?["):
        return name == start if start == pattern else name.startswith(start)
    from fnmatch import fnmatchcase  # noqa: PLC0415

    return fnmatchcase(name, pattern)
