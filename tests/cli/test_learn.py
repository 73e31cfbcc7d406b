"""`sandrun learn` as a user runs it, with real launches: what is written, what stays as it was, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import tomli

from tests.support import CHECKOUT, free_port, need_namespaces, sandrun
from tests.terminals import shown

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.support import Who


@pytest.fixture
def place(who: Who, box: Path) -> Path:
    """A directory with a script that reads one file and makes another, and a home with secrets."""
    need_namespaces(who)
    (box / "in.txt").write_text("b\na\n")
    shutil.copy(CHECKOUT / "tests" / "probes" / "work.sh", box)
    (who.home / ".ssh").mkdir(exist_ok=True)
    (who.home / ".ssh" / "id_rsa").write_text("key\n")
    (who.home / ".toolrc").write_text("settings\n")
    (who.home / ".bashrc").write_text("")
    who.own(*box.rglob("*"), who.home / ".ssh", *who.home.rglob("*"))
    return box


def learn(who: Who, place: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    return sandrun("learn", "-o", "app.toml", *words, who=who, cwd=place, **options)


def profile(place: Path) -> dict[str, Any]:
    return tomli.loads((place / "app.toml").read_text())


def under(who: Who, place: Path, *argv: str) -> subprocess.CompletedProcess[Any]:
    return sandrun("-q", "-p", "./app.toml", "--", *argv, who=who, cwd=place)


def test_a_script_gets_a_profile_that_works_and_leaves_nothing(who: Who, place: Path) -> None:
    """The profile has what was done by kind, the command runs under it, and the run in the cage changed nothing."""
    done = learn(who, place, "--", "./work.sh")
    assert (done.returncode, done.stdout) == (0, "2\n")
    assert "verified: the command ends with status 0" in done.stderr
    assert sorted(os.listdir(place)) == ["app.toml", "in.txt", "work.sh"]
    files = profile(place)["filesystem"]
    assert files["read"] == ["in.txt"]
    assert files["create"] == ["out.txt"]
    assert "write" not in files
    assert (files["tmp"], files["home"]) == ("private", "hidden")
    assert {"@runtime", "/usr/bin/sort"} <= set(files["execute"])
    ran = under(who, place, "./work.sh")
    assert (ran.returncode, ran.stdout) == (0, "2\n")
    assert (place / "out.txt").read_text() == "A\nB\n"


@pytest.mark.parametrize(
    "more",
    [
        "cat {home}/.ssh/id_rsa",
        "echo x >>{home}/.bashrc",
        "echo x >in.txt",
        "cat /etc/hostname",
        "echo >new",
        "id",
    ],
)
def test_one_more_ability_is_refused(who: Who, place: Path, more: str) -> None:
    """The same command under its profile does what it did; anything more does not."""
    (place / "work.sh").write_text('#!/bin/sh\nsort in.txt\neval "$1"\n')
    assert learn(who, place, "--", "./work.sh", "").returncode == 0
    assert under(who, place, "./work.sh", "").returncode == 0
    before = (place / "in.txt").read_text(), (who.home / ".bashrc").read_text()
    assert under(who, place, "./work.sh", more.format(home=who.home)).returncode != 0
    assert ((place / "in.txt").read_text(), (who.home / ".bashrc").read_text()) == before
    assert not (place / "new").exists()


def test_the_private_cage_shows_no_home(who: Who, place: Path) -> None:
    """Neither secrets nor settings of the home are there, and what is written to it is gone."""
    done = learn(who, place, "--", "sh", "-c", "ls -A ~; echo x >~/.bashrc && cat ~/.bashrc")
    assert (done.returncode, done.stdout) == (0, "x\n")
    assert (who.home / ".bashrc").read_text() == ""
    assert profile(place)["filesystem"]["home"] == "private"


def test_the_cage_home_shows_it_without_secrets_and_changes_nothing(who: Who, place: Path) -> None:
    """Settings are learned by their own path; a secret that the cage refused is not granted, and said."""
    words = "cat ~/.toolrc; cat ~/.ssh/id_rsa; echo x >>~/.bashrc; true"
    done = learn(who, place, "--cage", "home", "--", "sh", "-c", words)
    assert (done.returncode, done.stdout) == (0, "settings\n")
    assert profile(place)["filesystem"]["read"] == ["~/.toolrc"]
    assert "id_rsa" not in (place / "app.toml").read_text().partition("schema")[2]
    assert "refused in the cage: read" in done.stderr
    assert (who.home / ".bashrc").read_text() == ""


def test_the_cage_open_learns_a_secret_by_its_own_path_and_warns(who: Who, place: Path) -> None:
    """Only here a sensitive tier can get into a profile at all."""
    done = learn(who, place, "--cage", "open", "--", "sh", "-c", "cat ~/.toolrc ~/.ssh/id_rsa; echo x >made")
    assert done.returncode == 0, done.stderr
    assert profile(place)["filesystem"]["read"] == ["~/.toolrc", "~/.ssh/id_rsa"]
    assert "warning: read = " in done.stderr
    assert (place / "made").read_text() == "x\n", "the cage is open"


def test_a_program_that_asks_first_gets_the_directory(who: Who, place: Path) -> None:
    """Where `create` would show it a file that was not there, the looser profile takes its place."""
    done = learn(who, place, "--", "sh", "-c", "test ! -e out && echo x >out")
    assert done.returncode == 0, done.stderr
    assert profile(place)["filesystem"]["write"] == ["."]
    assert not (place / "out").exists()
    assert "the command may write app.toml itself" in done.stderr


def test_further_runs_extend_a_profile(who: Who, place: Path) -> None:
    """--merge adds what is missing and keeps what stands there; without it a file is not touched."""
    assert learn(who, place, "--", "cat", "in.txt").returncode == 0
    text = (place / "app.toml").read_text().replace("[filesystem]", '[filesystem]\ndeny = ["secret?"]  # mine')
    (place / "app.toml").write_text(text)
    refused = learn(who, place, "--", "true")
    assert refused.returncode == 125
    assert "it is there already" in refused.stderr
    assert (place / "app.toml").read_text() == text
    done = learn(who, place, "--merge", "--", "sh", "-c", "sort in.txt")
    assert done.returncode == 0, done.stderr
    assert 'deny = ["secret?"]  # mine\n' in (place / "app.toml").read_text()
    assert profile(place)["filesystem"]["read"] == ["in.txt"]
    assert {"/usr/bin/sort"} <= set(profile(place)["filesystem"]["execute"])
    for argv in (["cat", "in.txt"], ["sh", "-c", "sort in.txt"]):
        assert under(who, place, *argv).returncode == 0


def test_the_status_of_the_command_is_told_and_no_failure(who: Who, place: Path) -> None:
    """Learning from a command that ends with 3 writes a profile under which it ends with 3."""
    done = learn(who, place, "--json", "--", "sh", "-c", "exit 3")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert (document["sandrun"], document["status"], document["verified"]) == (1, 3, True)
    assert document["complete"] is True


def test_a_command_that_does_otherwise_the_second_time_is_told(who: Who, place: Path) -> None:
    """Status 1, and the profile is there to be looked at."""
    done = learn(who, place, "--", "sh", "-c", 'test -t 0 || read -r line; test -n "$line"', input="x\n")
    assert done.returncode == 1
    assert "differs: the command ends with status 1 under the profile" in done.stderr
    assert (place / "app.toml").exists()


def test_the_input_of_both_runs_is_the_same_if_it_can_be_read_again(who: Who, place: Path) -> None:
    """A regular file is, from where it stood; of a pipe nothing is left, which is said."""
    with (place / "in.txt").open() as file:
        file.read(2)
        os.lseek(file.fileno(), 2, os.SEEK_SET)
        done = learn(who, place, "--compare-output", "--", "cat", stdin=file)
    assert (done.returncode, done.stdout) == (0, "a\n"), done.stderr
    assert "status 0 under the profile too, and prints the same" in done.stderr
    assert "no input" not in done.stderr
    (place / "app.toml").unlink()
    done = learn(who, place, "--compare-output", "--", "cat", input="x\n")
    assert (done.returncode, done.stdout) == (1, "x\n")
    assert "differs: the command prints something else under the profile" in done.stderr
    assert "the second run had no input" in done.stderr


def test_what_only_the_second_run_is_refused_is_told(who: Who, place: Path) -> None:
    """The status is the same, and still it is no success: the second time it reads what it did not the first time."""
    script = f"[ -e {place}/seen ] && read -r line </etc/hostname; echo x >{place}/seen; true"
    done = learn(who, place, "--cage", "open", "--json", "--", "sh", "-c", script)
    document = json.loads(done.stdout)
    assert (done.returncode, document["verified"], document["verified_status"]) == (1, False, 0)
    assert any("read /etc/hostname" in new for new in document["newly_refused"])


def test_a_command_that_needs_something_else_each_time_is_learned_again(who: Who, place: Path) -> None:
    """A server says which file to read: the second time, and from then on, another one than the first time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, answers = server.getsockname()[1], iter((f"{place}/in.txt",))

        def answer() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as client:
                        client.sendall(next(answers, "/etc/hostname").encode())

        Thread(target=answer, daemon=True).start()
        words = f"import socket; print(open(socket.create_connection(('127.0.0.1', {port})).makefile().read()).read())"
        ask = ("--connect", f"tcp:{port}")
        done = learn(who, place, *ask, "--", "python3", "-c", words)
        server.shutdown(socket.SHUT_RDWR)
    assert done.returncode == 0, done.stderr
    assert "learned again: it did not need the same each time: 2 runs in the cage" in done.stderr
    assert "/etc/hostname" in profile(place)["filesystem"]["read"]


def test_variables_are_passed_that_a_program_knows_and_that_are_no_secret(who: Who, place: Path) -> None:
    """By a script that was executed; neither a token nor a variable that nothing names."""
    (place / "work.sh").write_text('#!/bin/sh\necho "$COLOUR" "$SITE_TOKEN" >/dev/null\n')
    env = who.env | {"COLOUR": "red", "SITE_TOKEN": "x", "OTHER": "y"}
    done = learn(who, place, "--", "./work.sh", env=env)
    assert done.returncode == 0, done.stderr
    assert profile(place)["environment"] == {"pass": ["@basic", "COLOUR"]}
    assert '"COLOUR",  # named in work.sh' in (place / "app.toml").read_text()
    assert "red" not in (place / "app.toml").read_text()


def test_limits_come_from_what_was_used(who: Who, place: Path) -> None:
    """A file of 40 MiB, 300 descriptors: there is room for eight and four times as much."""
    words = (
        "import os; fd = os.open('big', os.O_WRONLY | os.O_CREAT); os.ftruncate(fd, 40 << 20); os.close(fd)\n"
        "many = [os.dup(0) for _ in range(300)]"
    )
    done = learn(who, place, "--", "python3", "-c", words)
    assert done.returncode == 0, done.stderr
    found = profile(place)["rlimits"]
    assert found["fsize"] == 512 << 20
    assert found["nofile"] >= 2048
    assert found["as"] >= 1 << 30


def test_without_verification_nothing_is_run_twice(who: Who, place: Path) -> None:
    """And nothing is granted that only such a run could justify."""
    done = learn(who, place, "--no-verify", "--cage", "open", "--", "sh", "-c", "echo x >>count")
    assert done.returncode == 0
    assert "not verified" in done.stderr
    assert (place / "count").read_text() == "x\n"
    assert profile(place)["filesystem"]["write"] == ["."]


def test_a_run_that_a_signal_ended_is_not_repeated(who: Who, place: Path) -> None:
    """As of a server: nobody would end it the second time. The profile is written all the same."""
    done = learn(who, place, "--cage", "open", "--", "sh", "-c", "echo x >>count; kill -TERM $$")
    assert done.returncode == 0
    assert "not verified" in done.stderr
    assert (place / "count").read_text() == "x\n"
    assert (place / "app.toml").exists()


def test_where_no_overlay_can_be_had_there_is_no_cage(who: Who, place: Path) -> None:
    """Under an outer filter that refuses namespaces nothing runs, and the message says why."""
    done = sandrun("-q", "-p", "offline", "--", *who.sandrun, "learn", "-o", "a.toml", "--", "true", who=who, cwd=place)
    assert done.returncode == 125
    assert "needs a mount namespace" in done.stderr
    assert not (place / "a.toml").exists()


def test_what_cannot_run_writes_nothing(who: Who, place: Path) -> None:
    """Statuses are those of a launch: 127, 126 and 125; wrong usage is 2."""
    (place / "data").touch()
    for status, words in (
        (127, ("--", "no-such-program")),
        (126, ("--", "./data")),
        (125, ("--read", "/no/such/place", "--", "true")),
        (2, ("true",)),
        (2, ("--cage", "none", "--", "true")),
        (2, ("--dry-run", "--", "true")),
        (2, ("--no-such-option", "--", "true")),
    ):
        done = learn(who, place, *words)
        assert done.returncode == status, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert not (place / "app.toml").exists()
    assert sandrun("learn", "--", "true", who=who, cwd=place).returncode == 2
    assert learn(who, place, "--merge", "--", "true").returncode == 125


def test_hostile_names_reach_neither_the_terminal_nor_the_grammar(who: Who, place: Path) -> None:
    """Escape sequences and line ends in names of files and programs are escaped."""
    program = place / "evil\n[network]\nconnect = ['*']\x1b[31m"
    program.write_bytes(b"#!/bin/sh\ncat 'in\n*?.txt'\n")
    (place / "in\n*?.txt").write_text("y\n")
    program.chmod(0o755)
    who.own(program, place / "in\n*?.txt")
    done = learn(who, place, "--", f"./{program.name}")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr + (place / "app.toml").read_text()
    assert profile(place)["filesystem"]["read"] == ["in\n[*][?].txt"]
    assert "network" not in profile(place)
    assert under(who, place, f"./{program.name}").stdout == "y\n"


def test_options_widen_the_cage_and_go_into_the_profile(who: Who, place: Path) -> None:
    """What was asked of the network and used is granted, the rest of what was asked is not."""
    words = "import socket, os\ns = socket.create_server(('127.0.0.1', 0)); print(os.environ['WORD'])"
    done = learn(who, place, "--loopback", "--env", "WORD=w", "--rlimit", "nofile=99", "--", "python3", "-c", words)
    assert (done.returncode, done.stdout) == (0, "w\n"), done.stderr
    assert profile(place)["network"] == {"loopback": True}
    assert profile(place)["rlimits"]["nofile"] == 99
    assert "WORD=w" not in (place / "app.toml").read_text()
    unused = sandrun("learn", "-o", "no.toml", "--loopback", "--", "true", who=who, cwd=place)
    assert unused.returncode == 0
    assert "network" not in tomli.loads((place / "no.toml").read_text())


def test_of_the_network_there_is_what_was_asked_and_used(who: Who, place: Path) -> None:
    """A port that was asked for and bound is granted, one that was only asked for or only tried is not."""
    bound = free_port()
    tried, asked = bound + 1, bound + 2
    words = (
        f"import socket\ns = socket.create_server(('127.0.0.1', {bound}))\n"
        f"try: socket.create_server(('127.0.0.1', {tried}))\nexcept PermissionError: pass"
    )
    done = learn(who, place, "--bind", f"tcp:{bound}", "--bind", f"tcp:{asked}", "--", "python3", "-c", words)
    assert done.returncode == 0, done.stderr
    assert profile(place)["network"] == {"bind": [f"tcp:{bound}"]}
    assert f"not granted: network.bind = tcp:{tried}" in done.stderr


def test_progress_is_for_terminals(who: Who, place: Path) -> None:
    """A line that writes over itself on one, and nothing of it in a pipe."""
    assert "\r" not in learn(who, place, "--", "true").stderr
    (place / "app.toml").unlink()
    ours, theirs = pty.openpty()
    # A line is shown for a tenth of a second at least: the next one comes later than that.
    done = learn(who, place, "--", "sleep", "0.2", stderr=theirs, env=who.env | {"TERM": "xterm"})
    os.close(theirs)
    text = shown(ours)
    assert done.returncode == 0, text
    assert "verifying" in text
