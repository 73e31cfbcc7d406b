"""Launches of the tests by an installed front, with a plan cache in a state that SANDRUN_TEST_CACHE names.

    cold      nothing is kept
    warm      the plan is kept, by a launch before with the same words up to the command's name
    stale     it is, but one of its facts does not hold any more
    corrupt   it is, but a byte of it is another one
    hostile   it is, but others may write it
    off       there is no cache

In the last states but one the plan that lies there is not that of the launch, so that it shows if it is believed.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandrun import native
from sandrun.cli import options as command_line
from sandrun.errors import SandrunError
from sandrun.native import SCRIPT
from sandrun.plan.format import FIELDS, Plan
from sandrun.plancache import answers, place
from sandrun.plancache import entry as entries
from sandrun.plancache.keep import FRONT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support import Who

MODES = ("cold", "warm", "stale", "corrupt", "hostile", "off")
LOG = os.environ.get("SANDRUN_TEST_CACHE_LOG", "")
"""A file that gets a line for each launch: whether its plan was kept."""
_PATCH = """{path}
import sandrun.plancache.facts, sandrun.plancache.keep
for module in (sandrun.plancache.facts, sandrun.plancache.keep):
    if hasattr(module, "GRAIN_NS"):
        module.GRAIN_NS = -(10**9)  # what a test has just made is believed: nobody changes it within a tick of the clock
"""
_EXECVE = {"x86_64": 59}.get(os.uname().machine, 221)
_KILL = b"".join(
    struct.pack("=HBBI", *words)
    for words in ((0x20, 0, 0, 0), (0x15, 0, 1, _EXECVE), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000))
)
"""A filter that kills whoever calls execve(2): a launch of that plan says so, and is not tried again."""
_HARMLESS = "--version"
"""Words that a command can be given where only its plan is wanted."""


def run(mode: str, words: Sequence[str | bytes | Path], who: Who, options: dict[str, Any]) -> Any:
    """Launch these words, as `support.sandrun` does, with the cache in this state."""
    given = options.pop("env", None)
    env = dict(who.env if given is None else given)
    front = _front(who.sandrun[0], who.sandrun[-1], who.uid)
    if env.get(place.CACHE_VARIABLE, "off") != "off" or native.VARIABLE in env:
        return who.run([front, *words], env=env, **options)
    base = Path(tempfile.mkdtemp(prefix="srtest-plans-"))
    who.own(base)
    try:
        env[place.CACHE_VARIABLE] = "off" if mode == "off" else str(base / "plans")
        again = _words_before(words, options) if mode not in ("cold", "off") else ()
        if again:
            who.run([front, *again], env=env, **{**options, "check": False, "input": _like(options), "timeout": 60})
        kept = list((base / "plans").glob(place.NAME_LENGTH * "?"))
        for entry in kept:
            _leave(mode, entry)
        if LOG:
            with open(LOG, "a") as log:
                log.write(f"{mode} {'kept' if kept else 'not kept' if again else 'nothing to keep'}\n")
        return who.run([front, *words], env=env, **options)
    finally:
        shutil.rmtree(base)


def _like(options: dict[str, Any]) -> Any:
    given = options.get("input")
    return None if given is None else type(given)()


def _words_before(words: Sequence[str | bytes | Path], options: dict[str, Any]) -> tuple[str, ...]:
    """The words of a launch that has the same plan and does nothing; () if there is none, or it would be seen."""
    given = tuple(os.fsdecode(word) for word in words)
    if any(word.startswith(("--create", "--overlay")) for word in given) or {"stdout", "stderr"} & set(options):
        return ()
    try:
        request = command_line.parse(given)
    except SandrunError:
        return ()
    tells = (request.report, request.status_fd, request.locked, request.dry_run, request.explain, request.verbose)
    if any(tells) or not request.command or request.help or request.version:
        return ()
    return (*given[: len(given) - len(request.command) + 1], _HARMLESS)


def _leave(mode: str, entry: Path) -> None:
    """Make of an entry what this state is about."""
    data = entry.read_bytes()
    parsed = entries.parse(data, entry.name)
    assert parsed, "what was written is no entry"
    if mode == "warm":
        return
    salt, facts, (plan, values, flags, planned) = parsed
    fields = {name: getattr(Plan.from_bytes(plan), name) for name, _, _ in FIELDS}
    wrong = Plan(**{**fields, "seccomp": (_KILL, *fields["seccomp"])}).to_bytes()
    if mode == "stale":
        facts = answers.HEAD.pack(answers.FILE, 1, 0) + b"/\0" + facts  # that there is no root directory
    data = entries.entry(entry.name, salt, facts, wrong, values, flags, planned)
    if mode == "corrupt":
        at = data.index(_KILL)
        data = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
    entry.write_bytes(data)
    if mode == "hostile":
        entry.chmod(0o666)


@functools.cache
def _front(python: str, boot: str, uid: int) -> Path:
    """An installed front for one user, beside the script that it executes for Python."""
    where = Path(tempfile.mkdtemp(prefix=f"srtest-front-{uid}-"))
    atexit.register(shutil.rmtree, where, ignore_errors=True)
    where.chmod(0o755)
    shutil.copy(native.BINARY, where / FRONT)
    path = boot.partition("from ")[0] if "sys.path" in boot else ""
    own = (Path(__file__).resolve().parent.parent / "tools" / SCRIPT).read_text().partition("\n")[2]
    start = "try:\n    from sandrun.__main__ import main\n"
    assert start in own
    text = own.replace(start, _PATCH.format(path=path) + start)
    (where / SCRIPT).write_text(f"#!{python}\n{text}")
    (where / SCRIPT).chmod(0o755)
    subprocess.run(
        [where / FRONT, "--version"], check=True, capture_output=True, cwd="/", env={"PATH": "/usr/bin:/bin"}
    )
    return where / FRONT
