"""No secret of the caller's environment is left in the memory that the command can see of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.probes.inside import Blocked

if TYPE_CHECKING:
    from tests.escape.outside import Outside


def setup(out: Outside) -> None:
    out.options["env"] = {**out.who.env, "SECRET_THING": "in" + "visible" * 3}


def attempt() -> None:
    needle = ("in" + "visible" * 3).encode()
    with open("/proc/self/maps", encoding="ascii") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            if line.rstrip().endswith("[stack]"):
                start, end = (int(word, 16) for word in line.split()[0].split("-"))
                memory.seek(start)
                # The needle itself is in no frame: what is found stands among the strings that execve(2) left.
                if memory.read(end - start).count(b"SECRET_THING=" + needle):
                    return
    raise Blocked("not there")
