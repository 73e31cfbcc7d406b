"""filesystem: a profile's file keys → rules, holes, guards and the record, for every ABI on one machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sandrun.errors import CommandError
from sandrun.kernel import NAMESPACES, Kernel
from sandrun.plan.draft import LOST, PARTIAL, Draft, Protection
from sandrun.plan.filesystem import allowed, resolve_filesystem
from sandrun.plan.format import KIND_DIRECTORY, KIND_FILE
from sandrun.policy import guards
from sandrun.primitives.landlock import EXECUTE, FS, READ, WRITE, fs_mask
from sandrun.profile.model import COMMAND_LINE, AccessRule, Origin, Profile, Value
from sandrun.profile.paths import parse
from tests.fakes import ALICE, FakeHost, debian_host, device, directory, elf, file, hard, link, program

if TYPE_CHECKING:
    from collections.abc import Sequence

ABIS = (1, 2, 3, 4, 5, 6, 7, 9, 10)
PROJECT = "/home/alice/project"
KEY = "/home/alice/.ssh/id_ed25519"
WORDS = ("tmp", "home", "proc", "dev")


def resolved(
    host: FakeHost | None = None,
    *,
    abi: int = 7,
    argv: Sequence[str] = ("/usr/bin/busybox",),
    optional: Sequence[str] = (),
    state: str = "available",
    namespaces: bool = False,
    permitted: int = 0,
    **keys: object,
) -> Draft:
    """The draft for a command without interpreter or libraries, run by alice in her project."""
    host = host or debian_host()
    values = {}
    for name, written in keys.items():
        key = name if "." in name else f"filesystem.{name}"
        origin = Origin(COMMAND_LINE, "--" + name.replace("_", "-"))
        if isinstance(written, str):
            values[key] = (Value(written, origin),)
        else:
            values[key] = tuple(Value(parse(e) if isinstance(e, str) else e, origin) for e in written)  # type: ignore[attr-defined]
    draft = Draft(Profile("test", values=values, optional_flags=frozenset(f"filesystem.{name}" for name in optional)))
    draft.fields.update(env_set=(), env_pass=(b"PATH",), **({"permitted": permitted} if permitted else {}))
    kernel = Kernel(
        landlock_abi=abi,
        landlock_state=state,
        namespace_reason="not here",
        capabilities=(1 << 21 | permitted) if permitted else 0,  # CAP_SYS_ADMIN: root needs no user namespace
        **dict.fromkeys(NAMESPACES, namespaces),
    )
    resolve_filesystem(draft, kernel, host, argv, host.account(host.uid))
    return draft


def rules(draft: Draft) -> dict[str, int]:
    return {os.fsdecode(path): access for access, _, path in draft.fields.get("path_rules", ())}


def record(draft: Draft, name: str) -> Protection:
    (found,) = [protection for protection in draft.protections if protection.key == f"filesystem.{name}"]
    return found


def messages(draft: Draft) -> str:
    return "\n".join(problem.message for problem in draft.problems)


# --- grants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", ABIS)
def test_every_right_of_the_abi_is_handled(abi: int) -> None:
    """An empty profile grants nothing and handles everything, so everything is refused; that is said beforehand."""
    draft = resolved(abi=abi)
    assert draft.fields["landlock_fs"] == fs_mask(abi)
    assert draft.fields["path_rules"] == ()
    assert draft.problems == []
    assert [record(draft, name).mechanisms[0] for name in ("read", "write", "execute")] == ["landlock"] * 3
    assert draft.warnings == [
        "the command will not start: no rule lets it execute /usr/bin/busybox: add --execute /usr/bin/busybox"
    ]


@pytest.mark.parametrize("abi", ABIS)
def test_rules_carry_only_what_the_abi_and_the_kind_know(abi: int) -> None:
    """Anything else would be EINVAL in the kernel."""
    draft = resolved(abi=abi, read=["/etc/hosts"], write=["src"], execute=["/usr"])
    for access, kind, path in draft.fields["path_rules"]:
        assert access
        assert not access & ~fs_mask(abi)
        assert kind == (KIND_FILE if path == b"/etc/hosts" else KIND_DIRECTORY)
    found = rules(draft)
    assert found["/etc/hosts"] == FS["read_file"]
    assert found[f"{PROJECT}/src"] == WRITE & fs_mask(abi)
    assert found["/usr"] == EXECUTE


def test_grants_follow_links_and_add_up() -> None:
    """A granted link grants its target; two grants of one place are one rule; needless rules are left out."""
    host = debian_host(tree={"/srv/link": link("/opt")})
    draft = resolved(host, read=["/srv/link", "/opt", "/usr", "/usr/bin"], execute=["/opt"])
    assert rules(draft) == {"/opt": EXECUTE, "/usr": READ}


def test_an_absent_grant_is_an_error_unless_it_ends_in_a_question_mark() -> None:
    """With the entry's own place, all of them at once; wildcards that match nothing too."""
    draft = resolved(read=["/absent", "/gone?", "/opt/*.x", "/opt/*.y?"], write=["/none"])
    assert messages(draft) == "not found: /absent\nnothing matches /opt/*.x\nnot found: /none"
    assert [problem.where for problem in draft.problems] == ["--read", "--read", "--write"]
    assert "create" in (draft.problems[2].hint or "")


def test_a_final_slash_wants_a_directory() -> None:
    """`/etc/hosts/` is no directory."""
    assert messages(resolved(read=["/etc/hosts/"])) == "not a directory: /etc/hosts"


def test_problems_of_expansion_are_collected() -> None:
    """An unset variable does not hide the next problem."""
    draft = resolved(read=["${UNSET}/x", "/absent"])
    assert len(draft.problems) == 2
    assert "UNSET" in draft.problems[0].message


def test_create_plans_what_is_absent() -> None:
    """A final slash makes a directory with parents, else an empty file; what exists is granted as it is."""
    draft = resolved(create=["out/deep/", "log", "src"])
    assert draft.fields["create"] == (f"{PROJECT}/log".encode(), f"{PROJECT}/out/deep/".encode())
    kinds = {path: kind for _, kind, path in draft.fields.get("path_rules", ())}
    assert kinds[f"{PROJECT}/out/deep".encode()] == KIND_DIRECTORY
    assert kinds[f"{PROJECT}/log".encode()] == KIND_FILE
    assert rules(draft)[f"{PROJECT}/src"] == WRITE & fs_mask(7)
    assert record(draft, "create").notes


def test_create_of_a_file_wants_its_directory() -> None:
    """Only a final slash makes parents."""
    draft = resolved(create=["no/such/log"])
    assert messages(draft) == f"cannot create {PROJECT}/no/such/log: its directory is absent"


@pytest.mark.parametrize("cwd", ["/", "/home", "/home/alice", "/root"])
@pytest.mark.parametrize("text", [".", "./", "./."])
def test_dot_in_a_home_is_refused(cwd: str, text: str) -> None:
    """Somebody's home, or above: refused with a hint; naming it is allowed."""
    draft = resolved(debian_host(cwd=cwd), write=[text])
    assert "would grant all of" in messages(draft)
    assert cwd in (draft.problems[0].hint or "")
    assert not resolved(debian_host(cwd=cwd), read=[cwd]).problems
    outright = resolved(debian_host(cwd=cwd), write=[text], read=[cwd])
    assert "would grant all of" not in messages(outright)
    assert rules(outright)[cwd] == WRITE & fs_mask(7)


def test_dot_in_a_project_is_that_project() -> None:
    """The usual case; and the home of another owner than the caller is a home too."""
    assert rules(resolved(write=["."])) == {PROJECT: WRITE & fs_mask(7)}
    assert "would grant" in messages(resolved(debian_host(0, cwd="/home/alice"), write=["."]))


@pytest.mark.parametrize(
    "path", ["/proc/self", "/proc/self/fd", "/proc/thread-self", "/dev/stdin", "/dev/fd/3", "/x/me"]
)
def test_magic_links_are_refused(path: str) -> None:
    """They would be files of sandrun's own process, as grant and as denial."""
    host = debian_host(tree={"/proc/1/fd/3": file(), "/proc/1/environ": file(), "/x/me": link("/proc/self/environ")})
    host.tree["/dev/fd"], host.tree["/dev/stdin"] = link("/proc/self/fd"), link("/proc/self/fd/0")
    assert "another file in each process" in messages(resolved(host, read=[path]))
    assert "another file in each process" in messages(resolved(host, deny=[path]))
    assert not resolved(host, read=["/proc/1/environ"]).problems


def test_rules_by_right_name() -> None:
    """`filesystem.rules` gives exactly those rights; `at` needs a mount namespace."""
    entry = AccessRule(parse("src"), ("make_reg", "write_file"))
    assert rules(resolved(rules=[entry])) == {f"{PROJECT}/src": FS["make_reg"] | FS["write_file"]}
    assert "mount namespace" in messages(resolved(rules=[entry._replace(at="/mnt")]))


def test_a_single_writable_file_is_warned_of() -> None:
    """A rename over it would end the grant; not for devices, read-only files, or where the directory is writable too."""
    host = debian_host(tree={"/dev/ttyS0": device()})
    execute = ["/usr"]
    assert any("replaces it by rename" in line for line in resolved(write=["Makefile"], execute=execute).warnings)
    assert any("replaces it by rename" in line for line in resolved(create=["log"], execute=execute).warnings)
    for keys in (
        {"read": ["Makefile"]},
        {"write": ["/dev/ttyS0"]},
        {"write": ["Makefile", "."]},
        {"write": ["@devices"]},
    ):
        assert resolved(host, execute=execute, **keys).warnings == []


# --- everything ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", [0, *ABIS])
def test_everything_granted(abi: int) -> None:
    """`@all` in all three lists refuses nothing; reaching named sockets stays the network's to refuse."""
    draft = resolved(abi=abi, read=["@all"], write=["@all"], execute=["@all"])
    handled = draft.fields.get("landlock_fs", 0)
    assert handled & FS["resolve_unix"] == fs_mask(abi) & FS["resolve_unix"]
    assert handled & ~FS["resolve_unix"] == rules(draft).get("/", 0)
    assert bool(rules(draft)) == (0 < abi < 4 or abi >= 9), "a domain, where no right on ports makes one, or any does"
    if handled and abi > 1:
        assert rules(draft)["/"] & FS["refer"], "else nothing could be moved to another directory (landlock(7))"
    assert draft.problems == []
    assert draft.guards == []


@pytest.mark.parametrize("abi", ABIS)
def test_everything_granted_and_a_private_directory(abi: int) -> None:
    """Its rule names only rights that are handled: the kernel answers EINVAL to any other."""
    host = debian_host(environ={"HOME": "/nonexistent"})
    draft = resolved(host, abi=abi, namespaces=True, read=["@all"], write=["@all"], execute=["@all"], home="private")
    assert draft.fields["private_dirs"] == (b"HOME",)
    assert not draft.fields["private_access"] & ~draft.fields.get("landlock_fs", 0)


def test_everything_but_one_hole_is_landlock_again() -> None:
    """Also rights that `write` does not have, such as making devices, stand on the siblings."""
    draft = resolved(read=["@all"], write=["@all"], execute=["@all"], deny=["/home/alice/.ssh"], optional=["deny"])
    assert draft.fields["landlock_fs"] == fs_mask(7)
    assert rules(draft)["/opt"] == fs_mask(7)
    assert not allowed(draft.fields["path_rules"], KEY)


@pytest.mark.parametrize(("keys", "kept"), [({"read": ["@all"]}, "read"), ({"write": ["@all"]}, "write")])
def test_all_of_one_kind_only(keys: dict[str, list[str]], kept: str) -> None:
    """`read = ["@all"]` is no write."""
    assert rules(resolved(**keys)) == {"/": {"read": READ, "write": WRITE & fs_mask(7)}[kept]}


# --- denials -------------------------------------------------------------------------------------------------------


def test_deny_wins_whatever_grants_it() -> None:
    """Grants at, below and above the hole; the hole is named for the launch to compare."""
    host = debian_host()
    draft = resolved(host, read=["/home", "/home/alice/.ssh", KEY], deny=["~/.ssh"])
    for path in ("/home/alice/.ssh", KEY):
        assert not allowed(draft.fields["path_rules"], path, host) & READ
    assert allowed(draft.fields["path_rules"], f"{PROJECT}/Makefile", host) & FS["read_file"]
    assert draft.fields["holes"] == (b"/home/alice/.ssh",)
    assert draft.problems == []
    assert any("wins over" in note for note in record(draft, "deny").notes)


def test_a_denied_link_denies_its_target_too() -> None:
    """What a link leads to is what is meant."""
    host = debian_host(tree={"/home/alice/keys": link(".ssh")})
    draft = resolved(host, read=["/home"], deny=["/home/alice/keys"])
    assert not allowed(draft.fields["path_rules"], KEY, host) & READ
    assert any("leads to /home/alice/.ssh" in note for note in record(draft, "deny").notes)


def test_a_hole_in_a_writable_tree_needs_a_mount_mask() -> None:
    """125, or PARTIAL where the profile says optional; deny_write alike."""
    for name in ("deny", "deny_write"):
        draft = resolved(write=["."], **{name: [".git/hooks"]})
        assert "takes a mount namespace" in messages(draft)
        draft = resolved(write=["."], optional=[name], **{name: [".git/hooks"]})
        assert draft.problems == []
        assert record(draft, name).state == PARTIAL
        hooks = allowed(draft.fields["path_rules"], f"{PROJECT}/.git/hooks/pre-commit")
        assert hooks & (READ | WRITE) == (READ if name == "deny_write" else 0)


def test_a_hole_outside_the_writable_tree_is_kept() -> None:
    """Only what lies around the hole counts."""
    draft = resolved(write=["."], read=["/home"], deny=["~/.ssh"], deny_write=["~/.netrc"])
    assert draft.problems == []


def test_hard_links_of_a_hole() -> None:
    """A name that nobody denied is refused; all names denied is fine; optional is PARTIAL."""
    host = debian_host(tree={"/home/alice/copy": hard("/home/alice/.netrc")})
    assert "2 names" in messages(resolved(host, read=["/home"], deny=["~/.netrc"]))
    assert not resolved(host, read=["/home"], deny=["~/.netrc", "~/copy"]).problems
    draft = resolved(host, read=["/home"], deny=["~/.netrc"], optional=["deny"])
    assert record(draft, "deny").state == PARTIAL
    assert not allowed(draft.fields["path_rules"], "/home/alice/copy", host) & FS["read_file"]


def test_a_mount_gives_a_hole_no_further_name() -> None:
    """The same directory shown elsewhere has the same entries, so another hard link stays undenied."""
    tree = {"/home/alice/copy": hard("/home/alice/.netrc"), "/srv": directory()}
    host = debian_host(tree=tree, binds={"/srv": "/home/alice"})
    assert "2 names (hard links), and 1 of them denied" in messages(resolved(host, read=["/"], deny=["~/.netrc"]))


def test_absent_denials() -> None:
    """A name that does not exist yet is kept; with `?` it is skipped; a wildcard without a match is noted."""
    draft = resolved(read=["/home"], deny=["~/later"])
    assert not allowed(draft.fields["path_rules"], "/home/alice/later") & READ
    assert rules(resolved(read=["/home"], deny=["~/later?"])) == {"/home": READ}
    assert record(resolved(read=["/home"], deny=["~/*.key"]), "deny").notes


def test_bind_mounts_of_a_hole_are_holes() -> None:
    """The mount table says where else the hole is shown."""
    host = debian_host(binds={"/mnt/backup": "/home/alice"})
    draft = resolved(host, read=["/home", "/mnt"], deny=["~/.ssh"])
    assert not allowed(draft.fields["path_rules"], "/mnt/backup/.ssh/id_ed25519", host) & READ
    assert b"/mnt/backup/.ssh" in draft.fields["holes"]


def test_a_planted_link_does_not_choose_a_grant() -> None:
    """A link inside a writable grant is refused: an earlier command may have laid it. Inside the grant it is harmless."""
    host = debian_host(tree={f"{PROJECT}/data": link("/home/alice/.ssh"), f"{PROJECT}/s": link("src")})
    for name in ("read", "write", "execute"):
        assert "could have made" in messages(resolved(host, **{"write": ["."], name: [".", "data"]}))
    assert "could have made" in messages(resolved(host, write=["."], read=["data/id_ed25519?"]))
    assert not resolved(host, write=["."], read=["s"]).problems
    assert not resolved(host, read=["data", "."]).problems
    # Nor behind a link of the caller's own.
    behind = debian_host(tree={f"{PROJECT}/data": link("../.ssh"), "/srv/now": link(f"{PROJECT}/data")})
    planted = f"{PROJECT}/data is a link to /home/alice/.ssh that a command in this sandbox could have made"
    assert planted in messages(resolved(behind, write=[PROJECT], read=["/srv/now"]))
    assert not resolved(behind, write=["src"], read=["/srv/now"]).problems


# --- places --------------------------------------------------------------------------------------------------------


def test_a_hidden_home_shows_what_is_granted_in_it() -> None:
    """`read = ["/"]` without the home, but with the project; HOME and passwd's home are both hidden."""
    host = debian_host(environ={"HOME": "/srv/h"}, tree={"/srv/h/x": file(), "/srv/y": file()})
    draft = resolved(host, read=["/", "src"], home="hidden")
    for secret in (KEY, "/srv/h/x", "/home/alice/.netrc"):
        assert not allowed(draft.fields["path_rules"], secret) & FS["read_file"]
    for shown in (f"{PROJECT}/src/main.c", "/srv/y", "/etc/hosts"):
        assert allowed(draft.fields["path_rules"], shown) & FS["read_file"]


def test_a_home_granted_outright_is_not_hidden() -> None:
    """Naming it is saying so; then it is no hole for the launch either."""
    draft = resolved(read=["~"], home="hidden")
    assert allowed(draft.fields["path_rules"], KEY) & FS["read_file"]
    assert b"/home/alice" not in draft.fields["holes"]


def test_private_directories_are_named_by_variable() -> None:
    """tmp and home private: fresh directories with all rights, the host's hidden."""
    draft = resolved(read=["/"], tmp="private", home="private", abi=3)
    assert draft.fields["private_dirs"] == (b"TMPDIR", b"HOME")
    assert draft.fields["private_access"] == (READ | WRITE | EXECUTE) & fs_mask(3)
    assert not allowed(draft.fields["path_rules"], "/tmp/x")
    assert "private directory" in record(draft, "tmp").mechanisms


def test_a_writable_root_cannot_hide_a_home() -> None:
    """125 with the key that asked."""
    draft = resolved(write=["/"], home="hidden")
    assert "/home/alice lies in a writable tree" in messages(draft)
    assert "--home" in {problem.where for problem in draft.problems}


@pytest.mark.parametrize("home", ["/", "", "/absent", "/bin", "/dev"])
def test_odd_homes_hide_nothing_else(home: str) -> None:
    """An account without a home, or with `/`, must not hide the machine."""
    host = FakeHost(
        {"/etc/x": file(), "/bin/busybox": program(elf("", ()))}, uid=5, environ={"HOME": home, "PATH": "/bin"}
    )
    draft = resolved(host, argv=["/bin/busybox"], read=["/"], home="hidden")
    assert rules(draft) == {"/": READ}


def test_host_places() -> None:
    """tmp, proc and dev of the host are plain grants."""
    draft = resolved(tmp="host", proc="host", dev="host", home="host")
    assert {path: rules(draft)[path] for path in ("/tmp", "/var/tmp", "/dev", "/proc")} == {
        "/tmp": WRITE & fs_mask(7),
        "/var/tmp": WRITE & fs_mask(7),
        "/dev": WRITE & fs_mask(7),
        "/proc": READ,
    }
    assert draft.problems == []


def test_minimal_dev_and_no_proc_are_taken_out_of_wider_grants() -> None:
    """`read = ["/"]` with dev minimal and proc none; a device that is named stays."""
    draft = resolved(read=["/", "/dev/ptmx"], dev="minimal", proc="none")
    assert not allowed(draft.fields["path_rules"], "/dev/sda")
    assert not allowed(draft.fields["path_rules"], "/proc/1/cmdline")
    assert allowed(draft.fields["path_rules"], "/dev/null") & FS["write_file"]
    assert allowed(draft.fields["path_rules"], "/dev/ptmx") & FS["read_file"]


def test_an_own_proc_and_mounts_are_lost() -> None:
    """They need namespaces: 125, or recorded where optional."""
    draft = resolved(proc="own")
    assert draft.fields["path_rules"] == ((READ, KIND_DIRECTORY, b"/proc"),)
    assert "/proc shows" in messages(draft)
    assert [problem.hint.endswith(" --optional filesystem.proc") for problem in draft.problems] == [True]
    assert record(resolved(proc="own", optional=["proc"]), "proc").state == PARTIAL
    assert "mount namespace" in messages(resolved(overlay=["."]))
    assert record(resolved(overlay=["."], optional=["overlay"]), "overlay").state == LOST


# --- kernels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", ABIS)
def test_truncation_is_refused_on_every_abi(abi: int) -> None:
    """Below ABI 3 seccomp stands in; from 3 on Landlock handles it."""
    draft = resolved(abi=abi, write=["."])
    assert any(guard.syscall == "truncate" for guard in draft.guards) == (abi < 3)
    assert bool(draft.fields["landlock_fs"] & FS["truncate"]) == (abi >= 3)


@pytest.mark.parametrize("abi", ABIS)
def test_opening_without_access_is_refused_below_abi_5(abi: int) -> None:
    """Access mode 3 opens what is not granted; from ABI 5 on that is of no use."""
    draft = resolved(abi=abi, write=["."])
    assert (set(guards.open_without_access("filesystem.write")) <= set(draft.guards)) == (abi < 5)
    assert ("seccomp" in record(draft, "write").mechanisms) == (abi < 5)


@pytest.mark.parametrize(
    "keys", [{}, {"read": ["/"]}, {"execute": ["@system"]}, {"write": ["@devices"]}, {"dev": "minimal"}]
)
def test_metadata_is_closed_where_nothing_is_writable(keys: dict[str, object]) -> None:
    """chmod and its kin are refused by seccomp; devices do not count."""
    assert any(guard.syscall == "fchmodat" for guard in resolved(**keys).guards)


@pytest.mark.parametrize("keys", [{"write": ["src"]}, {"create": ["new/"]}, {"tmp": "private"}, {"tmp": "host"}])
def test_metadata_is_noted_where_something_is_writable(keys: dict[str, object]) -> None:
    """The record says that these are not covered."""
    draft = resolved(**keys)
    assert not any(guard.syscall == "fchmodat" for guard in draft.guards)
    assert any("chmod" in note for note in record(draft, "write").notes)


@pytest.mark.parametrize(("right", "abi"), [("ioctl_dev", 4), ("resolve_unix", 8)])
def test_a_rule_that_names_a_right_the_abi_lacks_is_lost(right: str, abi: int) -> None:
    """Whoever names it relies on its refusal elsewhere."""
    keys = {"rules": [AccessRule(parse("/dev/null"), (right,))]}
    assert f"{right} cannot be restricted" in messages(resolved(abi=abi, **keys))
    assert not resolved(abi=abi + 1, **keys).problems


@pytest.mark.parametrize(
    ("state", "word"), [("missing", "no Landlock"), ("disabled", "lsm="), ("refused", "outer sandbox")]
)
def test_without_landlock_every_promise_is_lost(state: str, word: str) -> None:
    """Each key by itself with the remedy; what is granted to everyone is no loss."""
    draft = resolved(abi=0, state=state, read=["@all"], write=["."], deny_write=[".git"], home="hidden")
    assert {problem.message.partition(" ")[0] for problem in draft.problems} == {
        f"filesystem.{name}" for name in ("read", "write", "execute", "deny_write", "home")
    }
    assert all(word in f"{problem.message} {problem.hint}" for problem in draft.problems)
    draft = resolved(abi=0, read=["@all"], execute=["@all"], write=["."], optional=["write"])
    assert draft.problems == []
    assert record(draft, "write").state == LOST
    assert draft.fields.get("landlock_fs", 0) == 0


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "executable"),
    [("true", "/usr/bin/true"), ("/bin/sh", "/bin/sh"), ("./run", f"{PROJECT}/./run"), ("src/x", f"{PROJECT}/src/x")],
)
def test_the_command_is_found_as_execvp_would(word: str, executable: str) -> None:
    """By the PATH that the command will see, or as it is with a slash; links stay, since venvs look at them."""
    tree = {f"{PROJECT}/run": program(b"x"), f"{PROJECT}/src/x": program(b"x"), "/usr/local/bin/true": directory()}
    draft = resolved(debian_host(tree=tree), argv=[word])
    assert draft.fields["executable"] == executable.encode()


@pytest.mark.parametrize(
    ("word", "status", "text"),
    [
        ("absent", 127, "command not found: absent"),
        ("", 127, "empty"),
        ("/no/such", 127, "ENOENT"),
        ("./Makefile", 126, "EACCES"),
        ("/usr", 126, "EISDIR"),
        ("plain", 126, "EACCES"),
    ],
)
def test_a_command_that_cannot_run_is_told_before(word: str, status: int, text: str) -> None:
    """127 not found, 126 found but not executable."""
    with pytest.raises(CommandError, match=text) as caught:
        resolved(debian_host(tree={"/usr/bin/plain": file()}), argv=[word])
    assert caught.value.status == status


def test_a_relative_command_in_a_deleted_directory() -> None:
    """No guess is made."""
    host = debian_host()
    host.cwd = ""
    with pytest.raises(CommandError, match="not found"):
        resolved(host, argv=["./run"])


def test_what_the_command_needs_to_start_is_predicted() -> None:
    """The program, its interpreters and loader by execute; its libraries by read. With all there is no warning."""
    tree = {f"{PROJECT}/run": program(b"#!/usr/bin/env python3\n")}
    host = debian_host(tree=tree)

    def warnings(**keys: object) -> list[str]:
        return [line.rpartition("add ")[2] for line in resolved(host, argv=["./run"], **keys).warnings]

    loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    interpreters = [f"--execute {path}" for path in ("/usr/bin/env", "/usr/bin/python3.11", loader)]
    assert warnings() == [f"--execute {PROJECT}/run", *interpreters]
    assert warnings(execute=["."]) == interpreters
    assert warnings(execute=[".", "/usr/bin", loader]) == ["--read /usr/lib/x86_64-linux-gnu"]
    assert warnings(execute=["@runtime"]) == []
    assert warnings(read=["@system"], execute=["."]) == interpreters


def test_a_missing_interpreter_is_predicted() -> None:
    """The kernel's ENOENT for a script says nothing about which file is absent."""
    host = debian_host(
        tree={"/usr/bin/x": program(b"#!/no/such\n"), "/usr/bin/musl": program(elf("/lib/ld-musl.so.1"))}
    )
    assert "needs /no/such, which is absent" in resolved(host, argv=["x"], execute=["/usr"]).warnings[0]
    assert "needs /lib/ld-musl.so.1, which is absent" in resolved(host, argv=["musl"], execute=["/usr"]).warnings[0]


def test_a_capability_beyond_file_modes_is_like_root() -> None:
    """With CAP_DAC_READ_SEARCH an ordinary user would read /etc/shadow, so @system leaves it out."""
    for permitted in (0, 1 << 1, 1 << 2):
        values = {"filesystem.read": (Value(parse("@system"), Origin(COMMAND_LINE, "--read")),)}
        draft = Draft(Profile("test", values=values))
        draft.fields.update(env_set=(), env_pass=(), permitted=permitted)
        resolve_filesystem(draft, Kernel(landlock_abi=7), debian_host(), ["/bin/busybox"], ALICE)
        readable = allowed(draft.fields["path_rules"], "/etc/shadow") & FS["read_file"]
        assert bool(readable) == (permitted == 0)


def test_another_user_has_another_home() -> None:
    """`~` is the home of whom the command runs as, not of root who starts it."""
    host = debian_host(0)
    profile = Profile("test", values={"filesystem.read": (Value(parse("~/project"), Origin(COMMAND_LINE, "--read")),)})
    draft = Draft(profile)
    draft.fields.update(env_set=(), env_pass=())
    resolve_filesystem(draft, Kernel(landlock_abi=7), host, ["/bin/busybox"], ALICE)
    assert rules(draft) == {PROJECT: READ}
