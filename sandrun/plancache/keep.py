"""Keep a plan for the front: the recording of a resolution from its command line to the entry of the cache.

What cannot be kept is not, without a word: the next launch is then made anew as this one.
"""

from __future__ import annotations

import os
import stat
import sys

from sandrun import kernel as kernel_facts
from sandrun import native, report
from sandrun.errors import SandrunError
from sandrun.plan.environment import looks_secret, values
from sandrun.plan.format import FIELDS, Plan
from sandrun.plancache import place
from sandrun.plancache.answers import ENV, FILE, IDENTITY
from sandrun.plancache.entry import FLAG_EXEC, FLAG_FOOTER, FLAG_PYTHON, entry
from sandrun.plancache.facts import Facts, Recorder
from sandrun.profile.find import BUILTIN, SUFFIX, directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandrun.cli.options import Request
    from sandrun.kernel import Kernel
    from sandrun.plan.resolve import Resolution
    from sandrun.profile.loader import Read
    from sandrun.profile.model import Profile

FRONT = "sandrun"
"""The native program, beside what it executes for Python."""
MAIN = os.path.join(os.path.dirname(report.__file__), "__main__.py")
LIBRARY_WORDS = 3
"""How the library starts Python (sandrun/library/launcher.py): the interpreter, one word of its options, MAIN."""
LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")
"""The first that is set decides how names are decoded (locale(7))."""
VARIABLES = (*LOCALE, "LD_LIBRARY_PATH", "LD_PRELOAD", "XDG_CONFIG_HOME", "HOME")
"""Which libraries are loaded, and where profiles are looked for."""
LIBRARY, LOADED = "libseccomp.so", "/proc/self/maps"
LOADER_CACHE = "/etc/ld.so.cache"
BOOT = "/proc/sys/kernel/random/boot_id"
"""Numbers of devices are those of other file systems after the next start of the machine."""


class Recording:
    """One resolution that may be kept: `host` and `profiles` are what it is made with."""

    def __init__(self, name: str, directory: str) -> None:
        self.name = name
        self.directory = directory
        self.facts = Facts()
        self.host = Recorder(self.facts)
        self.profiles: list[Read] = []
        self.facts.add_kernel()
        self.facts.add_own_namespaces()
        for path in (
            BOOT,
            kernel_facts.ACTIONS_AVAILABLE,
            kernel_facts.LAST_CAP,
            *map(kernel_facts.sysctl_path, kernel_facts.SYSCTLS),
        ):
            self.facts.add_content(path)
        for variable in VARIABLES:
            self.facts.add_variable(variable)

    def keep(self, profile: Profile, kernel: Kernel, resolution: Resolution, request: Request) -> str:
        """Write the entry. Returns why it was not, "" if it was."""
        try:
            return self._keep(profile, kernel, resolution, request)
        except (OSError, SandrunError) as error:
            return str(error)

    def _keep(self, profile: Profile, kernel: Kernel, resolution: Resolution, request: Request) -> str:
        from sandrun.native import handoff  # noqa: PLC0415 (what cannot be kept does without)

        plan = resolution.plan
        why = self.facts.refusal or _why_not(profile, kernel, resolution)
        if why or not handoff.is_plain(plan):
            return why or "it takes more than a supervisor"
        self._add_profiles()
        for path in _own_files():
            self.facts.add_file(path)
        why = self.facts.refusal or _unheld(self.facts)
        if why:
            return why
        given = values(profile, resolution.account)
        bare = Plan(**{name: getattr(plan, name) for name, _, _ in FIELDS} | {"argv": plan.argv[:1]})
        data = entry(
            self.name,
            self.facts.salt,
            self.facts.to_bytes(),
            bare.to_bytes(),
            [given[name] for name in plan.env_set],
            FLAG_EXEC * request.exec | FLAG_FOOTER * (not request.quiet) | FLAG_PYTHON * (not handoff.serves(plan)),
            report.planned(resolution) if request.status_fd else b"",
        )
        place.write(self.directory, self.name, data)
        return ""

    def _add_profiles(self) -> None:
        """The files of the profiles, and the places where those that were named were looked for before."""
        # Where built-in ones are once installed; in a checkout they are elsewhere as long as this is absent.
        self.host.stat(os.path.join(os.path.dirname(report.__file__), "profiles"))
        for found, (device, inode) in self.profiles:
            for directory in directories() if "/" not in found.word else ():
                candidate = os.path.join(directory, found.word + SUFFIX)
                self.host.lstat(candidate)
                self.facts.add_file(candidate)  # it must not have come since the search
            self.facts.add_file(found.path)
            is_same = self.facts.known.get((FILE, os.fsencode(found.path)), b"")
            if not is_same or IDENTITY.unpack(is_same)[3:5] != (device, inode):
                self.facts.refuse(f"{found.path} changed meanwhile")
            elif not stat.S_ISREG(IDENTITY.unpack(is_same)[0]):
                self.facts.refuse(f"{found.path} is no regular file")
        if not os.environ.get("HOME"):
            self.host.account(os.getuid())


def begin(argv: Sequence[str], request: Request, executor: str) -> Recording | None:
    """Start recording the launch that these words ask for, for who looks first at the next one by the same executor.

    None if it is not one that could be kept, or nobody would look.
    """
    name = _name(_program(executor), argv, request)
    if not name or not _is_plain(request) or not _tells_first(argv, request) or not _decodes_utf8():
        return None
    try:  # noqa: SIM105 (contextlib is 2 ms of every launch)
        place.make(place.path())
    except (OSError, SandrunError):
        pass  # it says so again when the plan is to be kept
    try:
        return Recording(name, place.path())
    except OSError:
        return None  # without /proc nothing can be launched either, and who tries that has the words


def forget(argv: Sequence[str], request: Request) -> None:
    """Remove what is kept for these words, whoever would find it: it could not be launched."""
    for program in (_front_program(), place.program()):
        name = _name(program, argv, request)
        if name:
            try:  # noqa: SIM105 (as above)
                place.remove(place.path(), name)
            except (OSError, SandrunError):
                pass  # then nobody finds it either


def _name(program: str, argv: Sequence[str], request: Request) -> str:
    """The name of the entry for these words; "" if nobody looks for one, or there is no place for it."""
    if not program or not place.path():
        return ""
    return place.key(program, argv[: len(argv) - len(request.command) + 1])


def _program(executor: str) -> str:
    """What stands in the key for who looks first at the next launch by the same executor; "" if nobody does."""
    is_front = os.path.exists(native.BINARY) and (not executor or native.by_front())
    return _front_program() if is_front else place.program()


def _front_program() -> str:
    """What a front has in the key if it would start Python as this process was started; "" if none would.

    That is the script next to it; or, of the one within the package, the words that it is told (front_of in front.c).
    """
    if sys.flags.isolated and os.path.basename(sys.argv[0]) == native.SCRIPT:
        return sys.argv[0]
    words = sys.orig_argv[:LIBRARY_WORDS]
    is_told = sys.flags.safe_path and sys.flags.ignore_environment and words[-1] == MAIN == sys.argv[0]
    return "\n".join(words) if is_told else ""


def _tells_first(argv: Sequence[str], request: Request) -> bool:
    """Whether events go where `place.status_fd` finds, and the front with it, or nowhere."""
    named = [word for word in argv[: len(argv) - len(request.command)] if word.startswith(place.STATUS_FD)]
    return not named or (len(named) == 1 and bool(place.status_fd(argv)) and not request.exec)


def _is_plain(request: Request) -> bool:
    """Whether the launch is one that only runs a command."""
    tells = (request.locked, request.dry_run, request.explain, request.json, request.verbose)
    writes = (request.report, request.overlay_size, request.require, request.hold)
    return not any((*tells, *writes))


def _decodes_utf8() -> bool:
    """Whether names are decoded so that each is the same bytes again in every locale that these variables can mean."""
    named = next((value for name in LOCALE if (value := os.environ.get(name))), "").lower()
    return sys.getfilesystemencoding() == "utf-8" and (
        named in ("", "c", "posix") or ".utf-8" in named or ".utf8" in named
    )


def _why_not(profile: Profile, kernel: Kernel, resolution: Resolution) -> str:
    plan = resolution.plan
    if profile.require or any(key.startswith("resources.") for key in profile.values):
        return "it takes trials to find out what can be had"
    assigned = profile.names("environment.set").values()
    if not all(value.origin.source.startswith(BUILTIN) for value in assigned):
        return "values of variables are kept nowhere, unless everybody knows them"
    if kernel.namespace_reason:
        return "a namespace cannot be had, and could be later"
    if resolution.warnings or report.not_enforced(resolution.enforcement):
        return "there is something to warn of"
    return "it makes files" if plan.create else ""


def _unheld(facts: Facts) -> str:
    """What of the facts could change without being seen, or must not be in a file."""
    for (kind, name), value in facts.known.items():
        if kind == FILE and value and IDENTITY.unpack(value)[7] > facts.latest:
            return f"{os.fsdecode(name)} changed a moment ago"
        if kind == ENV and looks_secret(os.fsdecode(name)):
            return f"it depends on {os.fsdecode(name)}"
    return ""


def _own_files() -> Iterator[str]:
    """What makes plans: the modules that are loaded but those of Python itself, where modules are looked for, and what
    they are loaded by."""
    here = os.path.dirname(sys.argv[0])
    front = native.BINARY if sys.argv[0] == MAIN else os.path.join(here, FRONT)
    yield from (front, sys.argv[0], sys.executable, os.path.join(sys.prefix, "pyvenv.cfg"))
    standard = os.path.dirname(os.__file__) + "/"
    for module in tuple(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        if file.startswith("/") and (not file.startswith(standard) or "-packages/" in file):
            yield file
    for directory in sys.path:
        yield directory
        if directory.endswith("-packages"):
            try:
                names = os.listdir(directory)
            except OSError:
                continue
            yield from (f"{directory}/{name}" for name in names if name.endswith(".pth"))
    yield LOADER_CACHE
    with open(LOADED, "rb") as maps:
        loaded = {line.split(None, 5)[5].strip() for line in maps if LIBRARY.encode() in line}
    yield from map(os.fsdecode, loaded)
