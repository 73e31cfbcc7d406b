"""The init process of the command's pid namespace is a copy of the supervisor: the caller's secrets in it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import BELOW_ANOTHER_INIT, see

if TYPE_CHECKING:
    from tests.escape.outside import Outside

PREFIX = BELOW_ANOTHER_INIT


def needs() -> None:
    from tests import support

    support.need_userns()


def setup(out: Outside) -> None:
    from tests.probes.inside import SECRET

    out.options["env"] = {**out.who.env, "AWS_SECRET_ACCESS_KEY": SECRET}


def attempt() -> None:
    with open("/proc/1/environ", encoding="utf-8") as file:
        see(file.read())
