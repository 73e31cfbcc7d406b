"""The view: what is mounted where, in which order, and which Landlock rules then hold on what."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from sandrun.plan.format import MAY_VANISH
from sandrun.plan.view import Entry, Place, View
from sandrun.policy import guards
from sandrun.primitives import view
from sandrun.primitives.landlock import FS, READ, WRITE, fs_mask
from sandrun.primitives.view import DEVICES, OWNED, READ_ONLY, SEALED
from sandrun.profile.model import AccessRule, Endpoint
from sandrun.profile.paths import parse
from tests.fakes import debian_host, directory, file, link
from tests.unit.test_filesystem import KEY, PROJECT, messages, record, resolved, rules

if TYPE_CHECKING:
    from sandrun.plan.draft import Draft

HOME = "/home/alice"
NAMES = dict(enumerate(("tree", "bind", "tmpfs", "proc", "devpts", "overlay", "directory", "file", "symlink")))


def shown(draft: Draft) -> list[tuple[str, str, int]]:
    """Operation, path and flags of each record."""
    return [(NAMES[operation], os.fsdecode(path), flags) for operation, flags, path, _ in draft.fields["view"]]


def at(draft: Draft, path: str) -> list[tuple[str, int]]:
    """What is done at one path, in order."""
    return [(name, flags) for name, place, flags in shown(draft) if place == path]


def in_view(draft: Draft) -> dict[str, int]:
    return {os.fsdecode(path): access for access, _, path in draft.fields["view_rules"]}


def test_only_what_is_written_is_writable() -> None:
    """The host's tree is read-only without devices, and what is granted is shown writable on top of it."""
    draft = resolved(namespaces=True, write=[PROJECT], read=["/usr"])
    own_proc = ("proc", "/proc", READ_ONLY | view.NO_EXECUTE)
    assert shown(draft) == [("tree", "/", READ_ONLY), ("bind", PROJECT, 0), own_proc]
    assert draft.fields["cwd"] == PROJECT.encode()
    assert rules(draft) == {PROJECT: WRITE & fs_mask(7), "/usr": READ}


def test_nothing_is_mounted_for_what_needs_no_mount() -> None:
    """Reading alone is Landlock's, and no namespace is made for it."""
    draft = resolved(namespaces=True, read=["/usr"])
    assert "view" not in draft.fields
    assert "namespaces" not in draft.fields


def test_a_writable_root_stays_as_it_is() -> None:
    """What `/` grants for writing needs no mounts of its own."""
    draft = resolved(namespaces=True, write=["@all"], tmp="private")
    assert shown(draft)[0] == ("tree", "/", DEVICES)
    assert ("tmpfs", "/tmp", 0o1777) in shown(draft)


def test_private_places() -> None:
    """/tmp and home are replaced, what is granted in them is shown there on a mount point that is made for it."""
    draft = resolved(namespaces=True, write=["."], tmp="private", home="private")
    assert at(draft, "/tmp") == [("tmpfs", 0o1777)]
    assert at(draft, HOME) == [("tmpfs", 0o700 | OWNED)]
    assert at(draft, PROJECT) == [("directory", 0o755), ("bind", 0)]
    assert [place for _, place, _ in shown(draft)].index(HOME) < [place for _, place, _ in shown(draft)].index(PROJECT)
    assert in_view(draft)[HOME] == in_view(draft)["/tmp"]
    assert in_view(draft)[HOME] & WRITE & fs_mask(7) == WRITE & fs_mask(7)
    assert draft.fields["private_dirs"] == ()
    assert b"TMPDIR" in draft.fields["env_set"]
    assert "mount" in record(draft, "home").mechanisms


def test_a_hidden_home_is_empty_and_closed() -> None:
    """Sealed at the end, after the mount points in it; nothing is granted on it, and it has the directory to start in."""
    draft = resolved(namespaces=True, home="hidden", read=[f"{HOME}/.config?"])
    assert at(draft, HOME) == [("tmpfs", 0o755 | SEALED)]
    assert at(draft, PROJECT) == [("directory", 0o755 | OWNED)]
    assert HOME not in in_view(draft)


def test_a_place_that_is_granted_by_name_is_the_hosts() -> None:
    """As without a mount namespace."""
    draft = resolved(namespaces=True, write=["/tmp"], tmp="private")
    assert at(draft, "/tmp") == [("bind", 0)]
    assert any("is the host's" in note for note in record(draft, "tmp").notes)


def test_a_denied_file_and_directory_are_covered() -> None:
    """Inside a writable tree, and nothing of the tree is lost for it; the directories above cannot be moved away."""
    host = debian_host(tree={f"{PROJECT}/a/secret": file(), f"{PROJECT}/a/b/more": file()})
    draft = resolved(host, namespaces=True, write=[PROJECT], deny=[f"{PROJECT}/a/secret", f"{PROJECT}/a/b"])
    assert not draft.problems
    assert at(draft, f"{PROJECT}/a") == [("bind", 0)], "pinned"
    assert at(draft, f"{PROJECT}/a/secret") == [("bind", READ_ONLY)]
    assert at(draft, f"{PROJECT}/a/b") == [("tmpfs", READ_ONLY)]
    (source,) = [source for _, _, path, source in draft.fields["view"] if path.endswith(b"secret")]
    assert source == b"/dev/null"
    assert rules(draft) == {PROJECT: WRITE & fs_mask(7)}
    assert {"landlock", "mount"} <= set(record(draft, "deny").mechanisms)


def test_no_ways_around_what_mounts_cover() -> None:
    """With CAP_DAC_READ_SEARCH open_by_handle_at(2) would open what lies below a mount."""

    def refused(permitted: int, **keys: list[str]) -> bool:
        draft = resolved(namespaces=True, permitted=permitted, **keys)
        return guards.file_handles() in draft.guards

    read_search, chown, admin = 1 << 2, 1 << 0, 1 << 21
    draft = resolved(namespaces=True, permitted=admin, write=[PROJECT], deny=[KEY])
    assert set(guards.mounts()) <= set(draft.guards), "which copy and change mounts"
    assert refused(read_search, write=[PROJECT], deny=[KEY])
    assert not refused(chown, write=[PROJECT], deny=[KEY])
    assert not refused(read_search, read=["/usr"])


def test_an_absent_denial_cannot_be_covered() -> None:
    """Nothing is made on the host to mount on: without another way it is 125."""
    draft = resolved(namespaces=True, write=[PROJECT], deny=[f"{PROJECT}/later"])
    assert "lies in a writable tree" in messages(draft)


def test_a_grant_inside_a_denial_stays_closed() -> None:
    """A denial wins over every grant, whatever the order."""
    host = debian_host(tree={f"{PROJECT}/a/b": directory()})
    draft = resolved(host, namespaces=True, write=[PROJECT, f"{PROJECT}/a/b"], deny=[f"{PROJECT}/a"])
    assert at(draft, f"{PROJECT}/a") == [("tmpfs", READ_ONLY)]
    assert at(draft, f"{PROJECT}/a/b") == []


def test_a_denial_brings_nothing_of_the_host_back() -> None:
    """Directories are pinned before what is shown in them, which they would cover."""
    host = debian_host(tree={f"{PROJECT}/a/b": directory(), f"{PROJECT}/a/c": directory()})
    draft = resolved(host, namespaces=True, write=[PROJECT], overlay=[f"{PROJECT}/a/b"], deny=[f"{PROJECT}/a/c"])
    assert [place for _, place, _ in shown(draft)] == [
        "/",
        PROJECT,
        f"{PROJECT}/a",
        f"{PROJECT}/a/b",
        f"{PROJECT}/a/c",
        "/proc",
    ]


def test_deny_write_is_read_only() -> None:
    """The tree stays visible; what is granted for writing inside it is not written either."""
    host = debian_host(tree={f"{PROJECT}/.git/hooks/x": file(), f"{PROJECT}/.git/hooks/d": directory()})
    hooks = f"{PROJECT}/.git/hooks"
    draft = resolved(host, namespaces=True, write=[PROJECT, f"{hooks}/d"], deny_write=[hooks])
    assert at(draft, f"{PROJECT}/.git") == [("bind", 0)], "pinned"
    assert at(draft, hooks) == [("bind", READ_ONLY)]
    assert at(draft, f"{hooks}/d") == []
    assert not draft.problems


def test_minimal_devices() -> None:
    """/dev is made anew: the usual devices, terminals and shared memory of its own."""
    draft = resolved(namespaces=True, dev="minimal")
    assert at(draft, "/dev") == [("tmpfs", 0o755)]
    assert at(draft, "/dev/null") == [("file", 0o600), ("bind", DEVICES)]
    assert at(draft, "/dev/pts") == [("directory", 0o755), ("devpts", 0)]
    assert at(draft, "/dev/ptmx") == [("symlink", 0)]
    assert in_view(draft)["/dev"] == FS["read_dir"]


def test_devices_work_only_where_granted() -> None:
    """The tree has none; each that is granted is shown with device files at work."""
    draft = resolved(namespaces=True, write=["@devices", PROJECT])
    assert at(draft, "/dev/null") == [("bind", DEVICES)]
    assert shown(draft)[0] == ("tree", "/", READ_ONLY)


def test_own_proc_is_granted_in_the_view() -> None:
    """The host's /proc gets no rule, and what is granted below it means the new one."""
    draft = resolved(namespaces=True, proc="own", write=[PROJECT])
    assert in_view(draft) == {"/proc": READ}
    assert "/proc" not in rules(draft)
    assert record(draft, "proc").state == "enforced"


def test_shown_elsewhere() -> None:
    """`at` mounts on what is there, or in a place of its own; on nothing it is a problem."""
    host = debian_host(tree={"/data/x": file(), "/mnt": directory()})

    def rule(target: str) -> AccessRule:
        return AccessRule(parse("/data"), ("read_file", "read_dir"), target)

    draft = resolved(host, namespaces=True, rules=[rule("/mnt")])
    assert at(draft, "/mnt") == [("bind", READ_ONLY)]
    draft = resolved(host, namespaces=True, tmp="private", rules=[rule("/tmp/x/y")])
    assert at(draft, "/tmp/x/y") == [("directory", 0o755), ("bind", READ_ONLY)]
    assert "nothing to mount on" in messages(resolved(host, namespaces=True, rules=[rule("/mnt/absent")]))
    assert "mount namespace" in messages(resolved(host, rules=[rule("/mnt")]))


def test_nothing_is_shown_at_the_root() -> None:
    """Not by a link either, which a command could have made: the host's tree would be as writable as what is shown."""
    host = debian_host(tree={"/data/x": file(), f"{PROJECT}/mnt": link("/")})
    for target in ("/", "//", "/..", f"{PROJECT}/mnt"):
        rule = AccessRule(parse("/data"), ("read_dir", "write_file"), target)
        draft = resolved(host, namespaces=True, rules=[rule])
        assert messages(draft) == f"nothing can be shown at the root: {target}"
        assert at(draft, "/") == [("tree", READ_ONLY)]


def test_places_are_not_shown_elsewhere() -> None:
    """The host's home and processes are not to be seen by another name, unless a rule names them outright."""
    host = debian_host(tree={"/mnt": directory()})

    def draft(path: str, **keys: object) -> Draft:
        rule = AccessRule(parse(path), ("read_file", "read_dir"), "/mnt")
        return resolved(host, namespaces=True, rules=[rule], **keys)

    assert f"/mnt shows the host's own {HOME} too" in messages(draft("/home", home="private"))
    assert "/mnt shows the host's own /proc too" in messages(draft("/", proc="own"))
    assert messages(draft("/", proc="own", optional=["rules"])) == messages(draft("/home")) == ""
    assert record(draft("/proc", proc="own"), "rules").notes == ("/mnt shows the host's own /proc",)
    assert at(draft("/proc", proc="own"), "/proc") == [("proc", READ_ONLY | view.NO_EXECUTE)]
    assert at(draft("/tmp", tmp="private"), "/tmp") == [("tmpfs", 0o1777)]
    assert messages(draft(PROJECT, home="private")) == "", "in a place"


def test_a_group_is_not_shown_elsewhere() -> None:
    """It has no one place, and to leave `at` out in silence would grant it where it is."""
    rule = AccessRule(parse("@tmp"), ("read_file",), "/mnt")
    told = messages(resolved(debian_host(tree={"/mnt": directory()}), namespaces=True, rules=[rule]))
    assert told == "a group has no one place: @tmp cannot be shown at /mnt"


def test_what_is_shown_elsewhere_is_not_shown_at_its_own_path() -> None:
    """In a hidden home it stays unseen there, and in the host's tree read-only; its rule is made before the home goes."""
    host = debian_host(tree={f"{PROJECT}/x": file(), "/mnt": directory(), "/srv/b": directory()})
    kept = ("read_file", "read_dir", "write_file")
    elsewhere = [AccessRule(parse(path), kept, target) for path, target in ((PROJECT, "/mnt"), ("/srv/b", "/opt"))]
    draft = resolved(host, namespaces=True, home="hidden", rules=elsewhere, read=["/usr"], write=["/var/tmp"])
    assert at(draft, "/mnt") == at(draft, "/opt") == [("bind", 0)]
    assert at(draft, "/srv/b") == []
    assert at(draft, PROJECT) == [("directory", 0o755 | OWNED)], "to start in"
    assert {PROJECT, "/srv/b"} <= rules(draft).keys()
    (again,) = [kind for _, kind, path in draft.fields["view_rules"] if path == PROJECT.encode()]
    assert again & MAY_VANISH
    draft = resolved(host, namespaces=True, home="hidden", rules=elsewhere, read=[PROJECT])
    assert at(draft, PROJECT) == [("directory", 0o755), ("bind", READ_ONLY)], "granted by its own name too"


def test_overlays_take_what_is_granted_below_them() -> None:
    """Changes go to the workspace even where the directory is granted; other overlays have other numbers."""
    host = debian_host(tree={f"{PROJECT}/sub/x": file(), "/srv/b": directory()})
    draft = resolved(host, namespaces=True, write=[PROJECT, f"{PROJECT}/sub"], overlay=[PROJECT, "/srv/b"])
    assert at(draft, PROJECT) == [("overlay", 0)]
    assert at(draft, f"{PROJECT}/sub") == []
    assert {source for operation, _, _, source in draft.fields["view"] if operation == view.VIEW_OVERLAY} == {
        b"0",
        b"1",
    }
    assert in_view(draft)[PROJECT] & WRITE & fs_mask(7) == WRITE & fs_mask(7)
    assert PROJECT not in rules(draft)
    assert "lie in each other" in messages(resolved(host, namespaces=True, overlay=[PROJECT, f"{PROJECT}/sub"]))


def test_an_overlay_keeps_its_name() -> None:
    """A writable directory above it cannot be moved away, and another one made whose changes go to no workspace."""
    host = debian_host(tree={f"{PROJECT}/a/b": directory()})
    draft = resolved(host, namespaces=True, write=[PROJECT], overlay=[f"{PROJECT}/a/b"])
    assert [(name, place) for name, place, _ in shown(draft) if place.startswith(f"{PROJECT}/")] == [
        ("bind", f"{PROJECT}/a"),
        ("overlay", f"{PROJECT}/a/b"),
    ]


def test_denials_in_an_overlay() -> None:
    """What is there is covered; what is absent could be made and committed, so that is a problem."""
    host = debian_host(tree={f"{PROJECT}/hooks/old": file()})
    draft = resolved(host, namespaces=True, overlay=[PROJECT], deny_write=[f"{PROJECT}/hooks/old"])
    assert at(draft, f"{PROJECT}/hooks/old") == [("bind", READ_ONLY)]
    assert not draft.problems
    for key in ("deny", "deny_write"):
        draft = resolved(host, namespaces=True, overlay=[PROJECT], **{key: [f"{PROJECT}/hooks/new"]})
        assert "lies in the overlay" in messages(draft)


def test_an_overlay_below_a_denial() -> None:
    """It would be covered, or a commit would write what is kept read-only: refused, with what denies it."""
    host = debian_host(tree={f"{PROJECT}/sub/deep/x": file(), "/srv/b": directory()})
    for key, what in (("deny", "denied"), ("deny_write", "kept read-only")):
        for denied in (PROJECT, f"{PROJECT}/sub", f"{PROJECT}/sub/deep"):
            words = {"overlay": ["/srv/b", f"{PROJECT}/sub/deep"], key: [denied]}
            assert messages(resolved(host, namespaces=True, **words)) == (
                f"cannot overlay {PROJECT}/sub/deep: {denied} is {what} (filesystem.{key})"
            )
    assert resolved(host, namespaces=True, overlay=[f"{PROJECT}/sub"], deny=["/srv/b"]).problems == []


def test_private_places_give_what_a_rule_withholds() -> None:
    """Landlock's rule on a private place holds for all that is shown in it, so a finer rule there is no promise."""
    host = debian_host(tree={f"{HOME}/log/old": file(), "/data/x": file(), "/mnt": directory()})

    def told(*access: str, path: str = f"{HOME}/log", target: str = "", **keys: object) -> str:
        return messages(resolved(host, namespaces=True, rules=[AccessRule(parse(path), access, target)], **keys))

    few = ("read_dir", "make_reg")
    lost = told(*few, home="private")
    assert lost.startswith(f"{HOME}/log lies in {HOME}, a place of the command's own, which gives it more rights: ")
    assert "remove_file" in lost
    assert "ioctl_dev" not in lost
    assert told(*few, home="hidden") == told(*few, home="private", optional=["rules"]) == ""
    assert told(*few, home="private", write=[f"{HOME}/log"]) == "", "granted as well"
    assert told("read_dir", home="private").endswith("more rights: execute, read_file"), "the mount is read-only"
    assert "remove_file" in told(*few, path="/data", target="/tmp/x", tmp="private")
    assert told(*few, path="/data", target="/mnt", tmp="private") == ""
    assert told("read_file", path="/data/x", target="/tmp/x", tmp="private") == "", "read_dir means nothing to a file"
    rule = AccessRule(parse("/data"), ("read_file", "read_dir"), "/tmp/x")
    notes = record(resolved(host, namespaces=True, rules=[rule], tmp="private"), "rules").notes
    assert notes == ("/tmp/x lies in /tmp, and what is in it can be executed",)


def test_denials_hold_below_what_is_not_seen() -> None:
    """Nothing covers a denied directory in a private place; what is granted below it is not shown there, or not to be written."""
    secret = f"{PROJECT}/secret"
    host = debian_host(
        tree={f"{secret}/key": file(), "/tmp/x/key": file(), "/tmp/x/dir": directory(), "/data/x": file()}
    )

    def steps(path: str, **keys: object) -> list[tuple[str, int]]:
        return at(resolved(host, namespaces=True, tmp="private", home="private", **keys), path)

    assert steps(f"{secret}/key", read=[f"{secret}/key"])
    for deny in (secret, HOME):
        assert steps(f"{secret}/key", read=[f"{secret}/key"], deny=[deny]) == []
        assert steps(f"{secret}/key", write=[f"{secret}/key"], deny=[deny]) == []
    assert steps("/tmp/x/key", write=["/tmp/x/key"], deny=["/tmp"]) == []
    absent = {"create": ["/tmp/new/a/"], "deny": ["/tmp/new"]}
    assert steps("/tmp/new/a", **absent) == []
    rule = AccessRule(parse("/data/x"), ("read_file",), "/tmp/x/at")
    assert steps("/tmp/x/at", rules=[rule], deny=["/tmp/x"]) == []
    for path in ("/tmp/x/key", "/tmp/x/dir"):
        assert ("bind", READ_ONLY) in steps(path, write=[path], deny_write=["/tmp/x"])
        assert ("bind", 0) in steps(path, write=[path])
    assert steps(PROJECT, deny_write=[PROJECT]) == [("directory", 0o755 | OWNED)], "the command starts there"


def test_nothing_is_mounted_on_the_root() -> None:
    """A read-only mount on top of it would show by `..` what is denied below it."""
    draft = resolved(
        debian_host(tree={"/data/x": file()}), namespaces=True, write=["/"], deny_write=["/"], deny=["/data/x"]
    )
    assert at(draft, "/") == [("tree", READ_ONLY | DEVICES)]
    assert at(draft, "/data/x") == [("bind", READ_ONLY)]


def test_a_right_that_means_nothing_on_a_file_opens_no_mode() -> None:
    """A file is shown to be written only with a right that lets it be written."""
    host = debian_host(tree={"/data/x": file(), "/mnt/x": file()})
    for access, flags in ((("execute", "make_reg"), READ_ONLY), (("execute", "truncate"), 0)):
        rule = AccessRule(parse("/data/x"), access, "/mnt/x")
        assert at(resolved(host, namespaces=True, rules=[rule]), "/mnt/x") == [("bind", flags)]


def test_absent_denials_in_private_places() -> None:
    """What appears there later would be read by the rights of the place, and nothing can be mounted on it yet."""
    host = debian_host(tree={"/data/x": file(), "/srv/b": directory()})
    told = messages(resolved(host, namespaces=True, home="private", read=[PROJECT], deny=[f"{PROJECT}/.absent"]))
    assert told.startswith(f"{PROJECT}/.absent lies in {HOME}, a place of the command's own, and nothing is there")
    for deny in (f"{PROJECT}/.absent?", f"{HOME}/other", "/srv/b/.absent"):
        assert messages(resolved(host, namespaces=True, home="private", read=[PROJECT, "/srv/b"], deny=[deny])) == ""
    assert messages(resolved(host, namespaces=True, home="hidden", read=[PROJECT], deny=[f"{PROJECT}/.absent"])) == ""


def test_nothing_is_shown_in_an_overlay() -> None:
    """Neither inside of it, where nobody would see it, nor around it, where it would hide the tree."""
    host = debian_host(tree={"/data/x": file(), f"{PROJECT}/sub/in": directory(), "/srv/b": directory()})
    for target in (PROJECT, f"{PROJECT}/sub", f"{PROJECT}/sub/in"):
        rule = AccessRule(parse("/data"), ("read_file", "read_dir"), target)
        told = messages(resolved(host, namespaces=True, overlay=[f"{PROJECT}/sub"], rules=[rule]))
        assert told == f"cannot show anything at {target}: it and the overlay {PROJECT}/sub lie in each other"
    rule = AccessRule(parse("/data"), ("read_file", "read_dir"), "/srv/b")
    assert resolved(host, namespaces=True, overlay=[f"{PROJECT}/sub"], rules=[rule]).problems == []


def test_an_overlay_shows_no_place() -> None:
    """Around a private home or temporary directory it would show the host's, since it is all there is below its path."""
    host = debian_host(tree={"/var/tmp": directory(0o1777)})
    told = messages(resolved(host, namespaces=True, overlay=["/home"], home="private"))
    assert told == f"cannot overlay /home: {HOME} in it is a place of the command's own"
    assert "/var/tmp in it" in messages(resolved(host, namespaces=True, overlay=["/var"], tmp="private"))
    assert "nothing of the host's is there" in messages(resolved(host, namespaces=True, overlay=[HOME], home="hidden"))
    assert messages(resolved(host, namespaces=True, overlay=[PROJECT], home="private", tmp="private")) == ""
    assert "in it is a place" not in messages(resolved(host, namespaces=True, overlay=["/home"]))


def test_links_and_overlays() -> None:
    """A link that a command could have made chooses no overlay, and one that could have been committed no grant."""
    host = debian_host(tree={f"{PROJECT}/build": link("/srv/keys"), "/srv/keys/id": file()})
    planted = f"{PROJECT}/build is a link to /srv/keys that a command in this sandbox could have made"
    assert planted in messages(resolved(host, namespaces=True, write=[PROJECT], overlay=[f"{PROJECT}/build"]))
    assert planted in messages(resolved(host, namespaces=True, overlay=[PROJECT], read=[f"{PROJECT}/build"]))
    assert resolved(host, namespaces=True, overlay=[f"{PROJECT}/build"]).problems == []
    assert resolved(host, namespaces=True, overlay=[PROJECT], read=["/srv/keys"]).problems == []


def test_what_the_next_launch_trusts() -> None:
    """The virtual environment inside a writable project is read-only; without mounts the launch is refused."""
    host = debian_host(tree={f"{PROJECT}/.venv/bin/x": file()})
    host.code = (f"{PROJECT}/.venv",)
    draft = resolved(host, namespaces=True, write=[PROJECT])
    assert at(draft, f"{PROJECT}/.venv") == [("bind", READ_ONLY)]
    assert not draft.problems
    assert "the next launch of sandrun trusts" in messages(resolved(host, write=[PROJECT]))
    assert resolved(host, write=["@all"]).problems == []


def test_a_shared_place_that_holds_sandrun_says_how_to_protect_it() -> None:
    """`tmp = "host"` alone asks for no view, also where one can be had: the hint says what does."""
    host = debian_host(tree={"/tmp/sandrun/x": file()})
    host.code = ("/tmp/sandrun",)
    (problem,) = resolved(host, namespaces=True, tmp="host").problems
    assert "mount namespace, which nothing here asks for" in problem.message
    assert (problem.hint or "").startswith("--isolate true asks for one; or grant less")
    (problem,) = resolved(host, write=["/tmp"]).problems
    assert (problem.hint or "").startswith("grant less"), "here none can be had"
    assert resolved(host, namespaces=True, write=["/tmp"]).problems == []


def test_a_commit_plants_nothing_that_is_trusted() -> None:
    """An overlay is a way to write what the next launch trusts, once it is committed."""
    host = debian_host(tree={f"{PROJECT}/.venv/bin/x": file()})
    host.code = (f"{PROJECT}/.venv",)
    draft = resolved(host, namespaces=True, overlay=[PROJECT])
    assert at(draft, f"{PROJECT}/.venv") == [("bind", READ_ONLY)]
    assert not draft.problems
    assert "planted" in messages(resolved(host, namespaces=True, overlay=[HOME]))


def test_a_grant_inside_what_is_trusted() -> None:
    """Started where profiles are looked for, `.` would let the command write the next one: nothing is left to protect."""
    profiles = f"{HOME}/.config/sandrun/profiles"
    host = debian_host(tree={f"{profiles}/x.toml": file()})
    for ways in ({"write": [profiles]}, {"overlay": [profiles]}, {"create": [f"{profiles}/new.toml"]}):
        assert "may be written, which the next launch of sandrun trusts" in messages(
            resolved(host, namespaces=True, **ways)
        )
    assert resolved(host, namespaces=True, read=[profiles]).problems == []


def test_links_to_what_is_trusted() -> None:
    """No mount keeps a link from being replaced; a link inside what is protected needs none."""
    state = f"{HOME}/.local/state/sandrun"
    tree = {
        f"{HOME}/dotfiles/sandrun": directory(),
        state: directory(),
        f"{HOME}/.config/sandrun": link("../dotfiles/sandrun"),
    }
    host = debian_host(tree=tree)
    assert f"{HOME}/.config/sandrun, a link to what" in messages(resolved(host, namespaces=True, write=[HOME]))
    assert resolved(host, namespaces=True, write=[PROJECT]).problems == []
    tree = {state: directory(), f"{HOME}/.config": link("dots"), f"{HOME}/dots/sandrun": directory()}
    assert f"{HOME}/.config, a link to what" in messages(
        resolved(debian_host(tree=tree), namespaces=True, write=[HOME])
    )
    host = debian_host(tree={f"{PROJECT}/.venv/lib": directory(), f"{PROJECT}/.venv/lib64": link("lib")})
    host.code = (f"{PROJECT}/.venv", f"{PROJECT}/.venv/lib64")
    assert resolved(host, namespaces=True, write=[PROJECT]).problems == []


@pytest.mark.parametrize("variable", ["HOME", "XDG_STATE_HOME", "SANDRUN_CACHE"])
def test_the_place_of_plans_is_trusted_whatever_the_variables_say(variable: str) -> None:
    """Plans are looked for below the home of passwd(5), also when another place is named for all else."""
    host = debian_host(tree={f"{HOME}/.local/state/sandrun/plans": directory(), f"{HOME}/.config/sandrun": directory()})
    host.environ = {**host.environ, variable: "/srv/elsewhere"}
    draft = resolved(host, namespaces=True, write=[f"{HOME}/.local"])
    assert at(draft, f"{HOME}/.local/state/sandrun") == [("bind", READ_ONLY)], messages(draft)


@pytest.mark.parametrize("below", [".config", ".local/state"])
@pytest.mark.parametrize("home", [HOME, "/srv/alice"])
@pytest.mark.parametrize("variables", [(), ("HOME",), ("XDG_CONFIG_HOME", "XDG_STATE_HOME")])
def test_both_homes_are_trusted_whatever_the_variables_say(below: str, home: str, variables: tuple[str, ...]) -> None:
    """The one that getpwuid(3) finds and the one in passwd(5), below which plans are looked for: the next launch may have
    other variables, or none."""
    accounts = file(b"+a:x:1000:1000::/no:\nalice:x:1000:1000::/srv/alice:/bin/sh\n")
    places = {
        f"{at}/{inner}/sandrun": directory() for at in (HOME, "/srv/alice") for inner in (".config", ".local/state")
    }
    host = debian_host(tree={"/etc/passwd": accounts, **places})
    host.environ = {**host.environ, **dict.fromkeys(variables, "/srv/elsewhere")}
    draft = resolved(host, namespaces=True, write=[f"{home}/{below}"])
    assert at(draft, f"{home}/{below}/sandrun") == [("bind", READ_ONLY)], messages(draft)
    assert not draft.problems


def test_where_the_variables_lead_is_trusted_too() -> None:
    """This launch looks there."""
    host = debian_host(tree={"/srv/elsewhere/sandrun": directory()})
    host.environ = {**host.environ, "XDG_CONFIG_HOME": "/srv/elsewhere"}
    draft = resolved(host, namespaces=True, write=["/srv/elsewhere"])
    assert at(draft, "/srv/elsewhere/sandrun") == [("bind", READ_ONLY)], messages(draft)


def test_profiles_that_could_be_planted() -> None:
    """A writable home without a directory for profiles could get one: make it first, so that it can be protected."""
    draft = resolved(namespaces=True, write=[HOME])
    assert "planted" in messages(draft)
    assert f"mkdir -p {HOME}/.config/sandrun {HOME}/.local/state/sandrun" in (draft.problems[0].hint or "")
    host = debian_host(tree={f"{HOME}/.config/sandrun": directory(), f"{HOME}/.local/state/sandrun": directory()})
    draft = resolved(host, namespaces=True, write=[HOME])
    assert at(draft, f"{HOME}/.config/sandrun") == [("bind", READ_ONLY)]
    assert not draft.problems


def test_a_landlock_free_kernel_keeps_what_mounts_keep() -> None:
    """Reading and executing are lost, hidden places and writing are not."""
    draft = resolved(namespaces=True, abi=0, state="missing", write=[PROJECT], deny=[KEY], home="private")
    lost = {problem.message.split(" ")[0] for problem in draft.problems}
    assert lost == {"filesystem.read", "filesystem.execute"}


def test_settings_of_ssh_that_are_denied_are_not_copied() -> None:
    """In a user namespace the copies make ssh(1) work; what is denied is in none, by no name."""
    folder, secret = "/etc/ssh/ssh_config.d", "/etc/secret.conf"

    def copied(*deny: str) -> list[str]:
        tree = {f"{folder}/a.conf": file(b"a"), f"{folder}/b.conf": link(secret), secret: file(b"b")}
        network: dict[str, Any] = {"network.connect": [Endpoint("tcp:443", "any", "tcp")]}
        host = debian_host(tree=tree)
        draft = resolved(host, namespaces=True, read=["/etc"], write=[PROJECT], deny=deny, **network)
        assert not draft.problems
        return [place for name, place, _ in shown(draft) if name == "file" and place.startswith(folder)]

    assert copied() == [f"{folder}/a.conf", f"{folder}/b.conf"]
    assert copied("/etc/ssh") == copied(folder) == []
    assert copied(f"{folder}/a.conf") == [f"{folder}/b.conf"]
    assert copied(secret) == [f"{folder}/a.conf"]


def test_nothing_is_made_in_a_place_that_an_overlay_took() -> None:
    """It would be made in the upper directory, as a change of the command's."""
    built = View(debian_host(), writable=False)
    built.place(Place("/etc/ssh", view.VIEW_OVERLAY, 0))
    built.entry(Entry("/etc/ssh/a.conf", view.VIEW_FILE, 0o644))
    assert [operation for operation, _, _, _ in built.records()] == [view.VIEW_TREE, view.VIEW_OVERLAY]
