"""A resource limit that the profile lowered cannot be raised again, by root neither."""

from __future__ import annotations

import resource

SANDRUN = ("--rlimit", "nofile=64:64")
REFUSALS = ("EPERM",)


def attempt() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (65, 65))
    except ValueError as error:
        raise PermissionError(1, str(error)) from None
