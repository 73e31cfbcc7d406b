"""Finding, reading and composing profiles: the way from words and flags to one Profile."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sandrun.errors import ProfileError
from sandrun.profile import find, load, source
from sandrun.profile.keys import KEYS
from sandrun.profile.model import COMMAND_LINE, AccessRule, Limit, Origin, PathEntry, Profile, SyscallRule
from sandrun.profile.names import RLIMITS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("places")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """User, system and built-in directories of its own, and a working directory beside them."""
    for name in ("user/sandrun/profiles", "system", "builtin", "cwd"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(find, "SYSTEM_DIRECTORY", str(tmp_path / "system"))
    monkeypatch.setattr(find, "builtin_directory", lambda: str(tmp_path / "builtin"))
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


def put(path: Path, text: str = "") -> Path:
    path.write_text(text)
    return path


def texts(profile: Profile, key: str) -> list[str]:
    return [value.value.text for value in profile.items(key)]  # type: ignore[attr-defined]


def refusal(*words: str, **options: object) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        load(words, **options)  # type: ignore[arg-type]
    return caught.value.lines()


# --- finding -----------------------------------------------------------------------------------------------------


def test_the_search_path(places: Path) -> None:
    """The user's directory wins over the system's, that over the built-in ones; `builtin:` skips the search."""
    for place in ("user/sandrun/profiles", "system", "builtin"):
        put(places / place / "web.toml", f'description = "{place}"')
        assert load(["builtin:web"] if place == "builtin" else ["web"]).description in (place, "user/sandrun/profiles")
    assert load(["web"]).layers == (f"{places}/user/sandrun/profiles/web.toml",)
    (places / "user/sandrun/profiles/web.toml").unlink()
    assert load(["web"]).description == "system"
    (places / "system/web.toml").unlink()
    assert load(["web"]).layers == ("builtin:web",)


def test_a_name_is_never_looked_up_in_the_working_directory(places: Path) -> None:
    """A hostile checkout cannot bring a profile of a well-known name; the hint says how to mean a file."""
    put(places / "cwd/web.toml")
    put(places / "cwd/web")
    assert refusal("web")[0] == '--profile: no such profile: "web"'
    assert refusal("web.toml")[1] == 'hint: a file in the working directory is "./web.toml"'
    assert load(["./web.toml"]).layers == ("./web.toml",)


def test_an_unknown_name_gets_a_suggestion_and_the_places(places: Path) -> None:
    put(places / "builtin/offline.toml")
    assert refusal("ofline") == [
        '--profile: no such profile: "ofline"',
        f'hint: did you mean "offline"? (searched: {places}/user/sandrun/profiles, {places}/system, built in)',
    ]
    assert refusal("builtin:ofline")[1] == 'hint: did you mean "builtin:offline"? (searched: only built in)'


@pytest.mark.parametrize("word", ["", ".", "..", ".hidden", "a\0b", "builtin:", "builtin:../builtin/x", "builtin:a/b"])
def test_words_that_name_nothing(places: Path, word: str) -> None:
    """Neither `..` nor a hidden file is a name, and `builtin:` does not leave its directory."""
    put(places / "builtin/x.toml")
    put(places / "user/sandrun/profiles/.hidden.toml")
    assert refusal(word)[0].startswith("--profile: no")


def test_a_flag_adds_to_the_basic_names_of_the_environment(places: Path) -> None:
    """`-e NAME` beside a silent profile keeps PATH; one that says what passes, or --replace, has its own word."""
    flags = [("environment.pass", "CC", "--env")]

    def passed(**more: tuple[str, ...]) -> list[object]:
        return [value.value for value in load(more.pop("profiles", ("none",)), flags, **more).items("environment.pass")]

    assert passed() == ["@basic", "CC"]
    assert passed(replace=("environment.pass",)) == ["CC"]
    (places / "silent.toml").write_text("schema = 1\nenvironment.pass = []\n")
    assert passed(profiles=(str(places / "silent.toml"),)) == ["CC"]


def test_without_profiles_the_default_is_loaded_and_none_is_empty(places: Path) -> None:
    put(places / "builtin/default.toml", '[filesystem]\nread = ["/default"]')
    assert texts(load(None), "filesystem.read") == texts(load([]), "filesystem.read") == ["/default"]
    assert load(["none"]).values == {}
    assert load(["none"]).name == "none"


def test_a_relative_config_home_is_ignored(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the base directory specification says: else it would be the working directory after all."""
    (places / "cwd/sandrun/profiles").mkdir(parents=True)
    put(places / "cwd/sandrun/profiles/web.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")
    monkeypatch.setenv("HOME", str(places / "home"))
    assert find.directories()[0] == f"{places}/home/.config/sandrun/profiles"
    assert refusal("web")[0] == '--profile: no such profile: "web"'


def test_a_file_that_cannot_be_read_is_not_passed_over(places: Path) -> None:
    """The next profile of that name must not quietly take the place of a broken one."""
    put(places / "builtin/web.toml")
    (places / "user/sandrun/profiles/web.toml").symlink_to("nowhere")
    assert refusal("web") == [
        f"--profile: cannot read the profile: {places}/user/sandrun/profiles/web.toml: "
        "No such file or directory (ENOENT)"
    ]


def test_available_profiles(places: Path) -> None:
    """What `profile list` shows: each name once, from where it would be found."""
    for path in (
        "user/sandrun/profiles/b.toml",
        "builtin/b.toml",
        "builtin/a.toml",
        "builtin/.c.toml",
        "system/README",
    ):
        put(places / path)
    assert [(found.word, found.source) for found in find.available()] == [
        ("a", "builtin:a"),
        ("b", f"{places}/user/sandrun/profiles/b.toml"),
    ]


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("./pipe", "./pipe: not a regular file"),
        ("/dev/zero", "/dev/zero: not a regular file"),
        ("/dev/null", "/dev/null: not a regular file"),
        ("./directory", "./directory: a profile is a file, this is a directory"),
        ("./loop", "--profile: cannot read the profile: ./loop: Too many levels of symbolic links (ELOOP)"),
        ("./" + "x" * 300, "File name too long (ENAMETOOLONG)"),
        ("./a\nb", "--profile: cannot read the profile: ./a\\nb: No such file or directory (ENOENT)"),
    ],
)
def test_what_is_no_file_is_refused_at_once(places: Path, path: str, message: str) -> None:
    """A FIFO without a writer or an endless device does not hang the launch."""
    os.mkfifo(places / "cwd/pipe")
    (places / "cwd/directory").mkdir()
    (places / "cwd/loop").symlink_to("loop")
    assert message in refusal(path)[0]


def test_a_pipe_that_the_shell_hands_over_is_read() -> None:
    """`-p <(generate)` and `-p /dev/stdin` work: the caller opened the pipe."""
    reader, writer = os.pipe()
    os.write(writer, b"[time]\ntimeout = 5\n")
    os.close(writer)
    try:
        profile = load([f"/dev/fd/{reader}"])
    finally:
        os.close(reader)
    assert profile.scalar("time.timeout").value == 5  # type: ignore[union-attr]


def test_a_profile_that_others_may_write_is_refused_by_root(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root does not take its powers from a file that anybody can change; an ordinary user decides for itself."""
    path = put(places / "cwd/p.toml")
    path.chmod(0o646)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert refusal("./p.toml") == [
        "./p.toml: writable by others than its owner, and read by root",
        "hint: chmod go-w it",
    ]
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    assert load(["./p.toml"]).layers == ("./p.toml",)


def test_who_may_write_by_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group with its owner's number is the owner's own; any other group that may write is others."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def check(mode: int, uid: int, gid: int, *, trusted_owner: bool = False) -> None:
        status = os.stat_result((mode | 0o100000, 1, 1, 1, uid, gid, 0, 0, 0, 0))
        source._check_file(status, "p", "p", trusted_owner=trusted_owner)

    check(0o664, 1000, 1000)
    check(0o664, 0, 0)
    with pytest.raises(ProfileError, match="writable by others"):
        check(0o664, 1000, 100)
    check(0o644, 1000, 1000)
    with pytest.raises(ProfileError, match="found by its name by root, and owned by uid 1000"):
        check(0o644, 1000, 1000, trusted_owner=True)


def test_a_deleted_working_directory(places: Path) -> None:
    """Absolute paths and names still work; a relative path gives one line."""
    put(places / "builtin/web.toml", '[filesystem]\nread = ["x"]')
    (places / "cwd").rmdir()
    assert texts(load(["web"]), "filesystem.read") == ["x"]
    assert refusal("./p.toml") == ["--profile: cannot read the profile: ./p.toml: No such file or directory (ENOENT)"]


def test_the_line_of_every_value(places: Path) -> None:
    """Origins carry the line in the file, also of items of long arrays, dotted keys, tables and arrays of tables."""
    put(
        places / "cwd/p.toml",
        """\
# comment with "quotes' and [brackets]
[filesystem]
read = [
    "/one",  # ] not the end
    '/two', "/three",
    \"\"\"/four
\"\"\",
]
tmp = 'private'

[[filesystem.rules]]
path = "/a"
access = ["read_file"]

[[filesystem.rules]]
path = "/b # no comment"
access = ["read_dir"]

[environment]
set.PATH = "a\\"b"
set."odd.name" = "x"

[rlimits]
nofile = 3
""",
    )
    profile = load(["./p.toml"])
    lines = {value.origin.key: value.origin.line for several in profile.values.values() for value in several}
    assert lines == {
        "filesystem.read[0]": 4,
        "filesystem.read[1]": 5,
        "filesystem.read[2]": 5,
        "filesystem.read[3]": 6,
        "filesystem.tmp": 9,
        "filesystem.rules[0]": 11,
        "filesystem.rules[1]": 15,
        "environment.set.PATH": 20,
        'environment.set."odd.name"': 21,
        "rlimits.nofile": 24,
    }
    assert profile.items("filesystem.read")[3].value == PathEntry("/four\n", path="/four\n")


# --- composing ---------------------------------------------------------------------------------------------------


def test_extends(places: Path) -> None:
    """Names are looked up, paths are relative to the file, the later wins, and each origin is its own file."""
    put(places / "builtin/base.toml", '[filesystem]\nread = ["/base"]\ntmp = "host"\n')
    put(places / "cwd/more.toml", '[filesystem]\nread = ["${PROFILE_DIR}/x"]\n')
    (places / "cwd/sub").mkdir()
    put(
        places / "cwd/sub/top.toml",
        'description = "top"\nextends = ["base", "../more.toml"]\n[filesystem]\nread = ["/top"]\ntmp = "private"\n',
    )
    profile = load(["./sub/top.toml"])
    assert texts(profile, "filesystem.read") == ["/base", "${PROFILE_DIR}/x", "/top"]
    assert [value.origin.source for value in profile.items("filesystem.read")] == [
        "builtin:base",
        "./sub/../more.toml",
        "./sub/top.toml",
    ]
    assert profile.items("filesystem.read")[1].origin.directory == f"{places}/cwd/sub/.."
    assert profile.scalar("filesystem.tmp").value == "private"  # type: ignore[union-attr]
    assert profile.layers == ("builtin:base", "./sub/../more.toml", "./sub/top.toml")
    assert profile.description == "top"


def test_extending_itself_names_the_chain(places: Path) -> None:
    """Also through another file, a link or a second name; nothing loops."""
    put(places / "cwd/a.toml", 'extends = "./b.toml"')
    put(places / "cwd/b.toml", 'extends = ["./link.toml"]')
    (places / "cwd/link.toml").symlink_to("a.toml")
    assert refusal("./a.toml") == ["./b.toml:1: extends[0]: extends itself: ./a.toml -> ./b.toml -> ./link.toml"]


def test_a_default_of_the_users_own_extends_the_built_in_one(places: Path) -> None:
    """`extends = "default"` in the user's default would be itself: the hint says what is meant."""
    own = put(places / "user/sandrun/profiles/default.toml", 'extends = "default"')
    put(places / "builtin/default.toml", '[filesystem]\nread = ["/built-in"]')
    assert refusal("default") == [
        f"{own}:1: extends: extends itself: {own} -> {own}",
        'hint: the built-in profile of that name is "builtin:default"',
    ]
    own.write_text('extends = "builtin:default"')
    assert texts(load(None), "filesystem.read") == ["/built-in"]


def test_a_chain_has_an_end(places: Path) -> None:
    for number in range(20):
        put(places / f"cwd/{number}.toml", f'extends = "./{number + 1}.toml"')
    assert "more than 16 profiles extend each other" in refusal("./0.toml")[0]


def test_a_profile_that_many_extend_is_read_once(places: Path) -> None:
    """Files that each name the next one twice, 15 deep, are no exponential work."""
    for number in range(15):
        put(places / f"cwd/{number}.toml", f'extends = ["./{number + 1}.toml", "./{number + 1}.toml"]')
    put(places / "cwd/15.toml", '[filesystem]\nread = ["/x"]')
    assert texts(load(["./0.toml"]), "filesystem.read") == ["/x"]


def test_what_is_wrong_with_an_extended_profile(places: Path) -> None:
    """The line names the file it is in; for one that is missing, who asked for it."""
    put(places / "cwd/a.toml", 'extends = ["./b.toml", "./missing.toml", "nmae"]')
    put(places / "cwd/b.toml", "nonsense = 1")
    assert [line for line in refusal("./a.toml") if not line.startswith("hint")] == [
        './b.toml:1: nonsense: unknown key or table "nonsense"',
        "./a.toml:1: extends[1]: cannot read the profile: ./missing.toml: No such file or directory (ENOENT)",
        './a.toml:1: extends[2]: no such profile: "nmae"',
    ]


def test_replace_in_a_file_drops_what_it_extends(places: Path) -> None:
    """Not what another profile of the same launch says, and before the file's own values; the record shows it."""
    put(places / "cwd/base.toml", '[network]\nconnect = ["tcp:80"]\n[rlimits]\nnofile = 1\ncore = 0\n')
    put(
        places / "cwd/top.toml",
        'extends = "./base.toml"\nreplace = ["network.connect", "rlimits.core", "network.bind"]\n'
        '[network]\nconnect = ["tcp:443"]\n',
    )
    put(places / "cwd/other.toml", '[network]\nconnect = ["tcp:22"]\n')
    profile = load(["./other.toml", "./top.toml"])
    assert texts(profile, "network.connect") == ["tcp:22", "tcp:443"]
    assert set(profile.names("rlimits")) == {"nofile"}
    assert [(value.value, str(value.origin)) for value in profile.replaced] == [
        ("network.connect", "./top.toml:2: replace[0]"),
        ("rlimits.core", "./top.toml:2: replace[1]"),
    ]


def test_replace_as_a_flag_drops_what_all_profiles_say(places: Path) -> None:
    put(places / "cwd/a.toml", '[network]\nconnect = ["tcp:80"]\n[syscalls]\ndefault = "errno"\n')
    put(places / "cwd/b.toml", '[network]\nconnect = ["tcp:22"]\n')
    flags = [("network.connect", "tcp:443", "--connect"), ("syscalls.default", "log", "--syscall-default")]
    profile = load(["./a.toml", "./b.toml"], flags, replace=["network.connect", "syscalls.default"])
    assert texts(profile, "network.connect") == ["tcp:443"]
    assert [str(value.origin) for value in profile.replaced] == ["--replace", "--replace"]
    assert refusal("./a.toml", flags=flags)[0].startswith('--syscall-default: "log" contradicts "errno" of ./a.toml:4')


def test_optional(places: Path) -> None:
    """It holds if all that ask agree; a flag holds over all."""
    put(
        places / "cwd/a.toml",
        'optional = ["process.isolate", "rlimits"]\n[process]\nisolate = true\n[rlimits]\ncore = 0',
    )
    put(places / "cwd/b.toml", "[process]\nisolate = true\n[rlimits]\ncore = 0")
    assert load(["./a.toml"]).is_optional("process.isolate")
    assert load(["./a.toml"]).is_optional("rlimits.core")
    for words in (["./a.toml", "./b.toml"], ["./b.toml", "./a.toml"]):
        profile = load(words)
        assert not profile.is_optional("process.isolate")
        assert not profile.is_optional("rlimits.core")
        assert load(words, optional=["process.isolate", "rlimits"]).is_optional("process.isolate")
        assert load(words, optional=["process.isolate", "rlimits"]).is_optional("rlimits.core")


def test_require_is_united(places: Path) -> None:
    put(places / "cwd/a.toml", 'require = ["landlock>=4", "userns"]')
    profile = load(["./a.toml"], require=["userns", "seccomp"])
    assert [value.value for value in profile.require] == ["landlock>=4", "userns", "seccomp"]


def test_granted_and_denied_by_two_layers_is_no_contradiction(places: Path) -> None:
    """Only within one file it is: across layers the denial wins, which is for the plan to do."""
    put(places / "cwd/a.toml", '[filesystem]\nread = ["/a"]')
    profile = load(["./a.toml"], [("filesystem.deny", "/a", "--deny"), ("filesystem.read", "/a", "--read")])
    assert texts(profile, "filesystem.read") == texts(profile, "filesystem.deny") == ["/a"]


# --- flags -------------------------------------------------------------------------------------------------------


def test_flags() -> None:
    """Each form of a flag's text is read as the TOML it stands for, in order, with the flag as its origin."""
    profile = load(
        ["none"],
        [
            ("filesystem.read", "/data", "-r"),
            ("filesystem.read", "/more?", "--read"),
            ("filesystem.rules", "/dev/a=b=read_file+ioctl_dev", "--rule"),
            ("environment.pass", "LC_*", "--env"),
            ("environment.pass", "A=b=c", "-e"),
            ("environment.pass", "A=", "-e"),
            ("rlimits", "nofile=256", "--rlimit"),
            ("rlimits", "as=1G:unlimited", "--rlimit"),
            ("syscalls.rules", "ioctl:1:eq:0x5412:errno:EPERM", "--syscall-rule"),
            ("syscalls.rules", "socket:0:masked_eq:1/0xf:kill-process", "--syscall-rule"),
            ("syscalls.allow", "435", "--allow-syscall"),
            ("network.loopback", "true", "--loopback"),
            ("process.isolate", "signals", "--isolate"),
            ("process.isolate", "false", "--isolate"),
            ("process.nice", "-5", "--nice"),
            ("process.umask", "077", "--umask"),
            ("process.pass_fds", "9", "--pass-fd"),
            ("privileges.user", "1000", "--user"),
            ("privileges.ambient", "net_raw", "--ambient"),
            ("privileges.securebits", "@all", "--securebits"),
            ("resources.cpu", "150%", "--cpu"),
            ("time.timeout", "1.5m", "--timeout"),
            ("network.unix", "abstract:x", "--unix"),
            ("network.families", "AF_NETLINK", "--family"),
        ],
    )
    values = {key: [value.value for value in several] for key, several in profile.values.items()}
    assert values == {
        "filesystem.read": [PathEntry("/data", path="/data"), PathEntry("/more?", path="/more", optional=True)],
        "filesystem.rules": [AccessRule(PathEntry("/dev/a=b", path="/dev/a=b"), ("read_file", "ioctl_dev"))],
        "environment.pass": ["@basic", "LC_*"],
        "environment.set.A": [""],
        "rlimits.nofile": [Limit(256, None)],
        "rlimits.as": [Limit(1024**3, None, has_hard=True)],
        "syscalls.rules": [
            SyscallRule("ioctl", 1, "eq", 0x5412, "errno:EPERM"),
            SyscallRule("socket", 0, "masked_eq", 1, "kill-process", 15),
        ],
        "syscalls.allow": ["435"],
        "network.loopback": [True],
        "process.isolate": [False],
        "process.nice": [-5],
        "process.umask": [0o77],
        "process.pass_fds": [9],
        "privileges.user": [1000],
        "privileges.ambient": ["CAP_NET_RAW"],
        "privileges.securebits": ["noroot", "no_setuid_fixup", "keep_caps", "no_cap_ambient_raise"],
        "resources.cpu": [150],
        "time.timeout": [90],
        "network.unix": ["abstract:x"],
        "network.families": ["netlink"],
    }
    assert profile.items("filesystem.read")[0].origin == Origin(COMMAND_LINE, "-r")
    assert profile.layers == (COMMAND_LINE,)


def test_flags_come_last(places: Path) -> None:
    put(places / "cwd/a.toml", '[filesystem]\ntmp = "host"\nread = ["/a"]\n[rlimits]\nnofile = 1\ncore = 2')
    flags = [("filesystem.tmp", "private", "--tmp"), ("filesystem.read", "/b", "-r"), ("rlimits", "core=0", "--rlimit")]
    profile = load(["./a.toml"], flags)
    assert profile.scalar("filesystem.tmp").value == "private"  # type: ignore[union-attr]
    assert texts(profile, "filesystem.read") == ["/a", "/b"]
    assert {name: value.value.soft for name, value in profile.names("rlimits").items()} == {"nofile": 1, "core": 0}  # type: ignore[attr-defined]
    assert len(profile.asked["filesystem.tmp"]) == 2


def test_everything_has_a_word() -> None:
    """`@all` stands for everything in each list where that has a meaning."""
    words = {
        "filesystem.read": "@all",
        "network.connect": "*",
        "network.unix": "@all",
        "network.families": "@all",
        "syscalls.allow": "@known",
        "privileges.capabilities": "@all",
        "environment.pass": "@all",
    }
    profile = load(["none"], [(key, "@all", "x") for key in words])
    for key, word in words.items():
        value = profile.items(key)[-1]
        assert getattr(value.value, "text", value.value) == word
    assert len(load(["none"], [("process.namespaces", "@all", "x")]).items("process.namespaces")) == 8
    assert len(load(["none"], [("network.private", "@all", "x")]).items("network.private")) == 2


def test_an_empty_list_is_written() -> None:
    """An empty list differs from none at all: `environment.pass = []` passes nothing, not even @basic."""
    from sandrun.profile.layer import read_document

    layer, problems = read_document({"environment": {"pass": []}}, "p", "/", {})
    assert not problems
    assert layer.profile.values == {"environment.pass": ()}


def test_every_kind_has_a_reader() -> None:
    """A key whose kind nobody reads would be a KeyError at the user."""
    from sandrun.profile.values import READERS

    assert {key.kind for key in KEYS} - set(READERS) == {"env-table", "rlimit-table"}


def test_the_names_of_limits_are_the_systems() -> None:
    """Each limit is one of setrlimit(2) here, and none that the interpreter knows is missing."""
    known = {name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")}
    assert set(RLIMITS) == known - {"ofile"}  # BSD's name of nofile


HEAVY = {"ipaddress", "difflib", "inspect", "json", "pathlib", "glob", "fnmatch", "dataclasses", "socket", "subprocess"}


def test_loading_imports_little(places: Path) -> None:
    """A launch pays for tomli and this package, not for what only errors, verbs or IPv6 need."""
    put(
        places / "cwd/p.toml",
        '[filesystem]\nread = ["@system", "~/x", "${HOME}/y?"]\n[network]\nconnect = ["tcp:443", "10.0.0.0/8:80"]\n'
        '[environment]\npass = ["@basic"]\n[rlimits]\nnofile = 256\n[time]\ntimeout = "10s"\n'
        '[syscalls]\nallow = ["@system-service", "openat"]\n',
    )
    script = (
        "import sys; before = set(sys.modules); from sandrun.profile import load; load(['./p.toml']);"
        "print('\\n'.join(set(sys.modules) - before))"
    )
    environ = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    run = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
        cwd=places / "cwd",
    )
    assert "tomli" in run.stdout
    assert not HEAVY & set(run.stdout.split())
