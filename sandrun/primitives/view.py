"""The view: what the command sees of the file system, made in a mount namespace of its own.

LIGHT. The records of `Plan.view` are executed in the child, in a tree that starts as a copy of the caller's. What is
to stay as it is (a writable directory, a device) is cloned first; then the whole tree gets its attributes, read-only
as a rule; then everything is attached in the order of the plan, by descriptors that no symbolic link could bend. All
mounts are private, so that nothing of it is ever seen outside.
"""

from __future__ import annotations

import os
import struct

from sandrun import libc
from sandrun.plan.format import KEEP, KIND_DIRECTORY, MAY_VANISH
from sandrun.primitives import landlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandrun.plan.format import Plan

VIEW_TREE, VIEW_BIND, VIEW_TMPFS, VIEW_PROC, VIEW_DEVPTS, VIEW_OVERLAY = range(6)
VIEW_DIRECTORY, VIEW_FILE, VIEW_SYMLINK, VIEW_ROOT, VIEW_CHROOT, VIEW_CONTENT = range(6, 12)
"""The operations of `Plan.view`, and what `path` and `source` mean there:

TREE: the attributes of all that the caller has mounted. BIND: `source` shown at `path`. TMPFS: an empty filesystem in
memory, `source` its size as of tmpfs(5). PROC: proc(5) of the command's pid namespace. DEVPTS: pseudoterminals of its
own. OVERLAY: changes of `path` go to the overlay directories number `source`. DIRECTORY, FILE, SYMLINK: made at `path`,
with parents, in a filesystem of the view; `source` is the content. ROOT: instead of TREE, what is mounted at and below
`source` becomes all that there is, by pivot_root(2); every later `path` is inside it, but for the one of OVERLAY, and
every `source` outside. CHROOT: chroot(2) to `source`, where there is no mount namespace; then it stands alone. CONTENT:
`source` is what the file `path` holds.
"""
MODE = 0o7777
"""The low bits of a record's flags are the permission bits of what is made."""
READ_ONLY = 1 << 12
DEVICES = 1 << 13
"""Device files work; elsewhere they cannot be opened."""
OWNED = 1 << 14
"""It belongs to the command's user, not to the caller's."""
SEALED = 1 << 15
"""TMPFS: it becomes read-only when the view is complete."""
NO_EXECUTE = 1 << 16
SET_ID = 1 << 17
"""Set-user-ID and set-group-ID bits and file capabilities work, which they do nowhere else."""

_PRIVATE_SIZE = b"15%"
"""As of tmpfs(5), of the machine's memory."""
_IN_PLACE = (VIEW_TREE, VIEW_DIRECTORY, VIEW_FILE, VIEW_SYMLINK)
"""What needs no mount of its own."""
_FILE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class View:
    """A view to be made: its records, the (upper, work) directories of each overlay, and private directories to show.

    `at` is the number of the record that is worked on, for the error message. Where the command's ids are mapped by
    helpers, the private directories are filesystems of its own: the caller could not give it, nor clear, one of its own.
    `private_rules` grants those.
    """

    __slots__ = ("at", "gid", "is_mapped", "overlays", "private", "private_rules", "records", "uid")

    def __init__(self, plan: Plan, private: Sequence[bytes] = (), overlays: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.at = 0
        self.records = plan.view
        self.private = tuple(private)
        self.overlays = tuple(overlays)
        self.uid, self.gid = plan.uid, plan.gid
        self.is_mapped = bool(plan.id_helpers)
        rules = tuple((plan.private_access, KIND_DIRECTORY, path) for path in private)
        self.private_rules = rules if self.is_mapped else ()

    def make(self) -> None:
        """Make the view in this process's mount namespace. Raises OSError, and ValueError for an unknown operation."""
        if self.records[0][0] == VIEW_CHROOT:
            os.chroot(self.records[0][3])
            os.chdir("/")
            return
        libc.mount_setattr(libc.AT_FDCWD, b"/", libc.AT_RECURSIVE, propagation=libc.MS_PRIVATE)
        detached: dict[int, int] = {}
        for at, record in enumerate(self.records):
            self.at = at
            if record[0] not in _IN_PLACE:
                detached[at] = self._detached(record)
        shown = [self._private(path) for path in self.private]
        sealed = []
        for at, (operation, flags, path, source) in enumerate(self.records):
            self.at = at
            if operation == VIEW_TREE:
                libc.mount_setattr(libc.AT_FDCWD, path, libc.AT_RECURSIVE, attributes=_attributes(flags))
            elif operation in (VIEW_DIRECTORY, VIEW_FILE, VIEW_SYMLINK):
                self._entry(operation, flags, path, source)
            elif operation == VIEW_ROOT:
                _change_root(detached[at], source)
            else:
                _attach(detached[at], self._inside(path) if operation == VIEW_OVERLAY else path)
                if flags & SEALED:
                    sealed.append(detached[at])
        for path, mount in zip(self.private, shown, strict=True):
            self._entry(VIEW_DIRECTORY, 0o755, path, b"")
            _attach(mount, path)
        for mount in sealed:
            libc.mount_setattr(mount, b"", 0, attributes=libc.MOUNT_ATTR_RDONLY)

    def _detached(self, record: tuple[int, int, bytes, bytes]) -> int:
        """The mount of a record, before anything of the tree changes.

        A user namespace may mount proc(5) only while one can be seen that hides nothing, so before the root goes.
        """
        operation, flags, path, source = record
        if operation in (VIEW_BIND, VIEW_ROOT):
            return _clone(source, flags)
        if operation == VIEW_OVERLAY:
            return self._overlay(path, int(source))
        if operation == VIEW_CONTENT:
            return _content(source, flags)
        return self._filesystem(operation, flags, source)

    def _private(self, path: bytes) -> int:
        return self._filesystem(VIEW_TMPFS, 0o700 | OWNED, _PRIVATE_SIZE) if self.is_mapped else _clone(path, 0)

    def _inside(self, path: bytes) -> bytes:
        """The path of the host as it is in the view's root."""
        operation, _, _, top = self.records[0]
        return path[len(top.rstrip(b"/")) :] if operation == VIEW_ROOT else path

    def _filesystem(self, operation: int, flags: int, source: bytes) -> int:
        if operation == VIEW_PROC:
            return libc.fsmount(b"proc", (), _attributes(flags | NO_EXECUTE))
        if operation == VIEW_DEVPTS:
            options = ((b"ptmxmode", b"0666"), (b"mode", b"0620"))
            return libc.fsmount(b"devpts", options, _attributes(flags | NO_EXECUTE | DEVICES))
        if operation != VIEW_TMPFS:
            raise ValueError(operation)
        owner: tuple[tuple[bytes, bytes], ...] = ()
        if flags & OWNED and self.uid != KEEP:
            owner = ((b"uid", b"%d" % self.uid), (b"gid", b"%d" % self.gid))
        size = ((b"size", source),) if source else ()
        return libc.fsmount(b"tmpfs", ((b"mode", b"%o" % (flags & MODE)), *owner, *size), _attributes(flags))

    def _overlay(self, path: bytes, number: int) -> int:
        upper, work = self.overlays[number]
        lower_fd, upper_fd, work_fd = (landlock.open_path(place) for place in (path, upper, work))
        try:
            options = (
                (b"lowerdir", b"/proc/self/fd/%d" % lower_fd),
                (b"upperdir", b"/proc/self/fd/%d" % upper_fd),
                (b"workdir", b"/proc/self/fd/%d" % work_fd),
                (b"userxattr", b""),
            )
            return libc.fsmount(b"overlay", options, libc.MOUNT_ATTR_NOSUID | libc.MOUNT_ATTR_NODEV)
        finally:
            for fd in (lower_fd, upper_fd, work_fd):
                os.close(fd)

    def _entry(self, operation: int, flags: int, path: bytes, source: bytes) -> None:
        """Make a file, link or directory with the directories above it; what is there already stays."""
        *folders, last = path.split(b"/")[1:]
        at = os.open("/", _FOLDER)
        for name in (*folders, last) if operation == VIEW_DIRECTORY else folders:
            is_last = operation == VIEW_DIRECTORY and name is last
            below = self._enter(at, name, flags & MODE if is_last else 0o755, flags)
            os.close(at)
            at = below
        try:
            if operation == VIEW_SYMLINK:
                os.symlink(source, last, dir_fd=at)
            elif operation == VIEW_FILE:
                fd = os.open(
                    last, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, flags & MODE, dir_fd=at
                )
                os.write(fd, source)
                self._own(fd, flags)
                os.close(fd)
        except FileExistsError:
            return
        finally:
            os.close(at)

    def _enter(self, at: int, name: bytes, mode: int, flags: int) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=at)
        except FileNotFoundError:
            os.mkdir(name, mode, dir_fd=at)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        os.fchmod(fd, mode)
        self._own(fd, flags)
        return fd

    def _own(self, fd: int, flags: int) -> None:
        if flags & OWNED and self.uid != KEEP:
            os.fchown(fd, self.uid, self.gid)


def _attributes(flags: int) -> int:
    attributes = 0 if flags & SET_ID else libc.MOUNT_ATTR_NOSUID
    if not flags & DEVICES:
        attributes |= libc.MOUNT_ATTR_NODEV
    if flags & READ_ONLY:
        attributes |= libc.MOUNT_ATTR_RDONLY
    if flags & NO_EXECUTE:
        attributes |= libc.MOUNT_ATTR_NOEXEC
    return attributes


def _clone(source: bytes, flags: int) -> int:
    """A detached copy of what is mounted at and below a canonical path, with its attributes."""
    fd = landlock.open_path(source)
    try:
        mount = libc.open_tree(fd)
    finally:
        os.close(fd)
    libc.mount_setattr(mount, b"", libc.AT_RECURSIVE, attributes=_attributes(flags))
    return mount


def _content(content: bytes, flags: int) -> int:
    """A detached mount that is one file with this content.

    Only what is attached can be cloned (before Linux 6.15), so its filesystem lies on the root for a moment.
    """
    mount = libc.fsmount(b"tmpfs", ((b"mode", b"0755"),), 0)
    _attach(mount, b"/")
    fd = os.open("file", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=mount)
    os.fchmod(fd, 0o644)
    written = 0
    while written < len(content):
        written += os.write(fd, content[written:])
    os.close(fd)
    file = os.open("file", _FILE, dir_fd=mount)
    clone = libc.open_tree(file)
    os.close(file)
    os.fchdir(mount)
    libc.umount2(b".", libc.MNT_DETACH)
    os.chdir("/")
    os.close(mount)
    libc.mount_setattr(clone, b"", 0, attributes=_attributes(flags))
    return clone


def _change_root(mount: int, path: bytes) -> None:
    """Make a detached copy of what is at `path` the root, and let go of all that was there before."""
    _attach(mount, path)
    os.fchdir(mount)
    # The old root is then on top of the new one, where nothing but "." still means what is below (pivot_root(2)).
    libc.pivot_root(b".", b".")
    libc.umount2(b".", libc.MNT_DETACH)
    os.chdir("/")


def _attach(mount: int, path: bytes) -> None:
    target = landlock.open_path(path)
    try:
        libc.move_mount(mount, target)
    finally:
        os.close(target)


def grant(ruleset_fd: int, rules: Sequence[tuple[int, int, bytes]]) -> None:
    """Add `Plan.view_rules` to the ruleset, on what is now in the view. Raises OSError."""
    for access, kind, path in rules:
        try:
            fd = landlock.open_path(path)
        except FileNotFoundError:
            if kind & MAY_VANISH:
                continue  # a name of the host's, in a place that hides it
            raise
        try:
            libc.landlock_add_rule(ruleset_fd, libc.LANDLOCK_RULE_PATH_BENEATH, struct.pack("=Qi", access, fd))
        finally:
            os.close(fd)
