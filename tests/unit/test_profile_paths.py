"""The grammar of paths and what an entry stands for on a host."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.errors import ProfileError
from sandrun.host import Stat
from sandrun.profile import paths
from sandrun.profile.bad import Bad
from sandrun.profile.model import COMMAND_LINE, Origin, PathEntry, Value
from tests.fakes import FakeHost, directory, file, link

TREE = {
    "/srv/a.txt": file(),
    "/srv/b.txt": file(),
    "/srv/.hidden.txt": file(),
    "/srv/[x]/one": file(),
    "/srv/web/app/main.py": file(),
    "/srv/web/app/.cache/main.py": file(),
    "/srv/web/lib/main.py": file(),
    "/srv/web/loop": link("/srv/web"),
    "/srv/new\nline": file(),
    "/home/al/.ssh/id": file(),
    "/odd[home]/x": file(),
}


def value(text: str, directory_of: str = "/etc/profiles") -> Value:
    return Value(paths.parse(text), Origin("p.toml", "filesystem.read[0]", 3, directory_of))


def expand(text: str, home: str = "/home/al", **host: object) -> list[str]:
    return paths.expand(value(text), FakeHost(TREE, **host), home)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("/usr", PathEntry("/usr", path="/usr")),
        (".", PathEntry(".", path=".")),
        ("sub/dir/", PathEntry("sub/dir/", path="sub/dir/")),
        ("~", PathEntry("~", path="~")),
        ("~/x?", PathEntry("~/x?", path="~/x", optional=True)),
        ("a~b", PathEntry("a~b", path="a~b")),
        ("@system", PathEntry("@system", group="@system")),
        ("./@system", PathEntry("./@system", path="./@system")),
        ("${HOME}/x", PathEntry("${HOME}/x", path="${HOME}/x")),
        ("/a/**/b", PathEntry("/a/**/b", path="/a/**/b")),
        ("/a/[!a-c]*", PathEntry("/a/[!a-c]*", path="/a/[!a-c]*")),
        ("/a/[$][?][*][[]", PathEntry("/a/[$][?][*][[]", path="/a/[$][?][*][[]")),
        ("/new\nline", PathEntry("/new\nline", path="/new\nline")),
        ("/bytes\udcff", PathEntry("/bytes\udcff", path="/bytes\udcff")),
    ],
)
def test_what_is_a_path(text: str, entry: PathEntry) -> None:
    """Every form of the grammar is read as documented."""
    assert paths.parse(text) == entry


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a path cannot be empty"),
        ("?", "a path cannot be empty"),
        ("/a\0b", "a path cannot contain a NUL byte"),
        ("@sytem", 'unknown path group "@sytem"'),
        ("~root/x", '"~root/x": "~" is only the home of the account the command runs as'),
        ("$HOME/x", '"$HOME/x": "$" needs a name in braces'),
        ("/a$", '"/a$": "$" needs a name in braces'),
        ("${HOME", '"${HOME": "$" needs a name in braces'),
        ("${}", '"${}": "$" needs a name in braces'),
        ("${A:-x}", '"${A:-x}": "$" needs a name in braces'),
        ("/a?b", '"/a?b": "?" is only the final mark "skip if absent"'),
        ("/a??", '"/a??": "?" is only the final mark "skip if absent"'),
        ("/a/[bc", '"/a/[bc": nothing closes "["'),
        ("/a/[b/c]", '"/a/[b/c]": nothing closes "["'),
        ("/a/[z-a]", '"[z-a]": the range in brackets runs backwards'),
        ("/a/b**/c", '"/a/b**/c": "**" stands alone between slashes'),
    ],
)
def test_what_is_no_path(text: str, message: str) -> None:
    """Everything outside the grammar is refused with its reason, and never read as a literal name."""
    with pytest.raises(Bad) as caught:
        paths.parse(text)
    assert caught.value.message == message


def test_a_group_that_does_not_exist_gets_a_suggestion() -> None:
    with pytest.raises(Bad) as caught:
        paths.parse("@runtimes")
    assert caught.value.hint == 'did you mean "@runtime"? (a file of that name is "./@runtimes")'


@pytest.mark.parametrize("text", ["@system", "/a?", "/a/*", "/[ab]"])
def test_a_single_path_is_one_place(text: str) -> None:
    """`process.cwd` and `filesystem.root` take no group, wildcard or final `?`."""
    with pytest.raises(Bad, match="one path is wanted"):
        paths.parse_single(text)
    assert paths.parse_single("/odd[[]home]").path == "/odd[[]home]"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/srv", ["/srv"]),
        ("/srv//./web/", ["/srv/web"]),
        ("/srv/web/../a.txt", ["/srv/web/../a.txt"]),
        ("/", ["/"]),
        ("/absent", ["/absent"]),
        (".", ["/srv/web"]),
        ("app/main.py", ["/srv/web/app/main.py"]),
        ("~", ["/home/al"]),
        ("~/.ssh", ["/home/al/.ssh"]),
        ("${WEB}/lib", ["/srv/web/lib"]),
        ("x${WEB}", ["/srv/web/x/srv/web"]),
        ("${PROFILE_DIR}/x", ["/etc/profiles/x"]),
        ("${UNSET}/x?", []),
        ("${BLANK}/x?", []),
        ("/srv/*.txt", ["/srv/a.txt", "/srv/b.txt"]),
        ("/srv/.*.txt", ["/srv/.hidden.txt"]),
        ("/srv/[.]hidden.txt", ["/srv/.hidden.txt"]),
        ("/srv/[ac].txt", ["/srv/a.txt"]),
        ("/srv/[!a].txt", ["/srv/b.txt"]),
        ("/srv/[^a].txt", ["/srv/b.txt"]),
        ("/srv/[]a].txt", ["/srv/a.txt"]),
        ("/srv/[[]x]/one", ["/srv/[x]/one"]),
        ("/srv/[[]*", ["/srv/[x]"]),
        ("/srv/n*", ["/srv/new\nline"]),
        ("/srv/*/absent", []),
        ("/srv/web/*/main.py", ["/srv/web/app/main.py", "/srv/web/lib/main.py"]),
        ("/srv/**/main.py", ["/srv/web/app/main.py", "/srv/web/lib/main.py"]),
        ("/srv/web/**", ["/srv/web/app", "/srv/web/lib", "/srv/web/loop"]),
        ("/**/id", []),
        ("/**/.ssh/id", ["/home/al/.ssh/id"]),
        ("/nothing/*", []),
        ("/srv/a.txt/*", []),
    ],
)
def test_expansion(text: str, found: list[str]) -> None:
    """An entry gives the paths that glob(7) gives, with `**` beside it; hidden names only where they are written."""
    assert expand(text, cwd="/srv/web", environ={"WEB": "/srv/web", "BLANK": ""}) == found


def test_what_is_filled_in_has_no_wildcards() -> None:
    """Characters of a home, a variable, the cwd or the profile's directory are never wildcards, variables or `~`."""
    host = FakeHost(TREE, cwd="/odd[home]", environ={"ODD": "/odd[home]", "EVIL": "~/*", "DOLLAR": "${HOME}"})
    assert paths.expand(value("~/x"), host, "/odd[home]") == ["/odd[home]/x"]
    assert paths.expand(value("${ODD}/*"), host, "/") == ["/odd[home]/x"]
    assert paths.expand(value("x"), host, "/") == ["/odd[home]/x"]
    assert paths.expand(value("${EVIL}"), host, "/") == ["/odd[home]/~/*"]
    assert paths.expand(value("${DOLLAR}"), host, "/") == ["/odd[home]/${HOME}"]
    assert paths.expand(value("${PROFILE_DIR}/*", "/odd[home]"), host, "/") == ["/odd[home]/x"]


@pytest.mark.parametrize(
    ("text", "home", "cwd", "message"),
    [
        ("${UNSET}/x", "/h", "/", '"${UNSET}/x": the variable UNSET is not set'),
        ("${BLANK}/x", "/h", "/", '"${BLANK}/x": the variable BLANK is not set'),
        ("~/x", "", "/", '"~/x": the account the command runs as has no home directory'),
        ("x", "/h", "", '"x": the working directory was deleted'),
    ],
)
def test_what_cannot_be_expanded(text: str, home: str, cwd: str, message: str) -> None:
    """An unset or empty variable, no home, a deleted cwd: one line with the place of the entry, and no path."""
    with pytest.raises(ProfileError) as caught:
        expand(text, home, cwd=cwd, environ={"BLANK": ""})
    assert caught.value.lines()[0] == f"p.toml:3: filesystem.read[0]: {message}"


def test_profile_dir_is_not_the_variable_of_the_caller() -> None:
    """On the command line `${PROFILE_DIR}` is an error, even if the environment has such a variable."""
    entry = Value(paths.parse("${PROFILE_DIR}/x"), Origin(COMMAND_LINE, "--read"))
    with pytest.raises(ProfileError, match="there is none on the command line"):
        paths.expand(entry, FakeHost({}, environ={"PROFILE_DIR": "/evil"}), "/")


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the paths found nor the files looked at grow without bound."""
    host = FakeHost({f"/big/{number}": file() for number in range(50)})
    monkeypatch.setattr(paths, "MAX_MATCHES", 49)
    with pytest.raises(ProfileError, match="matches more than 49 paths"):
        paths.expand(value("/big/*"), host, "/")
    monkeypatch.setattr(paths, "MAX_VISITED", 49)
    with pytest.raises(ProfileError, match="more than 49 files to look through"):
        paths.expand(value("/**/absent"), host, "/")


class Bottomless(FakeHost):
    """Directories within directories, each named `name`, down to `depth`."""

    def __init__(self, name: str, depth: int) -> None:
        super().__init__({})
        self.name, self.depth = name, depth

    def listdir(self, path: str) -> list[str]:
        return [self.name] if path.count("/") < self.depth else []

    def lstat(self, path: str) -> Stat:
        return Stat(0o40755, 1, path.count("/"), 2, 0, 0)


def test_deep_trees_do_not_exhaust_the_interpreter() -> None:
    """A command can leave directories nested without end behind: the next launch copes, or says so in one line."""
    assert len(paths.expand(value("/t/**/d"), Bottomless("d", 1500), "/")) == 1500
    with pytest.raises(ProfileError, match="nested too deeply"):
        paths.expand(value("/t/**/leaf"), Bottomless("dddd", 1500), "/")


def test_a_directory_that_hides_its_names_is_not_passed_over() -> None:
    """Names in a directory that may be searched and not listed can be reached: a wildcard there is an error."""
    tree = {"/srv/box": directory(0o711), "/srv/box/secret": file(), "/srv/closed": directory(0o700)}
    with pytest.raises(ProfileError, match='the directory cannot be listed: "/srv/box"'):
        paths.expand(value("/srv/**/secret"), FakeHost(tree, uid=1000), "/")
    del tree["/srv/box"], tree["/srv/box/secret"]
    assert paths.expand(value("/srv/**/secret"), FakeHost(tree, uid=1000), "/") == []


NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8).filter(lambda n: n not in (".", ".."))


@given(NAMES)
def test_literal_is_the_way_to_write_any_name(name: str) -> None:
    """`literal` makes an entry for any file name, and it stands for exactly that file."""
    entry = Value(paths.parse("/" + paths.literal(name)), Origin("p.toml", "x"))
    assert paths.expand(entry, FakeHost({}), "/home") == ["/" + name]


@given(st.text(st.sampled_from("ab.*[]!-?"), min_size=1, max_size=10), st.lists(NAMES | st.text("ab.", min_size=1)))
def test_wildcards_never_leave_their_directory_and_never_crash(pattern: str, names: list[str]) -> None:
    """Any pattern is refused or matches names that are there, and hidden ones only behind a written dot."""
    tree = {f"/d/{name}": file() for name in names if name not in (".", "..")}
    try:
        entry = Value(paths.parse("/d/" + pattern), Origin("p.toml", "x"))
    except Bad:
        return
    if not paths.has_wildcard(entry.value) or pattern.rstrip("?") == "**":  # type: ignore[arg-type]
        return
    for found in paths.expand(entry, FakeHost(tree), "/"):
        name = found.removeprefix("/d/")
        assert found in tree or pattern in (".", "..")
        assert not name.startswith(".") or pattern.startswith((".", "[.]"))


@given(st.text(st.sampled_from("abc"), max_size=5), st.text(st.sampled_from("abc*"), min_size=1, max_size=5))
def test_stars_match_as_regular_expressions_do(name: str, pattern: str) -> None:
    """`*` is any run of characters, checked against a translation made here."""
    if "**" in pattern or "*" not in pattern or not name:
        return
    found = paths.expand(
        Value(paths.parse("/d/" + pattern), Origin("p.toml", "x")), FakeHost({"/d/" + name: file()}), "/"
    )
    assert bool(found) == bool(re.fullmatch(pattern.replace("*", "[abc]*"), name))
