"""The directory of a control group: its processes, its end, its files. LIGHT; `cgroup` is what the others use."""

from __future__ import annotations

import errno
import os
import time

from sandrun import libc

END_SECONDS = 5.0
"""How long a group may take to become empty after SIGKILL, and so removable."""
PAUSE = 0.002
_BATCH = 128
_GONE = (errno.ENOENT, errno.ENODEV, errno.ESRCH)


def folders(path: bytes) -> list[bytes]:
    """The group and all below it, the deepest first."""
    return [folder for folder, _, _ in os.walk(path, topdown=False)]


def members(path: bytes) -> set[int]:
    """The processes in a group and below it, as our pid namespace numbers them."""
    found: set[int] = set()
    for folder in folders(path):
        found.update(int(word) for word in read(folder + b"/cgroup.procs").split())
    return found - {0}


def own_path() -> bytes:
    """The path of this process in the hierarchy of version 2, b"" if it has none."""
    for line in read(b"/proc/self/cgroup").splitlines():
        if line.startswith(b"0::"):
            return line[3:]
    return b""


def lowest_pids_max(mount: bytes, group: bytes) -> bytes:
    """The lowest limit of processes of a group and those above it, b"" for none: a scope must be no way out of it."""
    found = []
    while len(group) > len(mount):
        value = read(group + b"/pids.max").strip()
        if value.isdigit():
            found.append(int(value))
        group = os.path.dirname(group)
    return b"%d" % min(found) if found else b""


def kill_at_once(path: bytes) -> bool:
    """Kill all members by cgroup.kill (version 2, Linux 5.14); False where there is none."""
    try:
        write(path + b"/cgroup.kill", b"1")
    except OSError:
        return False
    return True


def stop_forks(path: bytes) -> None:
    """With the pids controller: no process of the group can make another any more."""
    try:
        write(path + b"/pids.max", b"0")
    except OSError:
        return


def kill_each(path: bytes) -> None:
    """Kill the members one by one until there are none, or the time is over.

    A process with a pending SIGKILL cannot fork, so a storm of forks ends even where `_stop_forks` had no effect.
    """
    end = time.monotonic() + END_SECONDS
    while (found := members(path)) and time.monotonic() < end:
        batch = sorted(found)[:_BATCH]
        _kill_batch(path, batch)
        time.sleep(PAUSE / 10)


def _kill_batch(path: bytes, pids: list[int]) -> None:
    """Kill these if they are members still: an id alone may by now be another process's, a pidfd never is."""
    held = []
    try:
        for pid in pids:
            try:
                held.append((pid, os.pidfd_open(pid)))
            except ProcessLookupError:
                continue
        still = members(path)
        for pid, pidfd in held:
            if pid in still:
                try:
                    libc.pidfd_send_signal(pidfd, libc.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    continue
    finally:
        for _, pidfd in held:
            os.close(pidfd)


def move_all(source: bytes, target: bytes) -> None:
    """Move every process of a group to another, also those that are forked meanwhile. Raises OSError."""
    while pids := read(source + b"/cgroup.procs").split():
        for pid in pids:
            try:
                write(target + b"/cgroup.procs", pid)
            except ProcessLookupError:
                continue


def remove(path: bytes) -> int:
    """Remove a group and all below it, waiting for what was killed to be gone; 0, or the errno of what stays."""
    end = time.monotonic() + END_SECONDS
    while True:
        number = 0
        for folder in folders(path):
            try:
                os.rmdir(folder)
            except OSError as error:
                number = 0 if error.errno in _GONE else error.errno or 0
        if number != errno.EBUSY or time.monotonic() > end:
            return number
        time.sleep(PAUSE)


def read(path: bytes) -> bytes:
    """A file of the kernel, b"" if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        data = b""
        while chunk := os.read(fd, 65536):
            data += chunk
        return data
    except OSError:
        return b""
    finally:
        os.close(fd)


def write(path: bytes, data: bytes) -> None:
    """Write to a file of the kernel, in one call. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def counters(path: bytes) -> dict[bytes, int]:
    """A file of lines `name number`."""
    pairs = (line.split() for line in read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
