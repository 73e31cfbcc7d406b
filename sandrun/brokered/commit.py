"""Putting outputs in place, all or none, whatever happens on the way.

The journal, one file for each user, says what is being done, and is durable before it is done:

    staging      the contents are written beside their targets, under names that the journal has: nothing counts yet
    committing   all of them are durable: each takes the place of its target, by renameat2(2)
    undoing      one could not: those that did give the place back

An exchange leaves what was there under the temporary name, so that it can be undone, and so that what is really replaced can
be looked at: a link or fifo that somebody put there meanwhile gets its name back. An interrupted commit is found by its
journal at the next launch with outputs: `committing` is brought to its end, or undone if that cannot be or somebody has
changed a target since; the others are undone. Which of the two a file is, its inode tells.

A lock makes commits of one user wait for each other, so that no journal is older than what stands at its targets.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandrun import libc
from sandrun.brokered import target as targets
from sandrun.brokered.checks import RefusedError
from sandrun.errors import SandrunError
from sandrun.report import reason, say
from sandrun.workspace import site

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandrun.brokered.target import Target

VERSION = 1
STAGING, COMMITTING, UNDOING = "staging", "committing", "undoing"
_JOURNAL, _NEW_JOURNAL, _LOCK = "journal", "journal.new", "lock"
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


class Entry(NamedTuple):
    """One output of a commit, as the journal has it. `directory` is without links; inodes are 0 for what is not there.

    Numbers of devices are not in it: after the next start of the machine they are those of others.
    """

    directory: str
    inode: int
    name: str
    temporary: str
    new: int = 0
    old: int = 0
    old_mtime: int = 0
    made: tuple[str, ...] = ()


class _Open(NamedTuple):
    """An entry with its directory open."""

    entry: Entry
    fd: int


def place() -> str:
    """The directory of the journal. Raises SandrunError."""
    path = os.path.join(os.path.dirname(site.make()), "outputs")
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    except OSError as error:
        raise SandrunError(f"cannot keep a journal: {path}: {reason(error)}", hint=site.ELSEWHERE) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SandrunError(f"cannot keep a journal: {path}: not a directory of this user alone", hint="remove it")
    return path


@contextlib.contextmanager
def _locked(base: str, how: int = fcntl.LOCK_EX) -> Iterator[int]:
    """The directory of the journal, open, that nobody else uses meanwhile. Raises OSError."""
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
        try:
            fcntl.flock(lock, how)
            yield fd
        finally:
            os.close(lock)
    finally:
        os.close(fd)


def recover(base: str) -> None:
    """Bring a commit to its end that was interrupted, unless one is at work. Raises SandrunError."""
    try:
        with _locked(base, fcntl.LOCK_EX | fcntl.LOCK_NB) as fd:
            _recover(fd)
    except BlockingIOError:
        return
    except OSError as error:
        raise SandrunError(f"cannot read the journal of outputs: {base}: {reason(error)}") from None


def commit(base: str, contents: Sequence[tuple[Target, bytes]]) -> None:
    """Write all of it, or nothing.

    Raises RefusedError, which names the output, with every target as it was; SandrunError if that cannot be had.
    """
    try:
        with _locked(base) as journal:
            _recover(journal)
            _commit(journal, contents)
    except OSError as error:
        raise RefusedError(f"cannot use the journal: {base}: {reason(error)}") from None


def _commit(journal: int, contents: Sequence[tuple[Target, bytes]]) -> None:
    opened: list[_Open] = []
    try:
        try:
            for target, _ in contents:
                opened.append(_announced(target, journal, opened))
            for index, (target, data) in enumerate(contents):
                opened[index] = _staged(opened[index], target, data)
            for each in opened:
                os.fsync(each.fd)
            _write(journal, COMMITTING, opened)
        except (OSError, RefusedError):
            with contextlib.suppress(OSError):  # what it says by now leads to the same, unless it is just `committing`
                _write(journal, UNDOING, opened)
            _undo(opened)
            _end(journal)
            raise
        try:
            for (target, _), each in zip(contents, opened, strict=True):
                with _about(target):
                    _swap(each)
        except RefusedError:
            _write(journal, UNDOING, opened)
            _undo(opened)
            _end(journal)
            raise
        _finish(opened)
        _end(journal)
    finally:
        for each in opened:
            os.close(each.fd)


@contextlib.contextmanager
def _about(target: Target) -> Iterator[None]:
    """What goes wrong here is told of this target."""
    start = f"output {target.output.name}: {target.output.path}: "
    try:
        yield
    except OSError as error:
        raise RefusedError(start + reason(error)) from None
    except RefusedError as refused:
        raise RefusedError(start + str(refused)) from None


def _announced(target: Target, journal: int, before: Sequence[_Open]) -> _Open:
    """The entry of a target, in the journal before anything of it is made."""
    with _about(target):
        if not targets.is_still_there(target):
            raise RefusedError("its directory is gone, or another one is in its place")
        temporary = f".sandrun-output-{os.urandom(8).hex()}"
        made = tuple(path for path in targets.folders(target) if not os.path.lexists(path))
        entry = Entry(target.directory, os.fstat(target.fd).st_ino, target.name, temporary, made=made)
        _write(journal, STAGING, [*before, _Open(entry, -1)])
        fd, _ = targets.make_missing(target)
        directory = os.path.dirname(target.path) or "/"
        opened = _Open(entry._replace(directory=directory, inode=os.fstat(fd).st_ino), fd)
        try:
            _write(journal, STAGING, [*before, opened])
        except OSError:
            os.close(fd)
            targets.remove_made(list(made))
            raise
        return opened


def _staged(each: _Open, target: Target, data: bytes) -> _Open:
    with _about(target):
        old = targets.kind(target.name, each.fd)
        new = targets.create(target, each.fd, each.entry.temporary, data, old)
        inode, mtime = (old.st_ino, old.st_mtime_ns) if old else (0, 0)
        return each._replace(entry=each.entry._replace(new=new, old=inode, old_mtime=mtime))


def _swap(each: _Open) -> None:
    """The new content takes the place of the target. Raises OSError, RefusedError: then it has not."""
    entry, fd = each
    temporary, name = os.fsencode(entry.temporary), os.fsencode(entry.name)
    try:
        if not entry.old:
            libc.renameat2(fd, temporary, fd, name, libc.RENAME_NOREPLACE)
            return
        libc.renameat2(fd, temporary, fd, name, libc.RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        # Such a filesystem has no undoing either; what is there is looked at right before.
        found = targets.kind(entry.name, fd)
        if (found.st_ino if found else 0) != entry.old:
            raise RefusedError("somebody else changed it meanwhile") from None
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        return
    if _inode(fd, entry.temporary) != entry.old:
        libc.renameat2(fd, temporary, fd, name, libc.RENAME_EXCHANGE)
        raise RefusedError("somebody else changed it meanwhile")


def _finish(opened: Sequence[_Open]) -> None:
    """All are in place: make that durable, and remove what they replaced."""
    for each in opened:
        os.fsync(each.fd)
    for entry, fd in opened:
        with contextlib.suppress(OSError):
            os.unlink(entry.temporary, dir_fd=fd)


def _undo(opened: Sequence[_Open]) -> None:
    """Give back what was replaced, and remove what was made. What cannot be given back is told."""
    for entry, fd in reversed(opened):
        if fd < 0:
            continue
        try:
            if entry.new and _inode(fd, entry.name) == entry.new:
                _give_back(entry, fd)
            os.unlink(entry.temporary, dir_fd=fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            say([f"cannot undo: {entry.directory}/{entry.name}: {reason(error)}"])
        with contextlib.suppress(OSError):
            os.fsync(fd)
        targets.remove_made(list(entry.made))


def _give_back(entry: Entry, fd: int) -> None:
    temporary, name = os.fsencode(entry.temporary), os.fsencode(entry.name)
    if entry.old and _inode(fd, entry.temporary) == entry.old:
        libc.renameat2(fd, temporary, fd, name, libc.RENAME_EXCHANGE)
    elif not entry.old:
        os.rename(name, temporary, src_dir_fd=fd, dst_dir_fd=fd)
    else:
        raise OSError(errno.ENOENT, "what it replaced is gone")


def _inode(fd: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return 0


# --- the journal -----------------------------------------------------------------------------------------------------


def _write(journal: int, state: str, opened: Sequence[_Open]) -> None:
    """Say durably what is about to be done. Raises OSError."""
    document = {"sandrun": VERSION, "state": state, "entries": [each.entry._asdict() for each in opened]}
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(_NEW_JOURNAL, flags, 0o600, dir_fd=journal)
    with open(fd, "w", encoding="ascii") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(fd)
    os.rename(_NEW_JOURNAL, _JOURNAL, src_dir_fd=journal, dst_dir_fd=journal)
    os.fsync(journal)


def _end(journal: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_JOURNAL, dir_fd=journal)
    os.fsync(journal)


def _read(journal: int) -> tuple[str, list[Entry]] | None:
    """What an interrupted commit was doing; None if there was none. Raises ValueError for what is no journal."""
    try:
        fd = os.open(_JOURNAL, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=journal)
    except FileNotFoundError:
        return None
    with open(fd, encoding="ascii") as file:
        document = json.load(file)
    try:
        entries = [Entry(**{**each, "made": tuple(each["made"])}) for each in document["entries"]]
        return str(document["state"]), entries
    except (TypeError, KeyError):
        raise ValueError("its form") from None


def _recover(journal: int) -> None:
    """Bring the commit that the journal tells of to its end, or undo it. Raises OSError."""
    try:
        found = _read(journal)
    except ValueError:
        aside = f"journal.damaged-{os.urandom(4).hex()}"
        os.rename(_JOURNAL, aside, src_dir_fd=journal, dst_dir_fd=journal)
        say([f"warning: the journal of outputs is damaged, and kept as {aside}: an output may be half of its group"])
        return
    if found is None:
        return
    state, entries = found
    opened: list[_Open] = []
    try:
        opened += [_Open(entry, _directory(entry)) for entry in entries]
        if state == COMMITTING and _can_go_on(opened):
            try:
                for each in opened:
                    if _inode(each.fd, each.entry.temporary) == each.entry.new:
                        _swap(each)
                _finish(opened)
            except (OSError, RefusedError):
                _write(journal, UNDOING, opened)
                _undo(opened)
        else:
            _undo(opened)
    finally:
        for each in opened:
            if each.fd >= 0:
                os.close(each.fd)
    _end(journal)


def _can_go_on(opened: Sequence[_Open]) -> bool:
    """Whether each target is either written, or as it was when the commit began."""
    for entry, fd in opened:
        if fd < 0:
            return False
        if _inode(fd, entry.temporary) != entry.new:
            continue  # it is in place
        try:
            found = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            found = None
        now = (found.st_ino, found.st_mtime_ns) if found else (0, 0)
        if now != (entry.old, entry.old_mtime):
            return False
    return True


def _directory(entry: Entry) -> int:
    """The entry's directory; -1 if it is gone, or another one is in its place: it gets nothing."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        fd = libc.openat2(os.fsencode(entry.directory), flags, resolve=libc.RESOLVE_NO_SYMLINKS)
    except OSError:
        return -1
    if os.fstat(fd).st_ino != entry.inode:
        os.close(fd)
        return -1
    return fd
