"""The command as a process: isolation from others, terminal, descriptors, umask, nice, working directory."""

from __future__ import annotations

import os
import stat

from sandrun.host import home_of
from sandrun.plan.draft import accept
from sandrun.plan.format import TTY_INHERIT, TTY_NEW_SESSION, TTY_PROTECTED, TTY_PTY
from sandrun.plan.namespaces import missing, use
from sandrun.policy import guards
from sandrun.primitives import landlock
from sandrun.primitives.namespaces import KINDS, names
from sandrun.profile.model import BrokerInput, BrokerOutput
from sandrun.profile.paths import expand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sandrun.host import Account, Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft

TTY_MODES = {"protected": TTY_PROTECTED, "new-session": TTY_NEW_SESSION, "pty": TTY_PTY, "inherit": TTY_INHERIT}
SIGNAL_ABI = landlock.SCOPES_ABI["signal"]
VIEW = "other processes stay visible; nice values and System V IPC reach them"
OWN = KINDS["pid"] | KINDS["mount"] | KINDS["ipc"]
"""What makes the command see its own processes only."""


def resolve_process(draft: Draft, kernel: Kernel, host: Host, account: Account | None) -> None:
    """Set the process fields; call after the filesystem, whose grants decide about descriptors 0 to 2."""
    _resolve_isolation(draft, kernel)
    _resolve_tty(draft)
    profile = draft.profile
    for key, name in (("process.umask", "umask"), ("process.nice", "nice")):
        value = profile.scalar(key)
        if value is not None:
            draft.fields[name] = value.value
    draft.fields["pass_fds"] = tuple(dict.fromkeys(value.value for value in profile.items("process.pass_fds")))
    for value in profile.items("process.pass_fds"):
        if isinstance(value.value, int) and host.fd_stat(value.value) is None:
            draft.refuse(value.origin, f"file descriptor {value.value} is not open")
    draft.record("process.pass_fds", "close_range")
    # Both are the supervisor's work; what is recorded here is that it is asked of it.
    if inputs := profile.items("broker.input"):
        called = [value.value.name for value in inputs if isinstance(value.value, BrokerInput)]
        draft.record("broker.input", "supervisor", notes=tuple(dict.fromkeys(called)))
    if outputs := profile.items("broker.output"):
        called = [value.value.name for value in outputs if isinstance(value.value, BrokerOutput)]
        notes = (*dict.fromkeys(called), "checked and written after the command, all or none")
        draft.record("broker.output", "supervisor", notes=notes)
    _resolve_cwd(draft, host, account)


def _resolve_isolation(draft: Draft, kernel: Kernel) -> None:
    """Signals are scoped wherever that can be had and nobody said no: the supervisor is then out of reach as well."""
    asked = draft.profile.scalar("process.isolate")
    level = asked.value if asked is not None else None
    if level is False:
        return
    draft.guards.extend(guards.prlimit_other())
    can_scope = kernel.landlock_abi >= SIGNAL_ABI
    if can_scope:
        draft.fields["landlock_scoped"] = draft.fields.get("landlock_scoped", 0) | landlock.SCOPES["signal"]
    if level is None:
        return
    mechanisms = ("landlock", "seccomp") if can_scope else ()
    reason = missing(draft, kernel, OWN) if level is True else ""
    if level is True and not reason:
        use(draft, OWN)
        draft.record("process.isolate", *names(OWN), *(mechanisms or ("seccomp",)))
        return
    if not can_scope:
        lost = (
            f"signals to other processes are not kept back: needs Landlock ABI {SIGNAL_ABI}, here {kernel.landlock_abi}"
        )
        lost += f"; {VIEW}; hiding them takes a pid namespace: {reason}" if reason else ""
        draft.lose("process.isolate", lost, f"Linux 6.12 or newer, or {accept('process.isolate')}")
    elif reason:
        lost = f"{VIEW}; hiding them takes a pid namespace: {reason}"
        draft.lose("process.isolate", lost, f"--isolate signals, or {accept('process.isolate')}", *mechanisms)
    else:
        draft.record("process.isolate", *mechanisms)


def _resolve_tty(draft: Draft) -> None:
    asked = draft.profile.scalar("process.tty")
    mode = str(asked.value) if asked is not None else "protected"
    draft.fields["tty"] = TTY_MODES[mode]
    if mode == "inherit":
        return
    draft.guards.extend(guards.terminal_injection())
    extra = {"new-session": ("setsid",), "pty": ("pseudoterminal",)}.get(mode, ())
    draft.record("process.tty", "seccomp", *extra)


def _resolve_cwd(draft: Draft, host: Host, account: Account | None) -> None:
    asked = draft.profile.scalar("process.cwd")
    if asked is None:
        return
    paths = expand(asked, host, home_of(host, account))
    if not paths:
        return
    path = host.realpath(paths[0])
    found = host.stat(path)
    if found is None or not stat.S_ISDIR(found.mode):
        draft.refuse(asked.origin, f"the working directory is not a directory: {path}")
    draft.fields["cwd"] = os.fsencode(path)


def check_descriptors(draft: Draft, host: Host, writable: Callable[[str], bool]) -> None:
    """What the caller hands over as 0 to 2 is held beyond every filesystem rule, so look at it.

    A directory is a way around (`fchdir`, `openat`) and is refused; a regular file open for reading *and* writing
    outside the grants is unusual enough to be said. `writable(path)` is the plan's own answer.
    """
    for fd in (0, 1, 2):
        known = host.fd_stat(fd)
        if known is None:
            continue
        found, flags = known
        if stat.S_ISDIR(found.mode):
            draft.refuse(
                "", f"file descriptor {fd} is a directory: {host.fd_path(fd)}", f"redirect {fd} to a file or /dev/null"
            )
        elif stat.S_ISREG(found.mode) and flags & os.O_ACCMODE == os.O_RDWR and not writable(host.fd_path(fd)):
            draft.warnings.append(
                f"file descriptor {fd} is open for reading and writing outside the grants: {host.fd_path(fd)}"
            )
