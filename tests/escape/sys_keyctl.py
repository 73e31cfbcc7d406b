"""The default profile refuses keyctl(2): the session's keys are the caller's."""

from __future__ import annotations

from tests.probes.inside import syscall

KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING = 0, -4


def attempt() -> None:
    syscall("keyctl", KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1)
