"""Overlays as a launch makes them: a workspace, a mount namespace, the overlay over the directory, a shell in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sandrun import libc
from sandrun.workspace import store
from sandrun.workspace.commit import commit
from sandrun.workspace.launch import all_changes
from tests.support import PATH, in_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandrun.workspace.commit import Result
    from sandrun.workspace.store import Workspace
    from tests.support import Who


class Area:
    """A directory `tree` to be overlaid, and a place `state` for workspaces, both of one user."""

    def __init__(self, who: Who, box: Path) -> None:
        self.who, self.tree, self.state = who, box / "tree", box / "state"
        for path in (self.tree, self.state):
            path.mkdir()
            who.own(path)

    def inside(self, function: Callable[[], object]) -> object:
        """Call it as the user, with its own place for workspaces."""

        def call() -> object:
            os.environ["XDG_STATE_HOME"] = str(self.state)
            os.umask(0o022)
            return function()

        return in_child(call, self.who, timeout=100)

    def shell(self, script: str, *, cwd: Path | None = None) -> None:
        """Run a script in the tree itself, as the user."""
        self.who.run(["sh", "-euc", script], cwd=cwd or self.tree, check=True)

    def run(self, script: str, *, meanwhile: Callable[[], object] | None = None, check: bool = True) -> Workspace:
        """Run a script with the tree overlaid; the workspace that it leaves."""

        def work() -> Workspace:
            workspace, lock = store.make([str(self.tree)], ["sh", "-c", script])
            store.await_clock(workspace)
            pid = os.fork()
            if not pid:
                try:
                    mount_overlay(workspace)
                    os.chdir(self.tree)
                    os.execve("/bin/sh", ["sh", "-euc" if check else "-uc", script], {"PATH": PATH})
                finally:
                    os._exit(99)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert status == 0 or not check, f"the script ended with {status}"
            os.close(lock)
            if meanwhile:
                meanwhile()
            return store.ended(workspace, status)

        return self.inside(work)  # type: ignore[return-value]

    def forge(self, make: Callable[[str], object]) -> Workspace:
        """A workspace whose upper directory `make` filled by hand."""

        def work() -> Workspace:
            workspace, lock = store.make([str(self.tree)], ["forged"])
            store.await_clock(workspace)
            make(f"{workspace.path}/upper/0")
            os.close(lock)
            return store.ended(workspace, 0)

        return self.inside(work)  # type: ignore[return-value]

    def commit(self, workspace: Workspace, *, force: bool = False) -> Result:
        return self.inside(lambda: commit(workspace, force=force))  # type: ignore[return-value]

    def changes(self, workspace: Workspace) -> list[tuple[str, str, tuple[str, ...]]]:
        """Kind, path and respects of each change."""
        return self.inside(  # type: ignore[return-value]
            lambda: [(change.kind, change.path, change.what) for _, change, _, _ in all_changes(workspace)]
        )


def mount_overlay(workspace: Workspace) -> None:
    """In this process only: mount each overlay, as root directly, as a user by a user namespace."""
    uid, gid = os.getuid(), os.getgid()
    libc.unshare(libc.CLONE_NEWNS | (libc.CLONE_NEWUSER if uid else 0))
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    libc.mount(b"none", b"/", b"", libc.MS_REC | libc.MS_PRIVATE)
    for directory, (upper, work) in zip(workspace.directories, workspace.overlays, strict=True):
        options = (
            (b"lowerdir", os.fsencode(directory)),
            (b"upperdir", upper),
            (b"workdir", work),
            (b"userxattr", b""),
        )
        mount = libc.fsmount(b"overlay", options, libc.MOUNT_ATTR_NOSUID | libc.MOUNT_ATTR_NODEV)
        target = os.open(directory, os.O_PATH)
        libc.move_mount(mount, target)
        os.close(target)


def contents(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a directory: type and mode, owner, modification time, content."""
    found: dict[str, tuple[object, ...]] = {}
    for path, folders, names in os.walk(top):
        for name in (*folders, *names):
            full = os.path.join(path, name)
            state = os.lstat(full)
            data: object = None
            if os.path.islink(full):
                data = os.readlink(full)
            elif os.path.isfile(full):
                with open(full, "rb") as file:
                    data = file.read()
            key = os.path.relpath(full, top)
            found[key] = (oct(state.st_mode), state.st_uid, data if data is None else (data, state.st_mtime_ns))
    return found
