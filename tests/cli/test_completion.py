"""The shipped completions, asked in real shells: what TAB makes of a line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.support import CHECKOUT, PATH, need, need_program

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = CHECKOUT / "completions"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
SHOW = "\x18\x10"
LINES = [
    pytest.param("sandrun --dry", "sandrun --dry-run", id="option"),
    pytest.param("sandrun --dry-run --verb", "sandrun --dry-run --verbose", id="option after a flag"),
    pytest.param("sandrun --read /etc --verb", "sandrun --read /etc --verbose", id="option after a value"),
    pytest.param("sandrun --tty new", "sandrun --tty new-session", id="fixed word"),
    pytest.param("sandrun --tty=new", "sandrun --tty=new-session", id="fixed word behind an equals sign"),
    pytest.param("sandrun --rlimit nofi", "sandrun --rlimit nofile=", id="limit"),
    pytest.param("sandrun --capability CAP_SYS_BO", "sandrun --capability CAP_SYS_BOOT", id="capability"),
    pytest.param("sandrun --optional process.iso", "sandrun --optional process.isolate", id="key path"),
    pytest.param("sandrun --read some-fi", "sandrun --read some-file", id="file"),
    pytest.param("sandrun --cwd some-di", "sandrun --cwd some-directory/", id="directory"),
    pytest.param("sandrun -p aprof", "sandrun -p aprofile", id="profile name"),
    pytest.param("sandrun -p own", "sandrun -p own.toml", id="profile file"),
    pytest.param("sandrun profile sch", "sandrun profile schema", id="verb of a verb"),
    pytest.param("sandrun profile show aprof", "sandrun profile show aprofile", id="profile name of a verb"),
    pytest.param("sandrun doct", "sandrun doctor", id="verb"),
    pytest.param("sandrun shrink --che", "sandrun shrink --check", id="option of a verb"),
    pytest.param("sandrun shrink some-fi", "sandrun shrink some-file", id="file of a verb"),
    pytest.param(
        "sandrun shrink some-file -- wrapped_comm",
        "sandrun shrink some-file -- wrapped_command",
        id="command of a verb",
    ),
    pytest.param(
        "sandrun shrink some-file -- wrapped_command cho",
        "sandrun shrink some-file -- wrapped_command chosen",
        id="words of the command of a verb",
    ),
    pytest.param("sandrun wrapped_comm", "sandrun wrapped_command", id="command"),
    pytest.param("sandrun -- wrapped_comm", "sandrun -- wrapped_command", id="command after --"),
    pytest.param("sandrun wrapped_command cho", "sandrun wrapped_command chosen", id="the command's own words"),
    pytest.param(
        "sandrun -p strict --connect tcp:443 -nq -- wrapped_command --fir cho",
        "sandrun -p strict --connect tcp:443 -nq -- wrapped_command --fir chosen",
        id="the command's own words after options",
    ),
    pytest.param(
        "sandrun wrapped_command --dry", "sandrun wrapped_command --dry", id="no options of sandrun for the command"
    ),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with something to complete, a command that is not sandrun, and a sandrun that knows one profile."""
    (tmp_path / "some-file").touch()
    (tmp_path / "some-directory").mkdir()
    (tmp_path / "own.toml").touch()
    for name, body in (("wrapped_command", "exit 0"), ("sandrun", "echo aprofile; echo '$(touch pwned)'")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    return {"PATH": f"{place}/bin:{PATH}", "HOME": str(place), "LANG": "C.UTF-8", "TERM": "dumb", "PS1": "ready> "}


@contextlib.contextmanager
def interactive(place: Path, *argv: str) -> Iterator[pexpect.spawn]:
    """A shell on a terminal of its own, and its end, for which pexpect alone would wait no longer than a moment."""
    shell = pexpect.spawn(
        need_program(argv[0]),
        list(argv[1:]),
        env=environment(place),
        cwd=place,
        encoding="utf-8",
        timeout=60,
        dimensions=(50, 250),
    )
    try:
        yield shell
    finally:
        shell.kill(signal.SIGKILL)
        shell.wait()
        shell.close()


def tab(shell: pexpect.spawn, line: str) -> str:
    """What the shell makes of `line` and TAB: the key SHOW prints its edit buffer between < and >."""
    shell.send(f"{line}\t{SHOW}")
    shell.expect(r"<<(.*?)>>")
    return str(shell.match.group(1)).strip()


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_bash(place: Path, line: str, expected: str) -> None:
    """bash completes options, values, the command and the command's own words."""
    need(BASH_COMPLETION.exists(), "bash-completion is not installed")
    with interactive(place, "bash", "--norc", "--noprofile", "-i") as shell:
        show = """bind -x '"\\C-x\\C-p": printf "<%s%s>\\n" "<" "${READLINE_LINE}>"'"""
        for setup in (
            "bind 'set enable-bracketed-paste off'",
            "bind 'set bell-style none'",
            show,
            f"source {BASH_COMPLETION}; source {SCRIPTS}/sandrun.bash",
            "_wrapped() { mapfile -t COMPREPLY < <(compgen -W chosen -- ${COMP_WORDS[COMP_CWORD]}); }",
            "complete -F _wrapped wrapped_command; echo set''up",
        ):
            shell.sendline(setup)
        shell.expect("setup")
        assert tab(shell, line) == expected
    assert not (place / "pwned").exists(), "a profile's name was run as a command"


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_zsh(place: Path, line: str, expected: str) -> None:
    """zsh completes options, values, the command and the command's own words."""
    with interactive(place, "zsh", "-f", "-i") as shell:
        for setup in (
            "unsetopt prompt_sp zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste; bindkey -e",
            "show() { print -r -- '<'\"<$BUFFER>\"'>' }; zle -N show; bindkey '^X^P' show",
            f"fpath=({SCRIPTS} $fpath); autoload -Uz compinit; compinit -D -u",
            "_wrapped() { compadd chosen }; compdef _wrapped wrapped_command; echo set''up",
        ):
            shell.sendline(setup)
        shell.expect("setup")
        assert tab(shell, line) == expected
    assert not (place / "pwned").exists(), "a profile's name was run as a command"


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_fish(place: Path, line: str, expected: str) -> None:
    """fish offers options, values, the command and the command's own words."""
    script = f"source {SCRIPTS}/sandrun.fish; complete -c wrapped_command -f -a chosen; complete -C {line!r}"
    done = subprocess.run(
        [need_program("fish"), "--no-config", "-c", script],
        env=environment(place) | {"XDG_CONFIG_HOME": str(place)},
        cwd=place,
        capture_output=True,
        text=True,
    )
    offered = [row.partition("\t")[0] for row in done.stdout.splitlines()]
    last = expected.rpartition(" ")[2]
    if line == expected:
        assert offered == []
    else:
        assert last in offered, done.stderr
    assert not (place / "pwned").exists(), "a profile's name was run as a command"


def test_scripts_are_up_to_date(tmp_path: Path) -> None:
    """`make completions` would change nothing."""
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, CHECKOUT / "tools" / "gen_completions.py", tmp_path], check=True, env=env)
    for script in sorted(tmp_path.iterdir()):
        assert (SCRIPTS / script.name).read_text() == script.read_text(), "run make completions"


def test_every_option_is_completed() -> None:
    """No option is missing from any of the three scripts."""
    from sandrun.cli.options import all_options

    for option in all_options():
        assert f" {option.name}" in (SCRIPTS / "sandrun.bash").read_text()
        assert f"{option.name}" in (SCRIPTS / "_sandrun").read_text()
        assert f"-l {option.name[2:]} " in (SCRIPTS / "sandrun.fish").read_text()
