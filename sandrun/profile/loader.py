"""Words and flags → one merged Profile: files are found, read, checked and composed."""

from __future__ import annotations

from sandrun.errors import Problem, ProfileError
from sandrun.named import MappingProxyType
from sandrun.profile.bad import Bad
from sandrun.profile.find import NONE, Found, locate
from sandrun.profile.layer import Layer, check_fact, check_key, flag_values, read_document, read_flags
from sandrun.profile.merge import EMPTY, drop, merge
from sandrun.profile.model import COMMAND_LINE, Origin, Value
from sandrun.profile.source import lines, parse, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from sandrun.profile.model import Profile

    T = TypeVar("T")
    Read = tuple[Found, tuple[int, int]]
    """A file, and its device and inode."""

DEFAULT = ("default",)
MAX_DEPTH = 16
"""Profiles in a chain of `extends`."""
PASSED = "environment.pass"
NO_FILE = (-1, -1)
"""The identity of a text: no device and inode."""


class _Loader:
    """One call of `load`: each file is read once, however often it is named. `seen` gets what was read."""

    def __init__(self, seen: list[Read] | None = None) -> None:
        self.seen = [] if seen is None else seen
        self.done: dict[tuple[int, int], Profile] = {}
        self.chain: list[tuple[tuple[int, int], str]] = []

    def named(self, word: str, base: str = "") -> Profile:
        """The effective profile that a word names. Raises Bad or ProfileError."""
        if word == NONE:
            return EMPTY
        return self.found(locate(word, base))

    def found(self, found: Found) -> Profile:
        layer, identity = read_layer(found)
        self.seen.append((found, identity))
        return self.layered(found, layer, identity)

    def layered(self, found: Found, layer: Layer, identity: tuple[int, int]) -> Profile:
        """What a layer means on top of what it extends; `found` is where it stands."""
        if identity in self.done:
            return self.done[identity]
        names = [source for _, source in self.chain]
        for start, (earlier, _) in enumerate(self.chain):
            if earlier == identity:
                hint = None
                if len(self.chain) - start == 1 and found.by_name:
                    hint = f'the built-in profile of that name is "builtin:{found.word}"'
                raise Bad("extends itself: " + " -> ".join([*names[start:], found.source]), hint)
        if len(self.chain) >= MAX_DEPTH:
            raise Bad(f"more than {MAX_DEPTH} profiles extend each other: " + " -> ".join([*names, found.source]))
        self.chain.append((identity, found.source))
        try:
            base = _all(layer.extends, lambda value: self.named(str(value.value), found.path), _where)
        finally:
            self.chain.pop()
        profile = compose(base, layer)._replace(name=found.word)
        self.done[identity] = profile
        return profile


def _where(value: Value) -> str:
    return str(value.origin)


def compose(base: Profile, layer: Layer) -> Profile:
    """What a file means on top of what it extends: first `replace`, then its own values."""
    profile = merge(drop(base, layer.replace), layer.profile)
    return profile._replace(description=layer.profile.description)


def read_layer(found: Found) -> tuple[Layer, tuple[int, int]]:
    """What one file says by itself, and which file it is. Raises ProfileError with every problem of it, or Bad."""
    document = read(found.path, found.source, trusted_owner=found.by_name)
    layer, problems = read_document(document.data, found.source, found.directory, document.lines)
    if problems:
        raise ProfileError(problems)
    return layer, document.identity


def load_file(found: Found) -> Profile:
    """The effective profile of one file. Raises ProfileError."""
    try:
        return _Loader().found(found)
    except Bad as bad:
        raise bad.as_error(found.source) from None


def load_text(found: Found, text: str) -> Profile:
    """The effective profile if this text stood in a file. Raises ProfileError."""
    layer, problems = read_document(parse(text, found.source), found.source, found.directory, lines(text))
    if problems:
        raise ProfileError(problems)
    try:
        return _Loader().layered(found, layer, NO_FILE)
    except Bad as bad:
        raise bad.as_error(found.source) from None


def load(
    profiles: Sequence[str] | None,
    flags: Iterable[tuple[str, str, str]] = (),
    *,
    replace: Sequence[str] = (),
    optional: Sequence[str] = (),
    require: Sequence[str] = (),
    seen: list[Read] | None = None,
) -> Profile:
    """The profile of a launch.

    `profiles` are the words of `-p` in order (none: `default`), `flags` are (key path, text, flag as written) in
    order; the rest are the words of `--replace`, `--optional` and `--require`. `seen` gets the files that were read.
    Raises ProfileError with every problem of every file and flag.
    """
    problems: list[Problem] = []
    base = EMPTY
    try:
        loader = _Loader(seen)
        base = _all(profiles or DEFAULT, loader.named, lambda _word: "--profile")
    except ProfileError as error:
        problems += error.problems
    replaced, more = flag_values(replace, "--replace", lambda path: check_key(path, protection=False))
    problems += more
    optional_keys, more = flag_values(optional, "--optional", lambda path: check_key(path, protection=True))
    problems += more
    required, more = flag_values(require, "--require", check_fact)
    problems += more
    own, more = read_flags(flags)
    problems += more
    if problems:
        raise ProfileError(problems)
    if PASSED in own.values and PASSED not in (*base.values, *(str(value.value) for value in replaced)):
        base = _with_basic(base)
    own = own._replace(require=required, optional_flags=frozenset(str(value.value) for value in optional_keys))
    return merge(drop(base, replaced), own)._replace(name=base.name or NONE)


def _with_basic(base: Profile) -> Profile:
    """What a profile that is silent about the environment passes, said aloud, so that a flag adds to it."""
    basic = Value("@basic", Origin(COMMAND_LINE, "--env"))
    return base._replace(values=MappingProxyType({**base.values, PASSED: (basic,)}))


def _all(items: Iterable[T], read: Callable[[T], Profile], where: Callable[[T], str]) -> Profile:
    """The profiles of several words, merged in order. Raises ProfileError with the problems of all of them."""
    profile = EMPTY
    problems: dict[str, Problem] = {}
    for item in items:
        try:
            one = read(item)
            name = f"{profile.name}+{one.name}" if profile.name and one.name else one.name
            profile = merge(profile, one)._replace(name=name)
        except Bad as error:
            problems.setdefault(where(item) + error.message, Problem(where(item), error.message, error.hint))
        except ProfileError as error:
            # Two words may lead to the same broken file.
            for problem in error.problems:
                placed = problem if problem.where else Problem(where(item), problem.message, problem.hint)
                problems.setdefault(str(placed), placed)
    if problems:
        raise ProfileError(list(problems.values()))
    return profile
