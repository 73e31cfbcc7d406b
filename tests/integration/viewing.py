"""Run a command by the plan of real options, also where one mechanism of this kernel is left out."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from sandrun import launch, supervise
from sandrun.cli import options
from sandrun.errors import SandrunError
from sandrun.host import System
from sandrun.kernel import NAMESPACES, probe, with_namespaces
from sandrun.plan import environment
from sandrun.plan.resolve import resolve
from sandrun.profile import load
from sandrun.watch import begin
from tests.integration.launching import whole
from tests.support import in_child, need_landlock, need_namespaces, need_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sandrun.kernel import Kernel
    from tests.support import Who

MECHANISMS = ("landlock", "mounts")
OK, EMPTY = "ok", "empty"
CODE = """
import ctypes, errno, json, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
def read(path):
    with open(path) as file:
        return file.read() or {empty!r}
def write(path, flags=os.O_WRONLY):
    os.write(os.open(path, flags, 0o600), b"x")
def listed(path):
    return sorted(os.listdir(path)) or {empty!r}
def call(name, *words):
    if getattr(libc, name)(*words):
        raise OSError(ctypes.get_errno(), name)
found = {{}}
for name, code in json.loads(sys.argv[1]).items():
    try:
        value = eval(code)
        found[name] = {ok!r} if value is None or isinstance(value, int) else value
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
print(json.dumps(found))
"""


class Seen(NamedTuple):
    """What came of a run: its status, the answers of the command, or what sandrun said."""

    status: int
    found: dict[str, Any]
    said: str


def tried(operations: Mapping[str, str]) -> list[str]:
    """The command that evaluates each Python expression, and prints what it gave, "ok" for a number, or its errno's name."""
    return [need_program("python3"), "-I", "-S", "-c", CODE.format(ok=OK, empty=EMPTY), json.dumps(operations)]


def see(
    who: Who,
    cwd: Path,
    *words: str | Path,
    without: str = "",
    between: Callable[[], object] | None = None,
    **operations: str,
) -> Seen:
    """Run these operations in `cwd` by a plan of these options on this kernel `without` a mechanism.

    `between` is called, as the user, when the plan is made and nothing is launched yet.
    """
    need_namespaces(who)
    need_landlock(6)

    def run() -> Seen:
        os.chdir(cwd)
        output, errors = os.memfd_create("out"), os.memfd_create("err")
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        try:
            status = _run([*map(str, words), "--", *tried(operations)], without, between)
        except SandrunError as error:
            return Seen(error.status, {}, "\n".join(error.lines()))
        text = whole(output)
        return Seen(status, json.loads(text) if text else {}, whole(errors).decode())

    return in_child(run, who)


def _run(words: list[str], without: str, between: Callable[[], object] | None) -> int:
    request = options.parse(words)
    profile = load(request.profiles, request.overrides, replace=request.replace, optional=request.optional)
    resolution = resolve(profile, _kernel(without), System(), request.command)
    if between is not None:
        between()
    values = environment.values(profile, resolution.account)
    watch = begin(resolution.plan)
    outcome = supervise.supervise(launch.launch(resolution.plan, values, watch), watch, resolution.plan)
    assert not outcome.survivors
    assert not outcome.left
    return 128 + outcome.signal if outcome.signal else outcome.status


def _kernel(without: str) -> Kernel:
    kernel = with_namespaces(probe())
    if without == "landlock":
        return kernel._replace(landlock_abi=0, landlock_state="missing")
    if without == "mounts":
        return kernel._replace(namespace_reason="turned off", **dict.fromkeys(NAMESPACES, False))
    return kernel
