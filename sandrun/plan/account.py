"""`privileges.user = "dynamic"`: a uid that nobody else has, for one launch. Pure: which number, the launch decides.

The number is used again, so nothing that belongs to it may outlive the launch: its processes end with a pid namespace,
its System V objects with an ipc namespace, its files with the mounts of a view. What could keep a file of it on the host
is refused.
"""

from __future__ import annotations

import os
import stat

from sandrun.host import Account
from sandrun.plan.draft import Guard
from sandrun.plan.namespaces import missing, use
from sandrun.primitives import caps
from sandrun.primitives.landlock import FS
from sandrun.primitives.namespaces import KINDS
from sandrun.primitives.view import READ_ONLY, VIEW_BIND, VIEW_OVERLAY, VIEW_ROOT, VIEW_TREE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandrun.host import Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft
    from sandrun.profile.model import Value

DYNAMIC = "dynamic"
FIRST, LAST = 61184, 65519
"""The range that systemd.exec(5) keeps for DynamicUser=."""
OWN = KINDS["pid"] | KINDS["mount"] | KINDS["ipc"]
KEYRINGS = ("add_key", "request_key", "keyctl")
NEEDED = caps.mask(("CAP_SETUID", "CAP_SETGID"))
KEY = "privileges.user"


def is_dynamic(value: Value | None) -> bool:
    """Whether this value of `privileges.user` asks for a user of its own."""
    return value is not None and value.value == DYNAMIC


def resolve_dynamic(draft: Draft, kernel: Kernel, asked: Value) -> Account:
    """Set the id fields; FIRST stands for the uid and gid. Call `check_dynamic` when the files are planned."""
    for key in ("privileges.group", "privileges.groups"):
        for origin in draft.profile.origins(key) if key in draft.profile.values else ():
            draft.refuse(origin, "a dynamic user has one group, which is its own", "leave it out, or name a user")
    if kernel.capabilities & NEEDED != NEEDED:
        draft.refuse(asked.origin, "a dynamic user needs CAP_SETUID and CAP_SETGID", "run sandrun as root")
    draft.fields.update(uid=FIRST, gid=FIRST, set_groups=1, groups=(), dynamic=1)
    draft.guards.extend(Guard(name, "errno:EPERM", KEY) for name in KEYRINGS)
    note = f"a number from {FIRST} to {LAST} that no account and no process has"
    draft.record(KEY, "setresuid", "setresgid", "setgroups", "seccomp", notes=(note,))
    return Account("", FIRST, FIRST, "", "")


def check_dynamic(draft: Draft, kernel: Kernel, host: Host) -> None:
    """Ask for the namespaces, and refuse what would keep files of the user; call after the files and processes."""
    asked = draft.profile.scalar(KEY)
    if asked is None or not draft.fields.get("dynamic"):
        return
    reason = missing(draft, kernel, OWN)
    if reason:
        lost = f"a dynamic user needs a pid, a mount and an ipc namespace: {reason}"
        draft.refuse(asked.origin, lost, "name an account or a uid")
        return
    use(draft, OWN)
    kept = dict.fromkeys(_kept(draft, host))
    if kept:
        lost = f"a dynamic user can leave no files on the host, but may write {', '.join(kept)}"
        draft.refuse(
            asked.origin, lost, "grant it to be read, use --tmp private and --home hidden, or name an account or a uid"
        )


def _kept(draft: Draft, host: Host) -> Iterator[str]:
    """The places of the host in which files of the user could stay."""
    fields = draft.fields
    yield from (os.fsdecode(path) for path in fields.get("create", ()))
    yield from (f"the directory of {os.fsdecode(name)}" for name in fields.get("private_dirs", ()))
    for fd in fields.get("pass_fds", ()):
        known = host.fd_stat(fd)
        if known is not None and stat.S_ISDIR(known[0].mode):
            yield f"by file descriptor {fd}, a directory"
    view = fields.get("view", ())
    if not any(operation in (VIEW_TREE, VIEW_ROOT) and flags & READ_ONLY for operation, flags, _, _ in view):
        handled = fields.get("landlock_fs", 0) & FS["make_reg"]
        yield from () if handled else ("/",)
        writable = (
            path for access, _, path in fields.get("path_rules", ()) if access & (FS["make_reg"] | FS["make_dir"])
        )
        yield from (os.fsdecode(path) for path in writable)
    for operation, flags, path, source in view:
        if operation == VIEW_OVERLAY:
            yield os.fsdecode(path)
        elif operation == VIEW_BIND and not flags & READ_ONLY:
            found = host.lstat(os.fsdecode(source))
            if found is None or stat.S_IFMT(found.mode) not in (stat.S_IFCHR, stat.S_IFBLK):
                yield os.fsdecode(source)
