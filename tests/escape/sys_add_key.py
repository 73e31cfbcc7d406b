"""The default profile refuses add_key(2)."""

from __future__ import annotations

from tests.probes.inside import syscall

KEY_SPEC_PROCESS_KEYRING = -2


def attempt() -> None:
    syscall("add_key", b"user", b"sandrun-test", b"x", 1, KEY_SPEC_PROCESS_KEYRING)
