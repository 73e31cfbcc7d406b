"""The words of the command line: which are sandrun's, which are the command's, and what wrong ones are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandrun.cli import options
from sandrun.cli.options import Override
from tests.support import CHECKOUT, sandrun

if TYPE_CHECKING:
    from tests.support import Who


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["ls", "-l", "--read", "/x"], ["ls", "-l", "--read", "/x"]),
        (["--", "ls", "-l"], ["ls", "-l"]),
        (["-q", "ls", "--", "-x"], ["ls", "--", "-x"]),
        (["--", "--", "a"], ["--", "a"]),
        (["--", "-x"], ["-x"]),
        (["-"], ["-"]),
        ([""], [""]),
        (["\udcff\n", "\udcfe"], ["\udcff\n", "\udcfe"]),
        (["--read", "--", "ls"], ["ls"]),
        (["--nice", "-5", "ls"], ["ls"]),
        (["-nqrx", "ls"], ["ls"]),
        (["-r", "-x", "ls"], ["ls"]),
        (["-q", "ls", "-profile", "x"], ["ls", "-profile", "x"]),
        (["-q", "--", "-profile"], ["-profile"]),
        (["-profil", "ls"], ["ls"]),
    ],
)
def test_options_end_at_the_first_other_word(words: list[str], command: list[str]) -> None:
    """Nothing behind the command is read, and one `--` before it is taken away."""
    assert list(options.parse(words).command) == command


def test_flags_keep_their_order() -> None:
    """Flags reach the profile code in the order they were given, whatever key they are for."""
    request = options.parse(
        ["--read", "a", "--write", "b", "--no-loopback", "-r", "c", "--loopback", "--env", "N=V", "-e", "W", "x"]
    )
    assert request.overrides == (
        Override("filesystem.read", "a", "--read"),
        Override("filesystem.write", "b", "--write"),
        Override("network.loopback", "false", "--no-loopback"),
        Override("filesystem.read", "c", "--read"),
        Override("network.loopback", "true", "--loopback"),
        Override("environment.pass", "N=V", "--env"),
        Override("environment.pass", "W", "--env"),
    )


def test_values_are_taken_as_they_are() -> None:
    """Commas, blanks, equals signs and bytes of a value stay what they are."""
    for value in ("a,b", " ", "=", "", "\udcff", "-x", "--"):
        assert options.parse(["--read=" + value, "x"]).overrides[0].text == value


def test_every_option_is_told_apart() -> None:
    """No two options share a spelling."""
    spelled = [name for option in options.all_options() for name in (option.name, option.short) if name]
    assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no command given"),
        (["-p", "strict"], "no command given"),
        (["--"], "no command given"),
        (["--raed", "/x", "true"], "no such option: --raed\nhint: did you mean"),
        (["--rea", "/x", "true"], "no such option: --rea\nhint: did you mean"),
        (["-Z", "true"], "no such option: -Z"),
        (["-profile", "strict", "true"], "no such option: -profile\nhint: did you mean --profile?"),
        (["-q", "-write=/x", "true"], "no such option: -write\nhint: did you mean --write?"),
        (["-connect", "tcp:443", "true"], "no such option: -connect\nhint: did you mean --connect?"),
        (["-dry-run", "true"], "no such option: -dry-run\nhint: did you mean --dry-run?"),
        (["-c", "true", "-connect"], "no such option: -c\nhint: see"),
        (["--read"], "option '--read' requires an argument"),
        (["--quiet=yes", "true"], "option '--quiet' does not take a value"),
        (["--json", "true"], "--json goes with --dry-run"),
        (["--\udcff", "true"], "no such option: --\\xff"),
        (["--status-fd", "x", "true"], "not a file descriptor: --status-fd x"),
        (["--status-fd", "-1", "true"], "not a file descriptor: --status-fd -1"),
        (["--status-fd", "9" * 30, "true"], "not a file descriptor: --status-fd 9"),
        (["--status-fd", "2", "true"], "not free for events: --status-fd 2"),
        (["--status-fd", "77", "true"], "cannot use: --status-fd 77: Bad file descriptor (EBADF)"),
    ],
)
def test_wrong_usage(who: Who, words: list[str], says: str) -> None:
    """Wrong usage of a launch is status 125 and one line, with what to do about it, and runs nothing."""
    done = sandrun(*words, who=who)
    assert done.returncode == 125
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith("sandrun: ") for line in lines), done.stderr
    assert "\n".join(line.removeprefix("sandrun: ") for line in lines).startswith(says)


@pytest.mark.parametrize(
    "words", [["profile"], ["profile", "no-such-verb"], ["profile", "list", "--no-such"], ["doctor", "x"]]
)
def test_wrong_usage_of_a_verb(who: Who, words: list[str]) -> None:
    """Wrong usage of a verb is status 2."""
    done = sandrun(*words, who=who)
    assert done.returncode == 2
    assert done.stderr.startswith("sandrun: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("doktor", "did you mean sandrun doctor?"),
        ("workspaces", "did you mean sandrun workspace?"),
        ("list", "did you mean sandrun profile list or sandrun workspace list?"),
        ("help", "did you mean sandrun --help?"),
        ("exec", "no verb of sandrun either; these are doctor, "),
        ("no-such-command", "it was searched in the PATH"),
    ],
)
def test_a_word_that_is_no_command_hints_at_a_verb(who: Who, word: str, says: str) -> None:
    """Only where no command of that name is found; behind `--` it is meant as one."""
    environment = {**who.env, "PATH": str(who.home)}
    done = sandrun(word, who=who, env=environment)
    assert done.returncode == 127
    assert done.stderr.startswith(f"sandrun: command not found: {word}\nsandrun: hint: {says}")
    assert "it was searched in the PATH" in sandrun("--", word, who=who, env=environment).stderr
    (who.home / word).write_text("#!/bin/sh\nexit 3\n")
    (who.home / word).chmod(0o755)
    assert sandrun("-p", "none", "-r", "@all", "-x", "@all", "--", word, who=who, env=environment).returncode == 3


@pytest.mark.parametrize("words", [["--", "profile"], ["-q", "profile"], ["--", "doctor"]])
def test_a_verb_counts_only_as_the_first_word(who: Who, words: list[str]) -> None:
    """Behind `--` or an option, the name of a verb is a command; here none that exists."""
    done = sandrun("-p", "strict", *words, who=who)
    assert done.returncode == 127
    assert "not found" in done.stderr


def test_help_and_version(who: Who) -> None:
    """--help lists every option, --version is one line; both go to stdout and are status 0."""
    shown = sandrun("--help", who=who)
    assert shown.returncode == 0
    assert shown.stderr == ""
    for option in options.all_options():
        assert option.name in shown.stdout
    assert sandrun("-h", who=who).stdout == shown.stdout
    version = sandrun("--version", who=who)
    assert (version.returncode, version.stderr) == (0, "")
    text = (CHECKOUT / "sandrun" / "__init__.py").read_text()
    assert f'"{version.stdout.split()[1]}"' in text
