"""Putting outputs in place, all or none, whatever happens on the way.

The journal, one file for each user, says what is being done, and is durable before it is done:

    staging      the contents are written beside their targets, under names that the journal has: nothing counts yet
    committing   all of them are durable: each takes the place of its target, by renameat2(2)
    undoing      one could not: those that did give the place back

An exchange leaves what was there under the temporary name, so that it can be undone, and so that what is really replaced can
be looked at: a link or fifo that somebody put there meanwhile gets its name back. An interrupted commit is found by its
journal at the next launch with outputs: `committing` is brought to its end, or undone if that cannot be or somebody has
changed a target since; the others are undone. Which of the two a file is, its inode and its time of change tell: numbers of
inodes are used again at once.

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
    """One output of a commit, as the journal has it. `directory` is without links; `new` and `old` are of `_file`.

    Numbers of devices are not in it: after the next start of the machine they are those of others.
    """

    directory: str
    inode: int
    name: str
    temporary: str
    new: str = ""
    old: str = ""
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
        raise RefusedError(f"outputs: cannot use the journal: {base}: {reason(error)}") from None


def _commit(journal: int, contents: Sequence[tuple[Target, bytes]]) -> None:
    opened: list[_Open] = []
    try:
        try:
            _stage(journal, contents, opened)
        except (OSError, RefusedError):
            with contextlib.suppress(OSError):  # what it says by now leads to the same, unless it is just `committing`
                _write(journal, UNDOING, opened)
            if _undo(opened):
                _end(journal)
            raise
        try:
            for (target, _), each in zip(contents, opened, strict=True):
                with _about(target):
                    _swap(each)
        except RefusedError:
            _write(journal, UNDOING, opened)
            if _undo(opened):
                _end(journal)
            raise
        if _finish(opened):
            _end(journal)
    finally:
        for each in opened:
            os.close(each.fd)


def _stage(journal: int, contents: Sequence[tuple[Target, bytes]], opened: list[_Open]) -> None:
    """Write everything beside the targets, and say so durably; `opened` is always what there is to undo."""
    for target, _ in contents:
        opened.append(_announced(target))
    _write(journal, STAGING, opened)
    if any(target.missing for target, _ in contents):
        for index, (target, _) in enumerate(contents):
            opened[index] = _in_made(opened[index], target)
        _write(journal, STAGING, opened)
    for index, (target, data) in enumerate(contents):
        opened[index] = _staged(opened[index], target, data)
    for each in opened:
        os.fsync(each.fd)
    _write(journal, COMMITTING, opened)


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


def _announced(target: Target) -> _Open:
    """The entry of a target, for the journal before anything of it is made."""
    with _about(target):
        if not targets.is_still_there(target):
            raise RefusedError("its directory is gone, or another one is in its place")
        made = tuple(path for path in targets.folders(target) if not os.path.lexists(path))
        temporary = f".sandrun-output-{os.urandom(8).hex()}"
        entry = Entry(target.directory, os.fstat(target.fd).st_ino, target.name, temporary, made=made)
        return _Open(entry, os.dup(target.fd))


def _in_made(each: _Open, target: Target) -> _Open:
    """The entry in the directory that is made for it."""
    with _about(target):
        fd = targets.make_missing(target)
        os.close(each.fd)
        directory = os.path.dirname(target.path) or "/"
        return _Open(each.entry._replace(directory=directory, inode=os.fstat(fd).st_ino), fd)


def _staged(each: _Open, target: Target, data: bytes) -> _Open:
    with _about(target):
        old = targets.kind(target.name, each.fd)
        new = targets.create(target, each.fd, each.entry.temporary, data, old)
        return each._replace(entry=each.entry._replace(new=_named(new), old=_named(old) if old else ""))


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
        if (_named(found) if found else "") != entry.old:
            raise RefusedError("somebody else changed it meanwhile") from None
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        return
    if _file(fd, entry.temporary) != entry.old:
        libc.renameat2(fd, temporary, fd, name, libc.RENAME_EXCHANGE)
        raise RefusedError("somebody else changed it meanwhile")


def _finish(opened: Sequence[_Open]) -> bool:
    """All are in place: make that durable, and remove what they replaced. False if something of that is left."""
    for each in opened:
        os.fsync(each.fd)
    is_done = True
    for entry, fd in opened:
        try:
            os.unlink(entry.temporary, dir_fd=fd)
        except FileNotFoundError:
            continue
        except OSError:
            is_done = False
    return is_done


def _undo(opened: Sequence[_Open]) -> bool:
    """Give back what was replaced, and remove what was made. False, and told, if that cannot be."""
    is_done = True
    for entry, fd in reversed(opened):
        if fd < 0:
            continue
        try:
            if entry.new and _file(fd, entry.name) == entry.new:
                _give_back(entry, fd)
            os.unlink(entry.temporary, dir_fd=fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            say([f"cannot undo: {entry.directory}/{entry.name}: {reason(error)}"])
            is_done = False
        with contextlib.suppress(OSError):
            os.fsync(fd)
        targets.remove_made(entry.made)
    return is_done


def _give_back(entry: Entry, fd: int) -> None:
    temporary, name = os.fsencode(entry.temporary), os.fsencode(entry.name)
    if entry.old and _file(fd, entry.temporary) == entry.old:
        libc.renameat2(fd, temporary, fd, name, libc.RENAME_EXCHANGE)
    elif not entry.old:
        os.rename(name, temporary, src_dir_fd=fd, dst_dir_fd=fd)
    else:
        raise OSError(errno.ENOENT, "what it replaced is gone")


def _file(fd: int, name: str) -> str:
    """Which file this is, "" for none."""
    try:
        return _named(os.stat(name, dir_fd=fd, follow_symlinks=False))
    except FileNotFoundError:
        return ""


def _named(found: os.stat_result) -> str:
    return f"{found.st_ino}-{stat.S_IFMT(found.st_mode):o}-{found.st_mtime_ns}"


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
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_NEW_JOURNAL, dir_fd=journal)
    try:
        found = _read(journal)
    except ValueError:
        _put_aside(journal, "is damaged")
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
                    if _file(each.fd, each.entry.temporary) == each.entry.new:
                        _swap(each)
                is_done = _finish(opened)
            except (OSError, RefusedError):
                _write(journal, UNDOING, opened)
                is_done = _undo(opened)
        else:
            is_done = _undo(opened)
    finally:
        for each in opened:
            if each.fd >= 0:
                os.close(each.fd)
    if is_done:
        _end(journal)
    else:
        _put_aside(journal, "cannot be followed to its end")


def _put_aside(journal: int, why: str) -> None:
    """Let nothing that nobody can mend stand in the way of every launch to come."""
    aside = f"journal.kept-{os.urandom(4).hex()}"
    os.rename(_JOURNAL, aside, src_dir_fd=journal, dst_dir_fd=journal)
    say([f"warning: the journal of outputs {why}, and is kept as {aside}: outputs may be of different runs"])


def _can_go_on(opened: Sequence[_Open]) -> bool:
    """Whether each target is either written, or as it was when the commit began."""
    for entry, fd in opened:
        if fd < 0:
            return False
        if _file(fd, entry.temporary) != entry.new:
            continue  # it is in place
        if _file(fd, entry.name) != entry.old:
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
