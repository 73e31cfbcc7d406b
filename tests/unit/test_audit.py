"""The audit: what stands against an act under a plan, and whose grant opened it. The kernel is in the integration test."""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING

import pytest

from sandrun import cli
from sandrun.audit import bpf
from sandrun.audit.findings import CLOSED, GRANTED, OPEN, Audit, Finding
from sandrun.audit.questions import Questions
from sandrun.host import System
from sandrun.kernel import Kernel
from sandrun.plan.draft import ENFORCED, LOST, Protection
from sandrun.plan.format import KIND_DIRECTORY, KIND_FILE, TTY_NEW_SESSION, Plan
from sandrun.plan.resolve import Resolution, resolve
from sandrun.policy.guards import CLONE_NEW
from sandrun.policy.syscalls import numbers
from sandrun.primitives.landlock import FS, READ, WRITE, fs_mask
from sandrun.primitives.view import DEVICES, READ_ONLY, VIEW_BIND, VIEW_PROC, VIEW_TMPFS, VIEW_TREE
from sandrun.profile import load
from sandrun.profile.keys import KEYS
from tests import bpf_sim
from tests.fakes import FakeHost, device, directory, file, link, socket

if TYPE_CHECKING:
    from collections.abc import Iterable

UID = 1000
KERNEL = Kernel(landlock_abi=7, landlock_state="available")
HOST = FakeHost(
    {
        "/home/me/.bashrc": file(uid=UID),
        "/home/me/work/file": file(uid=UID),
        "/home/me/work/.git/hooks": directory(uid=UID),
        "/home/me": directory(uid=UID),
        "/home/me/work": directory(uid=UID),
        "/home/me/shared/of/root": file(),
        "/tmp/of/root": file(),
        "/etc/crontab": file(),
        "/tmp": directory(0o1777),
        "/run/docker.sock": socket(),
        "/dev/fuse": device(),
        "/proc/sys/kernel/core_pattern": file(b"core"),
    },
    uid=UID,
    environ={"HOME": "/home/me"},
)


def ask(host: FakeHost = HOST, **fields: object) -> Questions:
    """The questions of a plan with these fields and every file right handled."""
    fields.setdefault("landlock_fs", fs_mask(7))
    return Questions(Resolution(Plan(**fields), (), (), host.account(UID)), KERNEL, host)


def findings(records: Iterable[Protection] = (), **fields: object) -> dict[str, Finding]:
    return {line.name: line for line in Audit(ask(**fields), records).findings()}


def kept(key: str, *origins: str) -> Protection:
    return Protection(key, origins, ("landlock",), ENFORCED)


# --- questions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "strict", "build", "stdio"])
def test_programs_answer_as_in_the_simulator_of_the_tests(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter agrees with the tests' own on every syscall of built-in profiles."""
    monkeypatch.chdir("/usr")
    profile = load((name,), optional=[key.path for key in KEYS if key.protection])
    programs = resolve(profile, KERNEL, System(), ("/bin/sh",)).plan.seccomp
    assert programs
    for number in numbers("x86_64").values():
        for arguments in ((), (1, 2), (0x10000000, 0x5412), (2**64 - 1,) * 6):
            expected = bpf_sim.verdict(programs, number, arguments)
            assert bpf.answer(programs, "x86_64", number, arguments) & 0xFFFF0000 == expected & 0xFFFF0000


def test_an_id_that_is_another_one_outside_owns_nothing() -> None:
    """Uid 0 of a user namespace is no owner of root's files, nor a mapped number of that user's."""
    maps = b"1000 1000 1\n0 100000 1\n5 100005 1\n"
    for uid, outside in ((0, 100000), (5, 100005), (1000, 1000), (7, 7)):
        assert ask(uid=uid, uid_map=maps).uid == outside
    rule = (WRITE, KIND_DIRECTORY, b"/etc")
    assert ask(uid=0, uid_map=maps, path_rules=(rule,)).against_write("/etc/crontab")
    assert not ask(uid=0, path_rules=(rule,)).against_write("/etc/crontab"), "the control: root itself"


def test_writing_is_asked_of_the_rules_and_the_modes() -> None:
    """A rule on the path or above it opens; the modes of files of others close, unless their directory can be changed."""
    rule = (WRITE, KIND_DIRECTORY, b"/home/me/work")
    one = ask(path_rules=(rule,))
    assert one.against_write("/home/me/work/file") == ()
    assert one.against_write("/home/me/work/absent/deep") == ()
    assert one.against_write("/home/me/.bashrc") == ("landlock",)
    assert one.against_write("/etc/crontab") == ("landlock", "file modes")
    everything = ask(landlock_fs=0)
    assert everything.against_write("/etc/crontab") == ("file modes",)
    assert everything.against_write("/tmp") == ()
    assert everything.against_write("/home/me/shared/of/root") == ()  # its directory can be renamed away
    assert everything.against_write("/tmp/of/root") == ("file modes",)
    assert ask(landlock_fs=0, permitted=1 << 1).against_write("/etc/crontab") == ()


def test_a_file_rule_and_a_rule_to_replace_both_write() -> None:
    """Writing into a file, and making another in its place, are one to whoever reads it later."""
    assert ask(path_rules=((FS["write_file"], KIND_FILE, b"/home/me/.bashrc"),)).against_write("/home/me/.bashrc") == ()
    replace = FS["make_reg"] | FS["remove_file"]
    assert ask(path_rules=((replace, KIND_DIRECTORY, b"/home/me"),)).against_write("/home/me/.bashrc") == ()
    assert ask(path_rules=((READ, KIND_DIRECTORY, b"/home/me"),)).against_write("/home/me/.bashrc") == ("landlock",)


def test_a_view_hides_shows_elsewhere_and_makes_read_only() -> None:
    """What a mount covers is not there; a bind shows it again, under any name; the attributes of the last mount hold."""
    tree = (VIEW_TREE, READ_ONLY, b"/", b"")
    hidden = (VIEW_TMPFS, 0o700, b"/home", b"")
    bind = (VIEW_BIND, 0, b"/mnt/here", b"/home/me/work")
    rules = {"path_rules": ((WRITE, KIND_DIRECTORY, b"/"),)}
    assert ask(view=(tree,), **rules).against_write("/home/me/.bashrc") == ("read-only mount",)
    assert ask(view=(tree,), **rules).against_read("/home/me/.bashrc") == ()
    assert ask(view=(tree, hidden), **rules).against_read("/home/me/.bashrc") == ("mount namespace",)
    assert ask(view=(tree, hidden, bind), **rules).against_write("/home/me/work/file") == ()
    assert ask(view=(tree, hidden, bind), **rules).against_write("/home/me/.bashrc") == ("mount namespace",)
    assert ask(view=(tree,), **rules).against_device("/dev/fuse") == ("nodev mount",)
    assert ask(view=((VIEW_TREE, DEVICES, b"/", b""),), **rules).against_device("/dev/fuse") == ()


def test_a_proc_of_its_own_has_the_same_sysctls() -> None:
    """A new proc hides processes, not the knobs of the kernel."""
    one = ask(landlock_fs=0, view=((VIEW_PROC, 0, b"/proc", b""),))
    assert one.against_read("/proc/1/stat") == ("mount namespace",)
    assert one.against_read("/proc/sys/kernel/core_pattern") == ()


def test_core_dumps_that_are_piped_are_not_stopped_by_zero() -> None:
    """A limit of 0 holds for files; a program that gets dumps by a pipe is stopped by 1 alone (core(5))."""
    piped = FakeHost({"/proc/sys/kernel/core_pattern": file(b"|/usr/lib/handler")}, uid=UID)
    assert ask(rlimits=((4, 0, 0),)).against_core_dumps() == ("rlimits",)
    assert ask().against_core_dumps() == ()
    assert ask(piped, rlimits=((4, 0, 0),)).against_core_dumps() == ()
    assert ask(piped, rlimits=((4, 1, 1),)).against_core_dumps() == (), "the command can make a 0 of it"
    refuse_all = (struct.pack("=HBBI", 0x06, 0, 0, 0x00050001),)
    assert ask(piped, rlimits=((4, 1, 1),), seccomp=refuse_all).against_core_dumps() == ("rlimits",)
    assert ask(piped, rlimits=((4, 0, 0),), seccomp=refuse_all).against_core_dumps() == ()


def test_capabilities_in_a_user_namespace_are_none_of_the_host() -> None:
    every = (1 << 41) - 1
    assert ask(permitted=every).lacks("CAP_SYS_TIME") == ()
    assert ask(permitted=every, namespaces=CLONE_NEW["CLONE_NEWUSER"]).lacks("CAP_SYS_TIME") == ("capabilities",)
    assert ask().lacks("CAP_SYS_TIME") == ("capabilities",)


# --- findings ------------------------------------------------------------------------------------------------------


def test_namespaces_close_their_lines() -> None:
    """Each namespace closes what belongs to it, by its name."""
    lines = {
        "IPC": ("System V shared memory", "POSIX message queues"),
        "PID": ("priority and processors of other processes", "signals to others"),
        "NET": ("TCP, the host's loopback too", "abstract unix sockets", "netlink"),
    }
    bare = findings()
    for kind, names in lines.items():
        with_it = findings(namespaces=CLONE_NEW[f"CLONE_NEW{kind}"])
        for name in names:
            assert bare[name].state == OPEN
            assert with_it[name].state == CLOSED
            assert any("namespace" in word for word in with_it[name].by)
    assert findings(tty=TTY_NEW_SESSION)["typing into it"].by == ("setsid",)


def test_a_relay_is_a_way_out_of_a_network_namespace() -> None:
    """What the relay serves is granted, with its endpoints; the protocol that it does not serve is closed."""
    egress = Plan(relay_rules=((6, 443 << 16 | 443, b"name", b"example.org"),)).to_bytes()
    record = kept("network.connect", "--connect")._replace(notes=("example.org:443",))
    found = findings([record], namespaces=CLONE_NEW["CLONE_NEWNET"], egress=egress)
    line = found["TCP, to what the relay lets through"]
    assert (line.state, line.by, line.where) == (GRANTED, ("--connect",), ("example.org:443",))
    assert found["UDP, the host's loopback too"].state == CLOSED


def test_a_grant_is_named_with_its_origin_and_what_it_lets_others_run() -> None:
    """A writable tree is granted by whom the record says; what is in it for others to run is listed."""
    rule = (WRITE, KIND_DIRECTORY, b"/home/me/work")
    found = findings([kept("filesystem.write", "x.toml:3: filesystem.write[0]")], path_rules=(rule,))
    assert found["can be written"].state == GRANTED
    assert found["can be written"].by == ("x.toml:3: filesystem.write[0]",)
    assert found["can be written"].where == ("/home/me/work",)
    assert found["what others run of what can be written"].where == ("/home/me/work/.git/hooks",)
    assert found["start files of shells"].state == CLOSED


def test_what_is_lost_or_nobodys_wish_is_open() -> None:
    """A protection that was asked for and lost is no grant, and its loss is the reason; a default asked for nothing."""
    lost = Protection("process.isolate", ("x.toml:1",), (), LOST, lost=("no pid namespace here",))
    line = findings([lost])["System V semaphores"]
    assert (line.state, line.by, line.why) == (OPEN, (), "no pid namespace here")
    assert findings([kept("network.connect", "the default")])["TCP, the host's loopback too"].state == OPEN
    assert findings([kept("network.connect", "--connect")])["TCP, the host's loopback too"].state == GRANTED


def test_a_socket_of_a_server_is_granted_by_unix() -> None:
    """Where unix sockets can be had, the servers that are there are named."""
    granted = findings([kept("network.unix", "--unix")], landlock_fs=0)
    assert granted["containers and virtual machines"].where == ("/run/docker.sock",)
    assert granted["Wayland"].where == ()
    assert granted["D-Bus"].by == ("--unix",)


# --- the verb ------------------------------------------------------------------------------------------------------


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["profile", "audit", *words])
    out, err = capfd.readouterr()
    return status, out, err


def test_statuses(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """1 if something is open, 125 if the profile cannot be launched, 2 for wrong usage."""
    monkeypatch.chdir("/usr")
    status, out, _ = run(capfd, "none", "--json")
    document = json.loads(out)
    assert (status, document["profiles"]) == (1, ["none"])
    assert {line["state"] for line in document["findings"]} == {CLOSED, GRANTED, OPEN}
    assert run(capfd, "-p", "none", "--read", "/no/such/place")[0] == 125
    assert run(capfd, "no-such-profile")[0] == 125
    for wrong in (("none", "more"), ("--no-such-option",), ("--dry-run",), ("none", "--report", os.devnull)):
        status, out, err = run(capfd, *wrong)
        assert (status, out) == (2, "")
        assert "hint: " in err


def test_text(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By topic, with what closes each line, and the options of a launch on top of the profile."""
    monkeypatch.chdir("/usr")
    out = run(capfd, "none", "--connect", "tcp:443")[1]
    assert out.startswith("files:\n")
    assert "\nsockets:\n  granted  TCP, the host's loopback too" in out
    assert "             tcp: 443\n" in out


def test_links_to_what_the_next_launch_believes() -> None:
    """They can be replaced in a directory that is granted, whatever keeps what they lead to."""
    link_at = "/home/me/work/.config"
    tree = {"/home/me/.config": link("work/.config"), link_at: link("/etc"), "/etc/sandrun": directory()}
    host = FakeHost(tree | {"/home/me/work": directory(uid=UID)}, uid=UID, environ={"HOME": "/home/me"})

    def judged(*rules: tuple[int, int, bytes]) -> Finding:
        lines = Audit(ask(host, path_rules=rules), [kept("filesystem.write", "--write")]).findings()
        return next(line for line in lines if line.name == "links to sandrun's own")

    closed = judged()
    assert (closed.state, closed.by) == (CLOSED, ("landlock", "file modes"))
    opened = judged((WRITE, KIND_DIRECTORY, b"/home/me/work"))
    assert (opened.state, opened.by, opened.where) == (GRANTED, ("--write",), (link_at,))
    assert "links to sandrun's own" not in findings()
