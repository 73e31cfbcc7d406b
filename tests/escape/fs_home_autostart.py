"""The default profile does not let a user service be planted below the user's ~/.config."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.escape.outside import Outside


STATUSES = (0, 3)
"""It may do so in a home of its own; without a mount namespace it may not."""


def setup(out: Outside) -> None:
    out.kept = out.who.home / ".config"
    out.arguments += [out.kept]


def attempt(path: str) -> None:
    os.makedirs(path + "/systemd/user")
    with open(path + "/systemd/user/evil.service", "w", encoding="utf-8") as file:
        file.write("[Service]\n")


def unharmed(out: Outside) -> bool:
    return not out.kept.exists()
