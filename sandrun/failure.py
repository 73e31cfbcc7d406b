"""From the numbers that a failed child left to an error that says what to do. LIGHT; runs in the parent only."""

from __future__ import annotations

import errno
import os
import resource
import stat
import struct

from sandrun import libc
from sandrun.errors import EXIT_CANNOT_EXECUTE, EXIT_NOT_FOUND, CommandError, StepError
from sandrun.primitives import caps, landlock, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.plan.format import Plan

HINTS: dict[tuple[str, int], str] = {
    ("make namespaces", errno.ENOSPC): "as many namespaces as allowed are in use: sysctl user | grep max_",
    ("make namespaces", errno.EUSERS): "they are nested too deep: run it in fewer of them",
    (
        "start the init process",
        errno.E2BIG,
    ): "16 Landlock rulesets are in force already: too many sandboxes in one another",
    ("set up the terminal", errno.EPERM): "the pseudoterminal is already the terminal of another session",
    ("set umask and nice value", errno.EACCES): "a lower nice value needs CAP_SYS_NICE or a higher RLIMIT_NICE",
    ("set uid", errno.EAGAIN): "the user has reached its limit of processes (RLIMIT_NPROC)",
    ("enter the working directory", errno.EACCES): "the user that the command runs as may not enter it",
    ("enter the working directory", errno.ENOENT): "name another one: --cwd",
    ("start the init process", errno.EAGAIN): "a limit of processes is too low for it: --pids, or that of the caller",
    ("set the security label", errno.ENOENT): "load the AppArmor profile first: apparmor_parser --replace FILE",
    ("set the security label", errno.EINVAL): "SELinux knows no such context",
    ("set the security label", errno.EACCES): "the policy that confines sandrun itself does not let it",
    ("enter the Landlock ruleset", errno.E2BIG): "16 rulesets are in force already: too many sandboxes in one another",
    ("enter the Landlock ruleset", errno.EPERM): "it takes no_new_privs or CAP_SYS_ADMIN",
    ("show system calls to the supervisor", errno.EBUSY): "another process watches the calls of this one already",
    ("load the seccomp filter", errno.EACCES): "it takes no_new_privs or CAP_SYS_ADMIN",
    ("load the seccomp filter", errno.EINVAL): "this kernel lacks an action or a flag that the filter uses",
    ("load the seccomp filter", errno.ENOMEM): "the filters in force already are too long together",
}
"""What to do, by step and errno."""

_EXECUTE_HINTS: dict[int, str] = {
    errno.E2BIG: "the arguments and the environment are too long for this stack limit (RLIMIT_STACK)",
    errno.EAGAIN: "the user has more processes than RLIMIT_NPROC allows",
    errno.ENOEXEC: "it has no #! line and is no program for this machine",
    errno.ENOMEM: "it does not fit into RLIMIT_AS or RLIMIT_DATA",
    errno.ETXTBSY: "it is open for writing",
}
_NO_INTERPRETER = "the #! line, or the loader that the program was built for, names a file that is not there"
_NOT_INSIDE = "it, or the interpreter or loader that it names, is not there in the root"
_NO_PIVOT = "pivot_root(2) leaves no root that is not a mount point, nor that of an initramfs: switch_root(8) before"
_CARRIAGE_RETURN = "the #! line ends in a carriage return: save the file with the line ends of Unix"
_SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    7: "SIGBUS",
    9: "SIGKILL",
    11: "SIGSEGV",
    15: "SIGTERM",
    24: "SIGXCPU",
    31: "SIGSYS",
}
_SIGSYS = 31
_SIGPIPE = 13
_CLD_EXITED = 1


def step_failed(plan: Plan, step: str, number: int, argument: int) -> StepError:
    """A step before execve failed with this errno (0 and -1: see `launch`), working on `argument`."""
    words = [f"cannot {step}", _object(plan, step, argument)]
    if number > 0:
        words.append(libc.strerror(number))
    elif number == 0:
        words.append("the kernel said yes and holds something else")
    else:
        words.append("an unexpected error in the child, which is a bug in sandrun")
    hint = HINTS.get((step, number))
    if step == "make the view" and number == errno.EINVAL and argument == 0 and _changes_root(plan):
        hint = _NO_PIVOT
    return StepError(step, number, ": ".join(filter(None, words)), hint=hint)


def died(plan: Plan, end: tuple[int, int]) -> StepError:
    """The child ended without a word and without having executed anything. `end`: waitid(2)'s code and status."""
    code, status = end
    if plan.hold and code != _CLD_EXITED and status == _SIGPIPE:
        return StepError("execute", 0, f"cannot execute {os.fsdecode(plan.executable)}: nobody let it go (--hold)")
    what = f"status {status}" if code == _CLD_EXITED else _SIGNALS.get(status, f"signal {status}")
    hint = None
    if code != _CLD_EXITED and status == _SIGSYS and plan.seccomp:
        hint = "the seccomp filter kills execve itself: allow it, or choose another default action"
    elif code != _CLD_EXITED and status == libc.SIGKILL and plan.cgroup_way:
        hint = "it may not fit into the memory of its control group: a higher --memory"
    return StepError(
        "execute", 0, f"cannot execute {os.fsdecode(plan.executable)}: the child ended before it, by {what}", hint=hint
    )


def cannot_execute(plan: Plan, number: int) -> CommandError:
    """execve(2) of the command failed with this errno: status 127 if it is not there, else 126."""
    path = plan.executable
    name = os.fsdecode(path)
    if _changes_root(plan):
        # Its names are those of another tree, in which nobody but the kernel should follow them.
        missing = number in (errno.ENOENT, errno.ENOTDIR)
        hint = _NOT_INSIDE if missing else _EXECUTE_HINTS.get(number)
        status = EXIT_NOT_FOUND if missing else EXIT_CANNOT_EXECUTE
        return CommandError(f"cannot execute {name}: {libc.strerror(number)}", status=status, hint=hint)
    if number in (errno.ENOENT, errno.ENOTDIR):
        interpreter = _interpreter(path)
        if interpreter is None:
            return CommandError(f"cannot execute {name}: {libc.strerror(number)}", status=EXIT_NOT_FOUND)
        return CommandError(
            f"cannot execute {name}: its interpreter {os.fsdecode(interpreter)}: {libc.strerror(number)}",
            status=EXIT_CANNOT_EXECUTE,
            hint=_CARRIAGE_RETURN if interpreter.endswith(b"\r") else _NO_INTERPRETER,
        )
    hint = _denied(plan) if number == errno.EACCES else _EXECUTE_HINTS.get(number)
    if number == errno.EPERM and plan.seccomp:
        hint = "the seccomp filter refuses execve"
    return CommandError(f"cannot execute {name}: {libc.strerror(number)}", status=EXIT_CANNOT_EXECUTE, hint=hint)


def _object(plan: Plan, step: str, argument: int) -> str:
    if step == "enter the working directory":
        return os.fsdecode(plan.cwd)
    if step == "make the view" and argument < len(plan.view):
        operation, _, path, source = plan.view[argument]
        return os.fsdecode(source if operation in (view.VIEW_ROOT, view.VIEW_CHROOT) else path)
    if step == "set the security label":
        return os.fsdecode(plan.apparmor or plan.selinux)
    if step == "drop the bounding set":
        return caps.names(1 << argument)[0]
    if step == "set resource limits":
        known = (name for name in dir(resource) if name.startswith("RLIMIT_") and getattr(resource, name) == argument)
        return next(known, f"number {argument}")
    if step == "reset signals" and argument:
        return f"signal {argument}"
    return ""


def _changes_root(plan: Plan) -> bool:
    return bool(plan.view) and plan.view[0][0] in (view.VIEW_ROOT, view.VIEW_CHROOT)


def _denied(plan: Plan) -> str | None:
    """Why execve answered EACCES: the file's mode, or which of the files it needs no rule lets execute."""
    path: bytes | None = plan.executable
    for _ in range(5):  # as deep as the kernel follows interpreters of interpreters
        if path is None:
            break
        try:
            mode = os.stat(path).st_mode
        except OSError:
            return None
        if not stat.S_ISREG(mode):
            return f"{os.fsdecode(path)} is no regular file"
        if not mode & 0o111:
            return f"{os.fsdecode(path)} is not executable: chmod +x"
        real = os.path.realpath(path)
        if plan.landlock_fs & landlock.FS["execute"] and not _may_execute(plan, real):
            return f"no rule lets {os.fsdecode(real)} be executed: --execute {os.fsdecode(real)}"
        path = _interpreter(path)
    return None


def _may_execute(plan: Plan, path: bytes) -> bool:
    return any(
        access & landlock.FS["execute"] and (path == granted or path.startswith(granted.rstrip(b"/") + b"/"))
        for access, _, granted in plan.path_rules
    )


def _interpreter(path: bytes) -> bytes | None:
    """What the kernel executes for this file: the word behind `#!`, or PT_INTERP of a 64-bit ELF file (elf(5)).

    None where there is none, or the file cannot be read or made sense of.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        head = os.pread(fd, 4096, 0)
        if head[:2] == b"#!":
            # Blanks and tabs end the word, as in the kernel; a carriage return is part of it.
            words = head[2:].split(b"\n", 1)[0].replace(b"\t", b" ").split(b" ")
            return next(filter(None, words), None)
        if head[:6] != b"\x7fELF\x02\x01":
            return None
        table, size, count = *struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)
        for number in range(count):
            kind, _, offset, _, _, length = struct.unpack("<IIQQQQ", os.pread(fd, 40, table + number * size))
            if kind == 3:  # PT_INTERP
                return os.pread(fd, min(length, 4096), offset).rstrip(b"\0")
    except (OSError, struct.error, OverflowError):
        return None
    finally:
        os.close(fd)
    return None
