"""Root cannot read /etc/shadow under the default profile."""

from __future__ import annotations

WHO = ("root",)


def needs() -> None:
    from pathlib import Path

    from tests import support

    support.need(Path("/etc/shadow").exists(), "no /etc/shadow")


def attempt() -> None:
    with open("/etc/shadow", "rb") as file:
        file.read()
