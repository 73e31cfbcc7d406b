"""What was done → the entries of a profile that let it be done again, each with the reason. Pure, over a Host.

| done | entry |
| --- | --- |
| what the loader, interpreters, resolvers and account names need | `@runtime` |
| terminals, /dev/null and its kin | `@tty`, `@devices` |
| something below /tmp, /proc or the home that the cage replaced | `tmp`, `proc`, `home` |
| entries of a directory made or removed | `write` of the directory |
| a new file, by a plain open(2), that nobody asked about before; and nothing else in its directory | `create` |
| a file changed in place | `write` of the file |
| read, listed, executed | `read`, `execute` |
| there before, in a directory that becomes writable, and only read | `deny_write` |
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from sandrun import elf
from sandrun.learn.collapse import Evidence, collapse, cover, together
from sandrun.learn.patterns import generalise, is_changing
from sandrun.learn.tiers import is_below
from sandrun.learn.uses import CHANGE, ENTER, EXECUTE, LIST, MAKE, READ, WRITE
from sandrun.observe.events import DIRECTORY
from sandrun.profile.paths import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandrun.host import Host
    from sandrun.learn.tiers import Tiers
    from sandrun.learn.uses import Use

MOST_READ, MOST_WRITTEN, MOST_EXECUTED, MOST_KEPT = 10, 6, 10, 6
"""Entries of one list that are too many to read; then less evidence is enough for a directory."""
MOST_CREATED = 3
PROGRAM_DIRECTORIES = ("/usr/bin", "/usr/sbin", "/usr/local/bin")
"""All of them may be executed if many are; nothing in them is anybody's secret."""


class Scene(NamedTuple):
    """Where a run took place."""

    host: Host
    cwd: str
    """Canonical; entries below it are written relative to it."""
    home: str
    """Canonical, "" if there is none."""
    tiers: Tiers
    runtime: tuple[str, ...]
    """What `@runtime` stands for."""
    devices: tuple[str, ...]
    terminals: tuple[str, ...]
    replaced: tuple[tuple[str, str], ...]
    """(canonical path, key) of places that a profile can put another one over: /tmp by `filesystem.tmp`, the home."""
    shown: tuple[str, ...]
    """What is the host's own all the same, in the replaced places."""
    is_open: bool = False
    """The cage replaced nothing: what was there before the run is the host's."""


class Entry(NamedTuple):
    """One entry of a list, or the word of a key, and why."""

    key: str
    text: str
    evidence: Evidence


class Derived(NamedTuple):
    """The entries about files, and what a person should know of them."""

    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]
    """What the run did and the entries do not grant, with the reason."""
    ungranted: frozenset[str] = frozenset()
    """The paths of these."""


class _Files:
    """What is to be granted, by what is done, as canonical paths."""

    def __init__(self) -> None:
        self.words: dict[tuple[str, str], list[Evidence]] = {}
        self.uses: dict[str, dict[str, Evidence]] = {done: {} for done in (READ, LIST, EXECUTE, WRITE, MAKE, ENTER)}
        self.exact: dict[tuple[str, str], Evidence] = {}
        self.warnings: list[str] = []
        self.left_out: list[str] = []
        self.ungranted: set[str] = set()

    def add(self, done: str, path: str, evidence: Evidence) -> None:
        paths = self.uses[done]
        paths[path] = together((paths[path], evidence)) if path in paths else evidence


def derive(uses: Iterable[Use], scene: Scene, scale: float = 1.0, *, tight: bool = True) -> Derived:
    """The entries of `[filesystem]` for these uses; `scale` makes lists shorter and wider.

    Not `tight`: neither `create`, since some programs ask whether the file is there, nor `deny_write`, and a home of its
    own for whoever only looked into it.
    """
    files = _Files()
    for use in uses:
        if not (tight and use.done == LIST and not scene.is_open and (use.path, "filesystem.home") in scene.replaced):
            _sort(use, scene, files)  # a home that nothing was put into may as well be hidden
    for path, evidence in tuple(files.uses[EXECUTE].items()):
        _interpreters(path, evidence, scene, files)
    written, created = _written(scene, files, scale, tight=tight)
    may_cover = scene.tiers.may_cover
    executed = collapse(
        files.uses[EXECUTE],
        lambda path: path in PROGRAM_DIRECTORIES or may_cover(path),
        int(MOST_EXECUTED * scale),
        enough=9,
    )
    granted = {**written, **created}
    read = {
        path: evidence
        for path, evidence in (files.uses[READ] | _listable(scene, files)).items()
        if not cover(path, granted) and not cover(path, executed)
    }
    read = collapse(read, may_cover, int(MOST_READ * scale))
    kept = _kept(written, files, scene) if tight else {}
    entries = [Entry(key, word, together(several)) for (key, word), several in files.words.items()]
    for key, paths in (("read", read), ("write", written), ("create", created), ("execute", executed)):
        entries += _entries(f"filesystem.{key}", paths, scene, files)
    entries += [Entry(key, spell(path, scene), evidence) for (key, path), evidence in files.exact.items()]
    entries += _entries("filesystem.deny_write", kept, scene, files)
    return Derived(tuple(entries), tuple(files.warnings), tuple(files.left_out), frozenset(files.ungranted))


def _sort(use: Use, scene: Scene, files: _Files) -> None:
    """Put one use where it belongs."""
    path, done = use.path, WRITE if use.done == CHANGE else use.done
    words = files.words.setdefault
    tier = scene.tiers.of(path)
    place = _replaced(path, done, scene)
    if place:
        words((place, "private"), []).append(use.evidence)
    elif tier:
        key = {EXECUTE: "execute", READ: "read", LIST: "read"}.get(done, "write")
        files.exact["filesystem." + key, path] = use.evidence
        files.warnings.append(f"{key} = {path} ({tier}): {use.evidence}")
    elif is_below(path, "/proc"):
        words(("filesystem.proc", "own"), []).append(use.evidence)
    elif path in scene.devices:
        words(("filesystem.write", "@devices"), []).append(use.evidence)
    elif path in scene.terminals:
        words(("filesystem.write", "@tty"), []).append(use.evidence)
    elif done in (READ, LIST, EXECUTE) and any(is_below(path, top) for top in scene.runtime):
        words(("filesystem.execute", "@runtime"), []).append(use.evidence)
    elif done == WRITE and use.kind == DIRECTORY:
        files.add(ENTER, path, use.evidence)
    else:
        files.add(done, path, use.evidence)


def _replaced(path: str, done: str, scene: Scene) -> str:
    """The key by which a profile puts another place there; "" if what was used is the host's."""
    if any(is_below(path, top) for top in scene.shown):
        return ""
    if scene.is_open and not (done in (ENTER, MAKE) and any(top in (path, _up(path)) for top, _ in scene.replaced)):
        return ""
    return max(((len(top), key) for top, key in scene.replaced if is_below(path, top)), default=(0, ""))[1]


def _up(path: str) -> str:
    return posixpath.dirname(path)


def _interpreters(path: str, evidence: Evidence, scene: Scene, files: _Files) -> None:
    """The kernel opens these itself, so that no call names them."""
    start = elf.trace(path, scene.host, lambda _name: None)
    for name in (*start.programs[1:], start.loader):
        real = scene.host.realpath(name) if name.startswith("/") else ""
        if real and not any(is_below(real, top) for top in scene.runtime):
            files.add(EXECUTE, real, evidence)


def _written(
    scene: Scene, files: _Files, scale: float, *, tight: bool
) -> tuple[dict[str, Evidence], dict[str, Evidence]]:
    """The paths to write, and the files to create."""
    entered, made = files.uses[ENTER], files.uses[MAKE]
    folders: dict[str, list[str]] = {}
    for path in made:
        folders.setdefault(_up(path), []).append(path)
    created: dict[str, Evidence] = {}
    for folder, paths in folders.items():
        is_seen = folder in files.uses[LIST]  # an empty file would be among the names
        if tight and not is_seen and not cover(folder, entered) and len(paths) <= MOST_CREATED:
            created |= {path: made[path] for path in paths}
        else:
            files.add(ENTER, folder, together(made[path] for path in paths))
    for path in tuple(entered):
        if not scene.tiers.may_cover(path) and path != scene.cwd:
            evidence = entered.pop(path)
            files.ungranted.add(path)
            files.left_out.append(f"new or removed entries of {path}, which holds what others need: {evidence}")
    written = collapse(entered | files.uses[WRITE], scene.tiers.may_cover, int(MOST_WRITTEN * scale))
    return written, {path: evidence for path, evidence in created.items() if not cover(path, written)}


def _listable(scene: Scene, files: _Files) -> dict[str, Evidence]:
    """The listed directories that can be granted: a grant covers the tree."""
    listed = {}
    for path, evidence in files.uses[LIST].items():
        if scene.tiers.may_cover(path) or path == scene.cwd:
            listed[path] = evidence
        else:
            files.ungranted.add(path)
            files.left_out.append(f"the names in {path}, since reading it would mean all below: {evidence}")
    return listed


def _kept(written: Mapping[str, Evidence], files: _Files, scene: Scene) -> dict[str, Evidence]:
    """What lies in a writable directory and was only read: the topmost names of which nothing was written."""
    touched = {*files.uses[ENTER], *files.uses[WRITE], *files.uses[MAKE]}
    kept: dict[str, list[Evidence]] = {}
    for path, evidence in files.uses[READ].items():
        top = cover(path, written)
        if not top or top == path:
            continue
        name = top.rstrip("/") + "/" + path[len(top) :].strip("/").partition("/")[0]
        if scene.host.lstat(name) is not None and not any(is_below(other, name) for other in touched):
            kept.setdefault(name, []).append(evidence)
    found = {path: together(several) for path, several in kept.items()}
    return found if len(found) <= MOST_KEPT else {}


def _entries(key: str, paths: Mapping[str, Evidence], scene: Scene, files: _Files) -> list[Entry]:
    """The paths as a profile says them; those that differ only in what changes from run to run become one."""
    spelled: dict[str, list[Evidence]] = {}
    for path, evidence in paths.items():
        if not path.isprintable() and any("\udc80" <= char <= "\udcff" for char in path):
            files.ungranted.add(path)
            files.left_out.append(f"{path}, whose name is not UTF-8: {evidence}")
            continue
        exact = key in ("filesystem.create", "filesystem.deny_write") or scene.tiers.of(path)
        spelled.setdefault(spell(path, scene, exact=bool(exact)), []).append(evidence)
    return [Entry(key, text, together(several)) for text, several in spelled.items()]


def spell(path: str, scene: Scene, *, exact: bool = True) -> str:
    """A canonical path as a profile says it: relative below the working directory, `~` below the home.

    Unless `exact`, names that change from run to run become patterns, which may match nothing.
    """
    if path == scene.cwd:
        return "."
    start = ""
    for top, written in ((scene.cwd, ""), (scene.home, "~/")):
        if top not in ("", "/") and path.startswith(top + "/"):
            path, start = path[len(top) + 1 :], written
            break
    changes = not exact and any(is_changing(name) for name in path.split("/") if name)
    text = start + (generalise(path, "") + "?" if changes else literal(path))
    return "./" + text if not start and text[0] in "@~" else text
