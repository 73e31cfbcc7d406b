"""The view: what is hidden, masked and shown elsewhere, by each mechanism alone, and what the host sees of it: nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.viewing import EMPTY, MECHANISMS, OK, see
from tests.integration.workspaces import contents
from tests.support import need_program, need_userns, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Who

CLOSED = {"EACCES", "EPERM", "EROFS", "ENOENT", EMPTY}
"""What an operation gives that must not work: refused, read-only, not there, or an empty thing in its place."""
PINNED = {"EBUSY", "EXDEV", "EROFS"}
ALL = ("-p", "none", "--read", "/", "--execute", "/")
ALONE = ("--optional", "filesystem.read", "--optional", "filesystem.execute")
"""What only Landlock keeps: with mounts alone the rest of the host can be read."""


@pytest.fixture
def place(who: Who, box: Path) -> Iterator[Path]:
    """A directory to work in, beside one with secrets; as it was, to the byte and the time, when the test is over."""
    script = """
mkdir -p work/private/deep work/vault work/.git/hooks work/data work/empty outside/vault home
echo a >work/a; echo key >work/private/key; echo gold >work/vault/gold; echo hook >work/.git/hooks/pre; echo d >work/data/d
echo secret >outside/secret; echo gold >outside/vault/gold; echo other >outside/other; : >work/target; echo id >home/id
find . -exec touch -h -d @1600000000 {} +
"""
    who.run(["sh", "-euc", script], cwd=box, check=True)
    before = contents(box)
    yield box
    (box.parent / f"{box.name}.toml").unlink(missing_ok=True)
    after = contents(box)
    for path in [path for path in after if "new" in str(path) or str(path).endswith("work")]:
        before.pop(path, None)
        after.pop(path)
    assert after == before, "the host's files are as they were"


# --- each mechanism alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", ["", *MECHANISMS])
def test_each_alone(who: Who, place: Path, without: str) -> None:
    """Without Landlock, and without mounts, what is denied stays closed and the rest of the tree read-only."""
    words = ["--write", ".", "--deny", place / "outside/secret", "--deny", place / "outside/vault", "--home", "hidden"]
    seen = see(
        who,
        place / "work",
        *ALL,
        *words,
        *(("--proc", "host") if without == "mounts" else ()),
        *ALONE,
        # A tree that is granted whole covers places that sandrun trusts, which only mounts take out of it.
        "--optional",
        "filesystem.write",
        without=without,
        read_file=f"read('{place}/outside/secret')",
        read_in_directory=f"read('{place}/outside/vault/gold')",
        list_directory=f"listed('{place}/outside/vault')",
        home=f"listed('{who.home}')",
        write_file=f"write('{place}/outside/other')",
        make_file=f"write('{place}/outside/made', os.O_WRONLY | os.O_CREAT)",
        remove=f"os.unlink('{place}/outside/other')",
        rename=f"os.rename('{place}/outside', '{place}/elsewhere')",
        link=f"os.link('{place}/outside/secret', 'new-link')",
        truncate=f"os.truncate('{place}/outside/other', 0)",
        allowed_read=f"read('{place}/outside/other')",
        allowed_write="write('new', os.O_WRONLY | os.O_CREAT)",
        allowed_list="listed('data')",
        namespace="os.readlink('/proc/self/ns/mnt')",
    )
    assert seen.status == 0, seen.said
    assert seen.found.pop("allowed_read") == "other\n"
    assert seen.found.pop("allowed_write") == OK
    assert seen.found.pop("allowed_list") == ["d"]
    assert (seen.found.pop("namespace") == os.readlink("/proc/self/ns/mnt")) == (without == "mounts")
    assert {name: answer for name, answer in seen.found.items() if answer not in CLOSED | {"EXDEV"}} == {}


@pytest.mark.parametrize("without", ["", *MECHANISMS])
def test_temporary_directories_alone(who: Who, place: Path, without: str) -> None:
    """A private temporary directory: the host's is not seen, or cannot be read, and its own can be written."""
    seen = see(
        who,
        Path("/usr"),
        *ALL,
        *ALONE,
        *("--tmp", "private"),
        without=without,
        host=f"read('{place}/outside/secret')",
        listing="listed('/var/tmp')",
        make="write('/tmp/new-by-sandrun', os.O_WRONLY | os.O_CREAT)"
        if without != "mounts"
        else "write(os.environ['TMPDIR'] + '/x', os.O_WRONLY | os.O_CREAT)",
    )
    assert seen.status == 0, seen.said
    assert seen.found["make"] == OK
    assert seen.found["host"] in CLOSED
    assert seen.found["listing"] in CLOSED
    assert not Path("/tmp/new-by-sandrun").exists()


@pytest.mark.parametrize("without", ["", "landlock"])
def test_metadata_outside(who: Who, place: Path, without: str) -> None:
    """What Landlock does not know, chmod and its kin, the read-only tree refuses where the command may write elsewhere."""
    other = place / "outside/other"
    seen = see(
        who,
        place / "work",
        *ALL,
        *ALONE,
        *("--write", "."),
        without=without,
        chmod=f"os.chmod('{other}', 0o777)",
        chown=f"os.chown('{other}', {who.uid}, {who.gid})",
        utime=f"os.utime('{other}')",
        setxattr=f"os.setxattr('{other}', 'user.x', b'')",
        inside="os.utime('private')",
    )
    assert seen.found.pop("inside") == OK, seen.said
    assert set(seen.found.values()) == {"EROFS"}
    os.utime(place / "work/private", (1600000000, 1600000000))


# --- what is denied in a tree that can be written --------------------------------------------------------------------


@pytest.mark.parametrize("without", ["", "landlock"])
def test_deny_in_a_writable_tree(who: Who, place: Path, without: str) -> None:
    """A mask can neither be moved with a directory above it, removed, linked, nor changed; beside it all works."""
    seen = see(
        who,
        place / "work",
        *ALL,
        *ALONE,
        *("--write", ".", "--deny", "private/key", "--deny", "vault"),
        without=without,
        read="read('private/key')",
        read_in="read('vault/gold')",
        listing="listed('vault')",
        write="write('private/key')",
        truncate="os.truncate('private/key', 0)",
        make_in="write('vault/made', os.O_WRONLY | os.O_CREAT)",
        rename_parent="os.rename('private', 'new-public')",
        rename_file="os.rename('private/key', 'private/new-key')",
        rename_directory="os.rename('vault', 'new-vault')",
        rename_over="os.rename('a', 'private/key')",
        replace="os.rename('data', 'vault')",
        unlink="os.unlink('private/key')",
        rmdir="os.rmdir('vault')",
        link="os.link('private/key', 'new-key')",
        chmod="os.chmod('private/key', 0o777)",
        chmod_directory="os.chmod('vault', 0o777)",
        climb="read('private/deep/../key')",
        allowed_make="write('private/new', os.O_WRONLY | os.O_CREAT)",
        allowed_rename="os.rename('private/new', 'private/deep/new')",
    )
    assert seen.status == 0, seen.said
    assert (seen.found.pop("allowed_make"), seen.found.pop("allowed_rename")) == (OK, OK)
    for name in ("rename_parent", "rename_file", "rename_directory", "unlink", "rmdir"):
        assert seen.found.pop(name) == "EBUSY", name
    assert {name: answer for name, answer in seen.found.items() if answer not in CLOSED | PINNED | {"EINVAL"}} == {}
    os.utime(place / "work/private", (1600000000, 1600000000))
    os.utime(place / "work/private/deep", (1600000000, 1600000000))


@pytest.mark.parametrize("without", ["", "landlock"])
def test_deny_write_in_a_writable_tree(who: Who, place: Path, without: str) -> None:
    """What is never to be written can be read, and not be written by any name or with anything above it moved."""
    seen = see(
        who,
        place / "work",
        *ALL,
        *ALONE,
        *("--write", ".", "--deny-write", ".git/hooks", "--deny-write", "a"),
        without=without,
        write="write('a')",
        write_in="write('.git/hooks/pre')",
        make="write('.git/hooks/made', os.O_WRONLY | os.O_CREAT)",
        by_rename="os.rename('data/d', 'a')",
        into="os.rename('data/d', '.git/hooks/d')",
        out="os.rename('.git/hooks/pre', 'new-pre')",
        parent="os.rename('.git', 'new-git')",
        itself="os.rename('.git/hooks', '.git/new-hooks')",
        unlink="os.unlink('a')",
        by_link="os.link('a', 'new-a')",
        link_out="os.link('.git/hooks/pre', 'new-pre')",
        chmod="os.chmod('a', 0o777)",
        truncate="os.truncate('a', 0)",
        by_descriptor="os.open(f'/proc/self/fd/{os.open(\"a\", os.O_RDONLY)}', os.O_WRONLY)",
        read="read('a')",
        read_in="read('.git/hooks/pre')",
        allowed="write('.git/new', os.O_WRONLY | os.O_CREAT)",
    )
    assert seen.status == 0, seen.said
    assert [seen.found.pop(name) for name in ("read", "read_in", "allowed")] == ["a\n", "hook\n", OK]
    for name in ("parent", "itself", "unlink"):
        assert seen.found.pop(name) == "EBUSY", name
    assert {name: answer for name, answer in seen.found.items() if answer not in CLOSED | PINNED} == {}
    os.utime(place / "work/.git", (1600000000, 1600000000))


def test_a_mask_goes_with_its_file(who: Who, place: Path) -> None:
    """In a writable tree what a process outside renames over a masked file is open, so the record says it beforehand.

    The kernel takes away what is mounted on a name that goes in another mount namespace (rename(2) there gives no EBUSY).
    In a read-only tree Landlock grants nothing to the new file.
    """
    for words in (("--write", "."), ()):
        options = [*ALL, *ALONE, *words, "--deny", f"{place}/work/private/key"]
        dry = sandrun("-n", *options, "--", "true", who=who, cwd=place / "work", check=True)
        assert (f"note: {place}/work/private/key is open if a process outside" in dry.stdout) == bool(words)
        code = "import sys; print(1, flush=True); sys.stdin.read(); print(open('private/key').read())"
        argv = [*who.sandrun, "-q", *options, "--", need_program("python3"), "-I", "-S", "-c", code]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with who.popen(argv, cwd=place / "work", **pipes) as process:
            assert process.stdout is not None
            process.stdout.readline()
            who.run(["sh", "-euc", "cp -p key old; echo new >new; mv new key"], cwd=place / "work/private", check=True)
            out, said = process.communicate()
        who.run(["sh", "-euc", "mv old key; touch -d @1600000000 ."], cwd=place / "work/private", check=True)
        assert ("new\n" in out) == bool(words)
        assert ("Permission denied" in said) != bool(words)


def test_denied_in_a_home_that_is_hidden(who: Who) -> None:
    """Rules beside what is denied are made for what is seen: names of a hidden home around it are none."""
    for name in ("project/keep", "other"):
        (who.home / name).mkdir(parents=True)
    (who.home / "project/secret").write_text("secret")
    who.own(*who.home.rglob("*"))
    words = (*ALL, "--read", ".", "--home", "hidden", "--deny", "secret", "--write", "keep")
    seen = see(who, who.home / "project", *words, read="read('secret')", names="listed('.')", home="listed('..')")
    assert seen.found == {"read": "EACCES", "names": ["keep", "secret"], "home": ["project"]}, seen.said


def test_mounts_are_locked(who: Who, place: Path) -> None:
    """Without Landlock, which forbids to mount, a mount namespace of the command's own opens nothing: all is locked."""
    need_userns()
    seen = see(
        who,
        place / "work",
        *ALL,
        *ALONE,
        *("--write", ".", "--deny", "vault", "--deny-write", ".git"),
        without="landlock",
        unmount_outer="call('umount2', b'vault', 2)",
        unshare="call('unshare', 0x10020000)",
        unmount="call('umount2', b'vault', 2)",
        remount="call('mount', None, b'.git', None, 0x1020, None)",
        bind="call('mount', b'.', b'empty', None, 0x1000, None)",
        bind_all="call('mount', b'.', b'empty', None, 0x5000, None)",
        unmount_copy="call('umount2', b'empty/vault', 2)",
        remove="os.rmdir('vault')",
        rename="os.rename('.git', 'new-git')",
        write="write('.git/hooks/pre')",
        read="read('vault/gold')",
        read_copy="read('empty/vault/gold')",
        write_copy="write('empty/.git/hooks/pre')",
    )
    assert (seen.status, seen.said) == (0, "")
    assert [seen.found.pop(name) for name in ("unshare", "bind_all")] == [OK, OK]
    assert seen.found.pop("unmount_outer") == "EPERM"
    for name in ("unmount", "unmount_copy", "bind"):
        assert seen.found.pop(name) == "EINVAL", name
    assert {name: answer for name, answer in seen.found.items() if answer not in CLOSED | PINNED} == {}


def test_deny_of_what_is_absent(who: Who, place: Path) -> None:
    """A mask needs something to stand on: in a writable tree that is 125, in a read-only one there is nothing to fear."""
    refused = see(who, place / "work", *ALL, "--write", ".", "--deny", "absent", allowed="1")
    assert refused.status == 125
    assert "absent" in refused.said
    seen = see(who, place / "work", *ALL, "--deny", place / "outside/absent", "--write", "data", read="listed('.')")
    assert seen.status == 0, seen.said


# --- shown elsewhere -------------------------------------------------------------------------------------------------


def shown(place: Path, path: str, at: str, *access: str) -> tuple[str, ...]:
    """The words of a profile with one rule, which lies out of the command's way."""
    profile = place.parent / f"{place.name}.toml"
    rights = ", ".join(f'"{right}"' for right in access)
    profile.write_text(f'schema = 1\n[filesystem]\nrules = [{{path = "{path}", at = "{at}", access = [{rights}]}}]\n')
    profile.chmod(0o644)
    return "-p", str(profile), "--read", "/", "--execute", "/", *ALONE


READ = ("read_file", "read_dir")
WRITE = (*READ, "write_file", "make_reg", "truncate", "remove_file")


def test_directory_shown_elsewhere(who: Who, place: Path) -> None:
    """A directory stands over another one, read-only or to be written as its rule says; the host's stays what it is."""
    for access, answer in ((READ, "EROFS"), (WRITE, OK)):
        seen = see(
            who,
            place / "work",
            *shown(place, f"{place}/outside", f"{place}/work/empty", *access),
            read="read('empty/other')",
            write="write('empty/new', os.O_WRONLY | os.O_CREAT)",
        )
        assert seen.status == 0, seen.said
        assert (seen.found["read"], seen.found["write"]) == ("other\n", answer)
    assert (place / "outside/new").read_text() == "x"
    assert os.listdir(place / "work/empty") == []
    os.utime(place / "outside", (1600000000, 1600000000))


def test_file_shown_elsewhere(who: Who, place: Path) -> None:
    """A file stands over another file, and over nothing in a private place."""
    words = shown(place, f"{place}/outside/other", f"{place}/work/target", "read_file")
    seen = see(
        who, place / "work", *words, read="read('target')", write="write('target')", remove="os.unlink('target')"
    )
    assert seen.status == 0, seen.said
    assert seen.found.pop("read") == "other\n"
    assert set(seen.found.values()) <= CLOSED | PINNED
    words = shown(place, f"{place}/outside/other", "/var/tmp/deep/down", "read_file")
    seen = see(who, Path("/usr"), *words, "--tmp", "private", read="read('/var/tmp/deep/down')")
    assert seen.found == {"read": "other\n"}, seen.said
    assert not Path("/var/tmp/deep").exists()


def test_its_own_path_is_another_matter(who: Who, place: Path) -> None:
    """What is shown elsewhere cannot be changed at its own path; in a private place it is not even there."""
    words = shown(place, f"{place}/outside", f"{place}/work/empty", *WRITE)
    tries = {
        "there": f"write('{place}/work/empty/new', os.O_WRONLY | os.O_CREAT)",
        "read": f"read('{place}/outside/other')",
        "write": f"write('{place}/outside/more', os.O_WRONLY | os.O_CREAT)",
    }
    seen = see(who, place / "work", *words, **tries)
    assert seen.found == {"there": OK, "read": "other\n", "write": "EROFS"}, seen.said
    kept = who.home / "kept"
    who.run(["mkdir", kept], check=True)
    who.run(["sh", "-c", 'echo kept > "$1"/file', "sh", kept], check=True)
    words = shown(place, str(kept), f"{place}/work/empty", *READ)
    tries = {"there": f"read('{place}/work/empty/file')", "here": f"read('{kept}/file')"}
    seen = see(who, place / "work", *words, "--home", "hidden", **tries)
    assert seen.found == {"there": "kept\n", "here": "ENOENT"}, seen.said


def test_nothing_to_show_it_on(who: Who, place: Path) -> None:
    """No mount point is made on the host: 125 where none is, or one of another kind."""
    for at in ("work/absent", "work/target"):
        seen = see(who, place / "work", *shown(place, f"{place}/outside", f"{place}/{at}", *READ), read="1")
        assert seen.status == 125
        assert "nothing to mount on" in seen.said
    assert not (place / "work/absent").exists()


# --- between the plan and the launch ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("--write", "data"), "data"),
        (("--write", ".", "--deny", "vault"), "vault"),
        (("--write", ".", "--deny", "private/key"), "private"),
        (("--write", ".", "--deny-write", ".git/hooks"), ".git"),
    ],
    ids=["grant", "hole", "parent of a hole", "parent of a read-only place"],
)
@pytest.mark.parametrize("without", ["", "landlock"])
def test_symbolic_link_put_in_its_place(who: Who, place: Path, words: tuple[str, ...], path: str, without: str) -> None:
    """What was a directory when the plan was made is not followed as a link when it is executed: no command runs."""

    def exchange() -> None:
        os.rename(place / "work" / path, place / "work/aside")
        os.symlink(place / "outside", place / "work" / path)

    seen = see(who, place / "work", *ALL, *ALONE, *words, without=without, between=exchange, read="1")
    assert (seen.status, seen.found) == (125, {})
    assert "ELOOP" in seen.said or "symbolic link" in seen.said
    (place / "work" / path).unlink()
    os.rename(place / "work/aside", place / "work" / path)
