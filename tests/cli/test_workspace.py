"""`sandrun workspace …` as a user runs it: what is on stdout, what on stderr, and the status."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from sandrun import cli
from sandrun.workspace import site, store
from tests.support import need_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree, and a place for workspaces where nothing of this machine's user is found."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a").write_text("one\ntwo\nthree\n")
    (folder / "b").write_text("b\n")
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the verb: its status, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        status = cli.main(["workspace", *words])
        out, err = capfd.readouterr()
        return status, out, err

    return call


def make(tree: Path, files: dict[str, str | bytes | None], *, ended: bool = True) -> str:
    """A workspace in which a command wrote these files, and removed those that are None."""
    workspace, lock = store.make([str(tree)], ["make", "all it\n"])
    store.await_clock(workspace)
    for name, content in files.items():
        path = f"{workspace.path}/upper/0/{name}"
        if content is None:
            os.mknod(path, 0o020000, 0)
        else:
            with open(path, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
    os.close(lock)
    if ended:
        store.ended(workspace, 3)
    return workspace.id


def test_nothing_there(run: Run) -> None:
    """No workspace is an empty list, nothing to discard with --all, and else an error with a hint."""
    assert run("list") == (0, "", "")
    assert json.loads(run("list", "--json")[1]) == {"sandrun": 1, "workspaces": []}
    assert run("discard", "--all") == (0, "", "")
    for verb in ("diff", "commit", "discard"):
        hint = "hint: sandrun --overlay DIR -- COMMAND makes one"
        assert run(verb) == (125, "", f"sandrun: there is no workspace\nsandrun: {hint}\n")


def test_list(run: Run, tree: Path) -> None:
    """The newest first; a command's words are quoted and escaped."""
    first, second = sorted([make(tree, {"new": "x"}), make(tree, {}, ended=False)])
    assert run("list", "--ids") == (0, f"{second}\n{first}\n", "")
    lines = run("list")[1].splitlines()
    assert [line.split()[0] for line in lines] == [second, first]
    assert all(f"{tree}: make 'all it\\n'" in line for line in lines)
    assert {line.split()[3] for line in lines} == {"kept", "interrupted"}
    found = json.loads(run("list", "--json")[1])["workspaces"]
    kept = next(each for each in found if each["state"] == "kept")
    assert (kept["status"], kept["directories"], kept["command"]) == (3, [str(tree)], ["make", "all it\n"])


def test_a_running_one_is_not_touched(run: Run, tree: Path) -> None:
    """While its command runs, a workspace can neither be read nor committed nor discarded; --all leaves it out."""
    workspace, lock = store.make([str(tree)], ["x"])
    assert "running" in run("list")[1]
    for verb in ("diff", "commit", "discard"):
        status, out, err = run(verb, workspace.id)
        assert (status, out) == (125, "")
        assert err.startswith(f"sandrun: cannot use workspace {workspace.id}: it is in use\n")
        assert run(verb, "--all") == (0, "", "")
    os.close(lock)
    assert run("discard", workspace.id) == (0, "", "")
    assert run("list") == (0, "", "")


def test_diff(run: Run, tree: Path) -> None:
    """Letters, unified diffs of text, one line for the rest; status 1 if anything differs."""
    name = make(
        tree,
        {
            "a": "one\n2\nthree\n",
            "b": None,
            "new": "first\nno end",
            "bin": b"\0\1",
            "evil\n\x1b[31m": "\x1b]0;x\a\tt\n",
        },
    )
    expected = f"""M {tree}/a
--- a/a
+++ b/a
@@ -1,3 +1,3 @@
 one
-two
+2
 three
D {tree}/b
--- a/b
+++ /dev/null
@@ -1 +0,0 @@
-b
A {tree}/bin
  binary: 0 -> 2 bytes
A {tree}/evil\\n\\x1b[31m
--- /dev/null
+++ b/evil\\n\\x1b[31m
@@ -0,0 +1 @@
+\\x1b]0;x\\x07\tt
A {tree}/new
--- /dev/null
+++ b/new
@@ -0,0 +1,2 @@
+first
+no end
\\ No newline at end of file
"""
    assert run("diff") == (1, expected, "")
    names = [line for line in expected.splitlines() if line[:2] in ("A ", "M ", "D ")]
    assert run("diff", "--stat", name)[1].splitlines() == names
    document = json.loads(run("diff", "--json")[1])
    assert [(each["path"], each["change"]) for each in document["changes"]] == [
        ("a", "changed"),
        ("b", "deleted"),
        ("bin", "added"),
        ("evil\n\x1b[31m", "added"),
        ("new", "added"),
    ]
    assert document["id"] == name


def test_a_diff_is_a_patch(run: Run, tree: Path) -> None:
    """patch(1) makes of the tree what a commit makes of it."""
    (tree / "a").write_text("".join(f"line {number}\n" for number in range(300)))
    lines = [f"line {number}\n" for number in range(300)]
    lines[3:5], lines[150:150], lines[-1] = ["other\n"], ["more\n", "and more\n"], "the end"
    name = make(tree, {"a": "".join(lines), "b": None, "c": "new\n"})
    patch = run("diff")[1]
    twin = tree.parent / "twin"
    shutil.copytree(tree, twin)
    subprocess.run([need_program("patch"), "-p1", "-s", "-E"], cwd=twin, input=patch.encode(), check=True)
    assert run("commit", name)[0] == 0
    assert {path.name: path.read_text() for path in twin.iterdir()} == {
        path.name: path.read_text() for path in tree.iterdir()
    }


def test_links_and_modes(run: Run, tree: Path) -> None:
    """What is no content stands behind the name; targets are shown, and what a commit will not do is said."""
    name = make(tree, {"a": "one\ntwo\nthree\n"})
    upper = f"{site.directory()}/{name}/upper/0"
    os.symlink("/etc/passwd\n", f"{upper}/b")
    os.chmod(f"{upper}/a", 0o4755)
    os.utime(f"{upper}/a", ns=(0, os.stat(tree / "a").st_mtime_ns))
    os.mkfifo(f"{upper}/fifo")
    os.mkdir(f"{upper}/dir")
    assert run("diff") == (
        1,
        f"M {tree}/a (mode 0644 -> 4755; set-id bits are not committed)\n"
        f"M {tree}/b (type - -> l)\n  + link to /etc/passwd\\n\n--- a/b\n+++ /dev/null\n@@ -1 +0,0 @@\n-b\n"
        f"A {tree}/dir/\n"
        f"A {tree}/fifo (not committed: a fifo)\n",
        "",
    )


def test_large_files_are_not_compared(run: Run, tree: Path) -> None:
    """Neither many bytes nor many lines make a diff that takes for ever."""
    (tree / "a").write_text("".join(f"{number}\n" for number in range(5000)))
    make(tree, {"a": "".join(f"{number} \n" for number in range(5000)), "large": "x\n" * 600_000})
    status, out, _ = run("diff")
    assert status == 1
    assert (
        out
        == f"M {tree}/a\n--- a/a\n+++ b/a\n  too many lines to compare: 5000 -> 5000\nA {tree}/large\n  too large to show: 0 -> 1200000 bytes\n"
    )


def test_commit(run: Run, tree: Path) -> None:
    """The changes are done and the workspace is gone; what was refused stays, with status 1."""
    name = make(tree, {"a": "1\n", "b": None})
    assert run("commit", "--json") == (
        0,
        f'{{"sandrun": 1, "id": "{name}", "committed": 2, "refused": [], "left_out": []}}\n',
        "",
    )
    assert (tree / "a").read_text() == "1\n"
    assert not (tree / "b").exists()
    assert run("list") == (0, "", "")
    name = make(tree, {"a": "2\n", "c": "c\n"})
    (tree / "a").write_text("theirs\n")
    status, out, err = run("commit", name)
    assert (status, out) == (1, "")
    assert err.splitlines()[:2] == [
        f"sandrun: committed: 1 change of workspace {name}",
        f"sandrun: not committed: {tree}/a: changed since the start",
    ]
    assert run("diff", "--stat")[1] == f"M {tree}/a (changed since the start)\n"
    assert run("commit", "--force")[0] == 0
    assert (tree / "a").read_text() == "2\n"


def test_commit_within_a_size(run: Run, tree: Path) -> None:
    """More than the limit is refused as a whole, and nothing is done; another limit may be given."""
    make(tree, {"a": "x" * 100_000})
    status, _, err = run("commit", "--size-limit", "64K")
    assert status == 125
    assert "its size limit is 65536\n" in err
    assert (tree / "a").read_text() == "one\ntwo\nthree\n"
    assert run("commit", "--size-limit", "64Q")[0] == 2
    assert run("commit", "--size-limit", "1M")[0] == 0


def test_discard(run: Run, tree: Path) -> None:
    """The tree is as it was, and only the workspaces that were named are gone."""
    names = [make(tree, {"a": "1\n"}) for _ in range(3)]
    assert run("discard", names[1]) == (0, "", "")
    assert set(store.ids()) == {names[0], names[2]}
    assert run("discard", "--all", "--json")[0] == 0
    assert store.ids() == []
    assert (tree / "a").read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize("name", ["nope", "../state", "..", "", "20200101-000000-abcdef", "/etc"])
def test_an_id_is_no_path(run: Run, tree: Path, name: str) -> None:
    """A word that is no id, or of no workspace, reaches nothing."""
    make(tree, {})
    for verb in ("diff", "commit", "discard"):
        status, out, err = run(verb, name)
        assert (status, out) == (125, "")
        assert err.startswith(f"sandrun: no such workspace: {name}\n")
    assert len(store.ids()) == 1


def test_damaged_facts(run: Run, tree: Path) -> None:
    """They are told, do not hide the others, and --all stops at them instead of guessing."""
    good, bad = make(tree, {}), make(tree, {})
    for damage in ("", "{}", "[]", '{"sandrun": 1}', '{"sandrun": 9}', "\xff"):
        with open(f"{site.directory()}/{bad}/about.json", "w", encoding="latin-1") as file:
            file.write(damage)
        status, out, err = run("list")
        assert (status, out.split()[0]) == (0, good)
        assert err.startswith("sandrun: cannot ")
        assert bad in err
        assert run("commit", bad)[0] == 125


def test_wrong_usage(run: Run, tree: Path) -> None:
    """Status 2."""
    name = make(tree, {})
    for words in (["diff", "--all", name], ["nope"], [], ["list", "x"], ["commit", "--nope"]):
        assert run(*words)[0] == 2


@pytest.mark.parametrize("words", [["--on-exit", "nope"], ["--overlay-size", "1Q"]])
def test_wrong_options_of_a_launch(capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Values are checked before anything runs."""
    assert cli.main([*words, "--", "true"]) == 125
    assert words[0] in capfd.readouterr().err
