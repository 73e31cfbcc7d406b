"""Bad input of every kind: one clear line each, with file and key where there is one, 125, and nothing is run.

And odd input that is legal, which simply works.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support import CHECKOUT, need_landlock, need_program, sandrun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

BAD_PROFILES = [
    pytest.param(b"schema = 1\n[filesystem\n", "p.toml:2", id="malformed TOML"),
    pytest.param(b"schema = 1\n[filesystem]\nread = 3\n", "p.toml:3: filesystem.read", id="wrong type"),
    pytest.param(b"schema = 1\n[filesystem]\nread = [3]\n", "filesystem.read[0]", id="wrong type in a list"),
    pytest.param(b"schema = 1\n[filesystem]\nraed = []\n", "did you mean", id="unknown key"),
    pytest.param(b"schema = 1\n[filesytem]\nread = []\n", "did you mean", id="unknown table"),
    pytest.param(b"schema = 1\n[syscalls]\nallow = ['opnat']\n", "syscalls.allow[0]", id="unknown syscall"),
    pytest.param(b"schema = 1\n[syscalls]\nallow = ['@nosuch']\n", "@nosuch", id="unknown set"),
    pytest.param(
        b"schema = 1\n[privileges]\ncapabilities = ['CAP_SYS_ADMEN']\n", "CAP_SYS_ADMIN", id="unknown capability"
    ),
    pytest.param(b"schema = 1\n[filesystem]\nread = ['@systm']\n", "@system", id="unknown path group"),
    pytest.param(b"schema = 1\n[network]\nconnect = ['tcp:70000']\n", "70000", id="port out of range"),
    pytest.param(b"schema = 1\nextends = ['./p.toml']\n", "p.toml", id="self-inclusion"),
    pytest.param(b"schema = 2\n", "schema", id="another schema"),
    pytest.param(b"schema = 1\n[filesystem]\nread = ['/etc/a\\u0000b']\n", "filesystem.read[0]", id="NUL in a path"),
    pytest.param(
        b"schema = 1\n[filesystem]\nread = ['/no/such\\nplace']\n", "/no/such\\nplace", id="newline in a path"
    ),
    pytest.param(b"schema = 1\n[rlimits]\nnofile = -1\n", "rlimits.nofile", id="negative limit"),
    pytest.param(
        b"schema = 1\n[rlimits]\nnofile = 99999999999999999999999999\n", "rlimits.nofile", id="overflowing limit"
    ),
    pytest.param(b"schema = 1\n[rlimits]\nnofile = '9:5'\n", "rlimits.nofile", id="soft above hard"),
    pytest.param(b"schema = 1\n[time]\ntimeout = '-5s'\n", "time.timeout", id="negative time"),
    pytest.param(b"schema = 1\n[process]\numask = '999'\n", "process.umask", id="no octal number"),
    pytest.param(bytes(range(256)) * 64, "p.toml", id="binary garbage"),
    pytest.param(b"\xff\xfe\x00s", "p.toml", id="not UTF-8"),
    pytest.param(b"\xef\xbb\xbfschema = 1\n", "p.toml", id="byte order mark"),
    pytest.param(b"schema = 1\nx = " + b"[" * 100_000, "p.toml", id="deep nesting"),
    pytest.param(b"schema = 1\n# " + b"x" * 10_000_000, "p.toml", id="10 MB"),
    pytest.param(b"schema = 1\nextends = [" + b"'strict', " * 200_000 + b"]\n", "p.toml", id="2 MB of extends"),
]


def refused(*words: str | bytes, who: Who, box: Path, **options: object) -> list[str]:
    """The messages of a launch that must be refused: 125, all lines ours, no traceback, the command not run."""
    done = sandrun("-q", *words, "--", "touch", "ran", who=who, cwd=box, **options)
    assert done.returncode == 125, done.stderr
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.startswith("sandrun: ") for line in lines), done.stderr
    assert not (box / "ran").exists()
    return [line.removeprefix("sandrun: ") for line in lines]


@pytest.mark.parametrize(("content", "says"), BAD_PROFILES)
def test_bad_profile(who: Who, box: Path, content: bytes, says: str) -> None:
    """Each names the file and what is wrong in it, in few lines of bounded length."""
    (box / "p.toml").write_bytes(content)
    lines = refused("-p", "./p.toml", who=who, box=box)
    assert any("p.toml" in line for line in lines)
    assert any(says in line for line in lines), lines
    assert len(lines) <= 6
    assert max(map(len, lines)) < 600


def test_all_problems_at_once(who: Who, box: Path) -> None:
    """Three mistakes in one file and two flags are five complaints."""
    (box / "p.toml").write_text("schema = 1\n[filesystem]\nread = [1]\nraed = []\n[process]\nnice = 99\n")
    lines = refused("-p", "./p.toml", "--tty", "x", "--umask", "9", who=who, box=box)
    for says in ("filesystem.read[0]", "filesystem.raed", "process.nice", "--tty", "--umask"):
        assert any(says in line for line in lines), says


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (os.mkfifo, "p.toml"),
        (lambda path: path.symlink_to("p.toml"), "(ELOOP)"),
        (lambda path: None, "p.toml"),
    ],
    ids=["directory", "fifo", "loop of links", "absent"],
)
def test_a_profile_that_is_no_file(who: Who, box: Path, make: object, says: str) -> None:
    """A directory, a fifo that nobody writes to, a link to itself and nothing at all are told, not waited for."""
    make(box / "p.toml")  # type: ignore[operator]
    assert any(says in line for line in refused("-p", "./p.toml", who=who, box=box))


def test_an_unreadable_profile(who: Who, box: Path) -> None:
    """A profile that this user may not read."""
    if who.is_root:
        pytest.skip("root may read everything")
    (box / "p.toml").write_text("schema = 1\n")
    (box / "p.toml").chmod(0)
    assert any("Permission denied (EACCES)" in line for line in refused("-p", "./p.toml", who=who, box=box))


def test_an_unreachable_place_of_profiles(who: Who, box: Path) -> None:
    """With the HOME of somebody else a profile there could mean another thing than the built-in one of its name."""
    if who.is_root:
        pytest.skip("root may reach everything")
    (box / "home").mkdir(mode=0)
    env = {**who.env, "HOME": str(box / "home")}
    env.pop("XDG_CONFIG_HOME", None)
    line, hint = refused("-p", "strict", who=who, box=box, env=env)
    assert line.endswith("/profiles/strict.toml: Permission denied (EACCES)")
    assert "XDG_CONFIG_HOME" in hint


@pytest.mark.parametrize(
    "words",
    [
        ["--read", ""],
        ["--read", "/no/such/place"],
        ["--read", "$HOME/x"],
        ["--read", "${NO_SUCH_VARIABLE}"],
        ["--connect", "tcp:99999"],
        ["--connect", "[::1"],
        ["--rlimit", "nofile"],
        ["--rlimit", "nofile=-3"],
        ["--rlimit", "nofile=1e99"],
        ["--rlimit", "no-such=3"],
        ["--nice", "99"],
        ["--umask", "0o22"],
        ["--timeout", "soon"],
        ["--timeout", "99999999999999999999d"],
        ["--pass-fd", "99"],
        ["--pass-fd", "-1"],
        ["--pass-fd", "9" * 40],
        ["--env", "=x"],
        ["--env", ""],
        ["--capability", "CAP_NOTHING"],
        ["--allow-syscall", "no_such"],
        ["--syscall-rule", "kill:9:eq:0:errno"],
        ["--optional", "no.such"],
        ["--replace", "no.such"],
        ["--require", "no-such"],
        ["--require", "landlock>=99"],
        ["--require", "landlock>=x"],
        ["--isolate", "maybe"],
        ["--cwd", "/no/such/place"],
        ["-p", ""],
        ["-p", "../etc/passwd"],
        ["-p", "no-such"],
        ["-p", "\udcff\n"],
        ["--read", "x" * 100_000],
    ],
    ids=lambda words: " ".join(words)[:40].encode("unicode_escape").decode(),
)
def test_bad_flag(who: Who, box: Path, words: list[str]) -> None:
    """A flag that cannot be understood, or names nothing, is complained of by the name of the flag."""
    flag = {"-p": "--profile"}.get(words[0], words[0])
    assert any(flag in line or "tcp" in line or "landlock" in line for line in refused(*words, who=who, box=box))


# --- legal, if odd -------------------------------------------------------------------------------------------------


@pytest.fixture
def _landlock() -> None:
    need_landlock(1)


@pytest.mark.usefixtures("_landlock")
def test_long_arguments(who: Who, box: Path) -> None:
    """An argument of 128 kB less one byte, the kernel's limit for one, arrives whole; one more byte is E2BIG."""
    word = "x" * (128 * 1024 - 1)
    done = sandrun("-q", "--", "sh", "-c", 'printf %s "${#1}"', "sh", word, who=who, cwd=box)
    assert (done.returncode, done.stdout) == (0, str(len(word)))
    (line,) = refused("-p", word, who=who, box=box)
    assert line.endswith(": File name too long (ENAMETOOLONG)")
    assert len(line) < 5000
    many = ["y" * 1000] * 500
    assert sandrun("-q", "--", "sh", "-c", "exit $(($# % 256))", "sh", *many, who=who, cwd=box).returncode == 500 % 256


@pytest.mark.usefixtures("_landlock")
def test_bytes_that_are_not_utf8(who: Who, box: Path) -> None:
    """Arguments, environment, working directory and granted paths of any bytes pass through unchanged."""
    odd = b"odd \xff\xfe\x01\n name"
    place = os.path.join(os.fsencode(box), odd)
    os.mkdir(place)
    if who.uid != os.geteuid():
        os.chown(place, who.uid, who.gid)
    env: dict[str | bytes, str | bytes] = {**who.env, "ODD": odd}
    script = b'printf "%s|%s|" "$1" "$ODD"; pwd; echo text > written; cat "$1/written"'
    words = [b"-q", b"--env", b"ODD", b"--read", place, b"--", b"sh", b"-c", script, b"sh", place]
    done = sandrun(*words, who=who, cwd=place, env=env, text=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == place + b"|" + odd + b"|" + place + b"\ntext\n"


@pytest.mark.usefixtures("_landlock")
@pytest.mark.parametrize("profile", ["default", "strict"])
def test_deleted_working_directory(who: Who, box: Path, profile: str) -> None:
    """From a directory that is gone: a profile that grants it is refused with a line, another one runs."""
    gone = box / "gone"
    gone.mkdir()
    who.own(gone)
    words = " ".join(f"'{word}'" for word in [*who.sandrun, "-q", "-p", profile, "--", "true"])
    done = who.run(["sh", "-c", f'cd "$0" && rmdir "$0" && {words}', gone], cwd=box)
    assert done.returncode == (125 if profile == "default" else 0), done.stderr
    assert all(line.startswith("sandrun: ") for line in done.stderr.splitlines())


def test_the_package_is_not_there(who: Who) -> None:
    """As within a sandbox that does not grant it: a line, not a traceback."""
    script = who.home / "sandrun-python"
    script.write_bytes((CHECKOUT / "tools" / "sandrun-python").read_bytes())
    script.chmod(0o755)
    done = who.run([need_program("python3"), "-IS", script, "--", "true"])
    assert done.returncode == 125
    assert done.stderr == "sandrun: its Python package cannot be loaded: No module named 'sandrun'\n"


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_no_file_may_grow(who: Who, box: Path, blocks: int) -> None:
    """A caller without the file size has no room to compile a seccomp filter, or to end it: a line, not a bug. One that is
    known beforehand needs none."""
    words = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", *who.sandrun, "-q"]
    done = who.run([*words, "--deny-syscall", "uname", "--", "true"], cwd=box)
    assert done.returncode == 125
    line, hint = done.stderr.splitlines()
    assert line == "sandrun: cannot compile the seccomp filter: File too large (EFBIG)"
    assert "RLIMIT_FSIZE" in hint
    assert not who.run([*words, "--", "true"], cwd=box).returncode


@pytest.mark.usefixtures("_landlock")
@pytest.mark.parametrize("words", ["-q -p default --", "-q -p strict --explain --", "trace --"])
def test_few_descriptors(who: Who, box: Path, words: str) -> None:
    """Wherever the descriptors give out, that is what is said, and a command that ran was a whole launch."""
    for limit in (7, 10, 13):
        limited = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *who.sandrun, *words.split()]
        done = who.run([*limited, "true"], cwd=box)
        assert done.returncode in (0, 125), (limit, done.stderr)
        assert all(line.startswith("sandrun: ") for line in done.stderr.splitlines()), (limit, done.stderr)
        assert done.returncode == 0 or "Too many open files" in done.stderr, (limit, done.stderr)


@pytest.mark.parametrize("executor", ["", "python"])
@pytest.mark.parametrize("words", ["-p strict --", "learn -o p.toml --", "trace --"])
def test_without_proc(who: Who, box: Path, words: str, executor: str) -> None:
    """One line says what is missing, and nothing is run."""
    if who.uid:
        pytest.skip("mounting is for root")
    mounted = 'mount -t tmpfs none /proc && exec "$@"'
    env = {**who.env, "SANDRUN_EXECUTOR": executor} if executor else who.env
    done = who.run(
        ["unshare", "--mount", "sh", "-c", mounted, "sh", *who.sandrun, *words.split(), "touch", "ran"],
        cwd=box,
        env=env,
    )
    assert done.returncode == 125
    assert os.listdir(box) == []
    line, *hints = done.stderr.splitlines()
    assert line.startswith("sandrun: cannot ")
    assert "/proc" in line
    assert all(hint.startswith("sandrun: hint: ") for hint in hints)


@pytest.mark.usefixtures("_landlock")
def test_empty_environment(who: Who, box: Path) -> None:
    """Without any environment the command is still found, and gets no more than its own directories."""
    done = sandrun("-q", "--", "env", who=who, cwd=box, env={})
    assert done.returncode == 0, done.stderr
    assert sorted(line.partition("=")[0] for line in done.stdout.splitlines()) == ["HOME", "TMPDIR"]
