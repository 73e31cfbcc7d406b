"""The command's file: found as the command itself would be, and whether the path rules let it start."""

from __future__ import annotations

import posixpath
import stat

from sandrun.errors import EXIT_CANNOT_EXECUTE, EXIT_NOT_FOUND, CommandError
from sandrun.plan.groups import LIBRARIES
from sandrun.primitives.landlock import FS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun import elf
    from sandrun.host import Host

TRIPLETS = ("x86_64-linux-gnu", "aarch64-linux-gnu")


def find(word: str, path: str, cwd: str, host: Host) -> str:
    """The file that execvp(3) would execute for `word`, as an absolute path whose links are not resolved.

    `path` is the PATH to search, in which an empty entry is `cwd`, the directory that the command will start in (""
    if unknown). Raises CommandError: 127 if nothing is found, 126 if what is found cannot be executed.
    """
    if not word:
        raise CommandError("cannot execute: the command is an empty word", status=EXIT_NOT_FOUND)
    if "/" in word:
        if not word.startswith("/") and not cwd:
            deleted = "the working directory was deleted: change to another, or name the command by its absolute path"
            raise CommandError(f"command not found: {word}", status=EXIT_NOT_FOUND, hint=deleted)
        found = posixpath.join(cwd, word)
        why = _why_not(found, host)
        if why is None:
            return found
        status = EXIT_NOT_FOUND if "ENOENT" in why else EXIT_CANNOT_EXECUTE
        hint = f"make it executable: chmod +x {word}" if "EACCES" in why else None
        raise CommandError(f"cannot execute: {word}: {why}", status=status, hint=hint)
    refused = ""
    for directory in path.split(":"):
        candidate = posixpath.join(cwd, directory, word) if cwd or directory.startswith("/") else ""
        trouble = _why_not(candidate, host) if candidate else "ENOENT"
        if trouble is None:
            return candidate
        if "ENOENT" not in trouble and not refused:
            refused = f"cannot execute: {candidate}: {trouble}"
    if refused:
        raise CommandError(refused, status=EXIT_CANNOT_EXECUTE)
    searched = f"it was searched in the PATH that the command will see: {path}"
    raise CommandError(f"command not found: {word}", status=EXIT_NOT_FOUND, hint=searched)


def _why_not(path: str, host: Host) -> str | None:
    found = host.stat(path)
    if found is None:
        return "No such file or directory (ENOENT)"
    if stat.S_ISDIR(found.mode):
        return "Is a directory (EISDIR)"
    if not stat.S_ISREG(found.mode) or not found.mode & 0o111:
        return "Permission denied (EACCES)"
    return None


def obstacles(start: elf.Start, allowed: Callable[[str], int], host: Host) -> list[str]:
    """Why `execve` will fail under these path rules, each with the rule that is missing. `allowed` answers for a path.

    A warning and not an error: what the kernel does is the truth, and binfmt_misc may know another way.
    """
    execute = FS["execute"] | FS["read_file"]
    found = []
    for program in dict.fromkeys((*start.programs, *((start.loader,) if start.loader else ()))):
        real = host.realpath(program)
        if host.stat(real) is None:
            found.append(f"the command will not start: {start.programs[0]} needs {program}, which is absent")
        elif allowed(real) & execute != execute:
            found.append(f"the command will not start: no rule lets it execute {real}: add --execute {real}")
    if start.elf is not None and not found:
        directories = {
            posixpath.dirname(path): path for path in _libraries(start.elf, host) if not allowed(path) & FS["read_file"]
        }
        for directory, path in directories.items():
            found.append(f"the command will not start: no rule lets it read {path}: add --read {directory}")
    return found


def _libraries(program: elf.Elf, host: Host) -> list[str]:
    """Where the loader finds the libraries that the program itself names; those it finds elsewhere are left out."""
    search = [
        *program.search,
        *(posixpath.join(path, name) for path in ("/lib", "/usr/lib") for name in TRIPLETS),
        *LIBRARIES,
    ]
    found = []
    for name in program.needed:
        for directory in search:
            path = posixpath.join(directory, name)
            if host.stat(path) is not None:
                found.append(host.realpath(path))
                break
    return found
