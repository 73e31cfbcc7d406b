"""`filesystem.root`: while a plan is made its paths mean those inside; in the end they get the root's path in front.

The command's own names (its file, its working directory, what is made in its view) stay as it will see them; what is
opened before the root changes is named as on the host.
"""

from __future__ import annotations

import os
import posixpath
import stat

from sandrun.errors import UnsupportedError
from sandrun.host import home_of
from sandrun.plan.groups import DEVICES
from sandrun.plan.namespaces import missing
from sandrun.plan.requests import GRANTING, is_magic
from sandrun.plan.siblings import is_below
from sandrun.primitives import caps
from sandrun.primitives.namespaces import KINDS
from sandrun.primitives.view import VIEW_CHROOT
from sandrun.profile.model import AccessRule
from sandrun.profile.paths import expand
from sandrun.rooted import RootedHost, links_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.host import Account, Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft

KEY = "filesystem.root"
CHROOT = caps.mask(("CAP_SYS_CHROOT",))
AGAIN = "with CAP_SYS_CHROOT the command could leave a root that chroot(2) set"


def enter(draft: Draft, kernel: Kernel, host: Host, account: Account | None) -> Host:
    """The host that the paths of the profile mean: a RootedHost if it names a root.

    Raises UnsupportedError if there is no such root or it cannot be changed to: there is nothing then that the paths
    could mean, whatever is optional. Raises ProfileError for a path that cannot be expanded.
    """
    value = draft.profile.scalar(KEY)
    if value is None:
        return host
    home = home_of(host, account)
    top = host.realpath(expand(value, host, home)[0])
    found = host.stat(top)
    if found is None or not stat.S_ISDIR(found.mode):
        draft.refuse(value.origin, f"the root is not a directory: {top}")
        raise UnsupportedError(draft.problems)
    why = missing(draft, kernel, KINDS["mount"])
    if why and not kernel.capabilities & CHROOT:
        hint = "sandrun doctor says what namespaces take here; or run it as root"
        draft.refuse(value.origin, f"changing the root takes a mount namespace or CAP_SYS_CHROOT: {why}", hint)
    elif why and draft.fields.get("permitted", 0) & CHROOT:
        draft.refuse(value.origin, f"{AGAIN}, and a mount namespace cannot be had: {why}", "do not grant it")
    if draft.problems:
        raise UnsupportedError(draft.problems)
    shown = {} if why else {**_devices(draft, host, top), **_shown(draft, host, top, home)}
    cwd = draft.profile.scalar("process.cwd")
    rooted = RootedHost(host, top, shown=shown)
    return (
        rooted if cwd is None else RootedHost(host, top, shown=shown, cwd=rooted.realpath(expand(cwd, rooted, home)[0]))
    )


def _devices(draft: Draft, host: Host, top: str) -> dict[str, str]:
    """The devices of the host that a minimal /dev shows: those of a stranger's tree may be anything.

    It is made for @devices too, since a root has no devices as a rule.
    """
    word = draft.profile.scalar("filesystem.dev")
    granted = (value.value for key in GRANTING for value in draft.profile.items(key))
    wanted = word.value == "minimal" if word else any(entry.group == "@devices" for entry in granted)  # type: ignore[attr-defined]
    folder = RootedHost(host, top).lstat("/dev")
    if not wanted or folder is None or not stat.S_ISDIR(folder.mode):
        return {}
    found = ((path, host.lstat(path)) for path in DEVICES)
    return {path: path for path, status in found if status is not None and stat.S_ISCHR(status.mode)}


def _shown(draft: Draft, host: Host, top: str, home: str) -> dict[str, str]:
    """What `filesystem.rules` show of the host, by its place inside."""
    inside = RootedHost(host, top)
    shown: dict[str, str] = {}
    for value in draft.profile.items("filesystem.rules"):
        rule = value.value
        if not isinstance(rule, AccessRule) or not rule.at:
            continue
        for path in expand(value._replace(value=rule.path), host, home):
            real = host.realpath(path)
            if is_magic(path, real):
                draft.refuse(value.origin, f"{path} is another file in each process")
                continue
            planted = _planted_link(path, (top, *shown.values()), host)
            if planted:
                message = f"{planted} is a link to {real} that a command in this root could have made"
                draft.refuse(value.origin, message, f"grant its target by name if it is meant: {real}")
            elif host.lstat(real) is not None:
                shown[inside.realpath(posixpath.normpath(rule.at))] = real
            elif not rule.path.optional:
                draft.refuse(
                    value.origin, f"not found on the host: {path}", 'end the entry in "?" to skip it if absent'
                )
    return shown


def _planted_link(path: str, reachable: tuple[str, ...], host: Host) -> str:
    """The first link on the way of a path that is in one of the trees that the command may write; "" if none is."""
    for at in links_on(path, host.readlink):
        if any(is_below(posixpath.dirname(at), tree) for tree in reachable):
            return at
    return ""


def leave(draft: Draft, host: Host) -> None:
    """Name what is opened before the root changes as on the host; call it when no more paths come."""
    if not isinstance(host, RootedHost):
        return
    fields = draft.fields

    def outer(path: bytes) -> bytes:
        return os.fsencode(host.outer(os.fsdecode(path)))

    fields["path_rules"] = tuple((access, kind, outer(path)) for access, kind, path in fields.get("path_rules", ()))
    fields["holes"] = tuple(map(outer, fields.get("holes", ())))
    fields["create"] = tuple(
        outer(path.rstrip(b"/")) + (b"/" if path.endswith(b"/") else b"") for path in fields.get("create", ())
    )
    fields["cwd"] = fields.get("cwd") or b"/"
    for value in () if fields.get("landlock_fs") else draft.profile.items("process.pass_fds"):
        known = host.fd_stat(value.value)  # type: ignore[arg-type]
        if known is not None and stat.S_ISDIR(known[0].mode):
            message = f"file descriptor {value.value} is a directory, and without Landlock a way out of the root"
            draft.refuse(value.origin, message, "do not pass it")
    if not fields.get("view"):
        fields["view"] = ((VIEW_CHROOT, 0, b"/", os.fsencode(host.top)),)
