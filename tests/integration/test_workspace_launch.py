"""`sandrun --overlay`: the command sees and changes the tree, the host does not, until somebody commits."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from tests.integration.workspaces import contents
from tests.support import descendants, need_program, need_userns, reap_orphans, sandrun

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Who

    Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tree(who: Who, box: Path) -> Path:
    """A project of a few files, and the places that sandrun trusts."""
    if not who.is_root:
        need_userns()
    script = """
mkdir -p tree/src state/sandrun config/sandrun; cd tree
echo one > a; echo x > src/x; echo '#!/bin/sh' > hook; chmod 755 hook
"""
    who.run(["sh", "-euc", script], cwd=box, check=True)
    return box / "tree"


@pytest.fixture
def run(who: Who, tree: Path) -> Run:
    """Run sandrun in the tree, with workspaces of its own."""
    env = {**who.env, "XDG_STATE_HOME": f"{tree.parent}/state", "XDG_CONFIG_HOME": f"{tree.parent}/config"}
    return lambda *words: sandrun(*words, who=who, cwd=tree, env=env)


def test_a_checkout_is_untouched(who: Who, tree: Path, run: Run) -> None:
    """`rm -rf *` in a git checkout: nothing of it is seen outside, to the byte and the time; diff tells, discard forgets."""
    need_program("git")
    script = "git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm first"
    who.run(["sh", "-euc", script], cwd=tree, check=True)
    before = contents(tree)
    done = run("--overlay", ".", "--", "sh", "-c", "rm -rf *; ls; echo evil > .git/hooks/post-checkout")
    assert (done.returncode, done.stdout) == (0, "")
    assert contents(tree) == before
    told = run("workspace", "diff", "--stat")
    assert told.returncode == 1
    assert told.stdout.split() == [
        "D", f"{tree}/a", "D", f"{tree}/hook", "D", f"{tree}/src/", "A", f"{tree}/.git/hooks/post-checkout",
    ]  # fmt: skip
    assert run("workspace", "discard").returncode == 0
    assert contents(tree) == before
    assert os.listdir(tree.parent / "state/sandrun/workspaces") == []


def test_on_exit_commit(tree: Path, run: Run) -> None:
    """What a successful command changed is there afterwards; what a failed one did is kept apart."""
    done = run("--overlay", ".", "--on-exit", "commit", "--", "sh", "-c", "echo two >> a; mv src lib; exit 0")
    assert done.returncode == 0
    assert (tree / "a").read_text() == "one\ntwo\n"
    assert (tree / "lib/x").read_text() == "x\n"
    assert not (tree / "src").exists()
    done = run("--overlay", ".", "--on-exit", "commit", "--", "sh", "-c", "echo three >> a; exit 7")
    assert done.returncode == 7
    assert "kept: workspace " in done.stderr
    assert (tree / "a").read_text() == "one\ntwo\n"


def test_the_report_has_the_workspace(tree: Path, run: Run) -> None:
    """Its id, how many changes of each kind, and what became of them; the status is that of sandrun."""
    target = f"{tree.parent}/report.json"
    script = "echo b >> a; echo n > n; rm -r src"

    def reported(*words: str, status: int) -> dict[str, Any]:
        assert run("-q", "--report", target, *words).returncode == status
        with open(target, encoding="ascii") as file:
            document = json.load(file)
        assert document["status"] == status
        return document["workspace"]  # type: ignore[no-any-return]

    kept = reported("--overlay", ".", "--", "sh", "-c", script, status=0)
    (name,) = run("workspace", "list", "--ids").stdout.split()
    changes = {"added": 1, "changed": 1, "deleted": 1, "unreadable": 0}
    rest = {"committed": 0, "refused": 0, "left_out": 0}
    assert kept == {"id": name, "directories": [str(tree)], "became": "kept", "changes": changes, **rest}
    words = ("--overlay", ".", "--on-exit", "commit")
    large = reported(*words, "--overlay-size", "1", "--", "sh", "-c", script, status=123)
    assert (large["became"], large["changes"], large["committed"]) == ("kept", changes, 0)
    done = reported(*words, "--", "sh", "-c", f"{script}; mkfifo f", status=0)
    assert (done["became"], done["committed"], done["left_out"]) == ("committed", 3, 1)
    gone = reported("--overlay", ".", "--", "true", status=0)
    assert (gone["became"], gone["changes"]) == ("discarded", dict.fromkeys(changes, 0))
    assert reported("--", "true", status=0) is None


def test_nothing_is_left_of_a_launch_without_changes(tree: Path, run: Run) -> None:
    """Neither of one that changed nothing, nor of one that failed."""
    for words, status in ((["true"], 0), (["no-such-command"], 127), (["/etc/passwd"], 126)):
        done = run("--overlay", ".", "--", *words)
        assert done.returncode == status
        assert "workspace" not in done.stderr
    places = tree.parent / "state/sandrun/workspaces"
    assert not places.exists() or os.listdir(places) == []


def test_a_supervisor_that_was_killed(who: Who, tree: Path, run: Run) -> None:
    """Its command is gone, no mount is left, and what it changed is still there to be looked at."""
    env = {**who.env, "XDG_STATE_HOME": f"{tree.parent}/state", "XDG_CONFIG_HOME": f"{tree.parent}/config"}
    words = [*who.sandrun, "-q", "--overlay", ".", "--", "sh", "-c", "echo x > new; echo ready; exec sleep 60"]
    with who.popen(words, cwd=tree, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert " running " in run("workspace", "list").stdout
        assert run("workspace", "discard").returncode == 125
        process.kill()
        assert process.stdout.read() == b""
    deadline = time.monotonic() + 60
    while descendants() and time.monotonic() < deadline:
        reap_orphans()  # the tests are the subreaper, and the namespace ends when its last zombie is gone
        time.sleep(0.01)
    assert " interrupted " in run("workspace", "list").stdout
    assert run("workspace", "diff", "--stat").stdout == f"A {tree}/new\n"
    assert run("workspace", "discard").returncode == 0
    assert str(tree) not in Path("/proc/mounts").read_text(encoding="utf-8")
    assert os.listdir(tree.parent / "state/sandrun/workspaces") == []


@pytest.mark.parametrize("tty", ["protected", "pty", "new-session"])
def test_asked_after_a_run(who: Who, tree: Path, tty: str) -> None:
    """However the command had the terminal, the question is answered on it, Ctrl-C being an answer too."""
    env = {**who.env, "XDG_STATE_HOME": f"{tree.parent}/state", "XDG_CONFIG_HOME": f"{tree.parent}/config"}
    script = "echo new > new"
    words = ["-q", "--tty", tty, "--overlay", ".", "--on-exit", "ask", "--", "sh", "-c", script]
    for answer, committed, left in (("\x03", False, 1), ("discard\r", False, 1), ("commit\r", True, 1)):
        terminal = pexpect.spawn(
            who.sandrun[0],
            [*who.sandrun[1:], *words],
            cwd=str(tree),
            env=env,
            timeout=60,
            preexec_fn=who.drop,
        )
        terminal.expect(r"holds 1 change: .*\[keep\] ")
        terminal.send(answer)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert (terminal.exitstatus, terminal.signalstatus) == (0, None)
        assert (tree / "new").exists() == committed
        assert len(os.listdir(tree.parent / "state/sandrun/workspaces")) == left


def test_only_what_is_overlaid(tree: Path, run: Run) -> None:
    """Beside an overlay the rest is as it was granted: not writable here; and the workspace itself is out of reach."""
    script = f"echo x > {tree}/src/new; echo y > {tree}/b; ls {tree.parent}/state/sandrun/workspaces; :"
    done = run("-p", "none", "--read", "@system", "--execute", "@system", "--overlay", "src", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not (tree / "b").exists()
    assert not (tree / "src/new").exists()
    assert run("workspace", "diff", "--stat").stdout == f"A {tree}/src/new\n"


def test_denials_hold_in_an_overlay(tree: Path, run: Run) -> None:
    """`deny` and `deny_write` below an overlay win over it."""
    script = "cat src/x; echo evil >> hook; echo fine >> a; exec true"
    done = run("--overlay", ".", "--deny", "src", "--deny-write", "hook", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert run("workspace", "diff", "--stat").stdout == f"M {tree}/a\n"


def test_what_cannot_be_overlaid(tree: Path, run: Run) -> None:
    """A file, nothing, and a tree that holds the workspaces: 125 before anything runs."""
    for place, words in (("a", "not a directory"), ("gone", "not a directory"), ("..", "workspaces are stored in")):
        done = run("-q", "--overlay", place, "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (125, "")
        assert words in done.stderr
