"""groups: what each path group stands for, on Debian as root and as an ordinary user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandrun.elf import Start, trace
from sandrun.plan.groups import Context, members
from sandrun.plan.siblings import READ_DIR, expand
from sandrun.primitives.landlock import EXECUTE, FS, READ, WRITE
from sandrun.profile.paths import GROUPS
from tests.fakes import FakeHost, debian_host, directory, elf, file, link, program

if TYPE_CHECKING:
    from sandrun.plan.siblings import Grant


def context(host: FakeHost, command: str = "/usr/bin/true") -> Context:
    account = host.account(host.uid)
    start = trace(command, host, lambda name: f"/usr/bin/{name}")
    return Context(host, host.uid, account.home if account else "", start, host.uid == 0)


def granted(group: str, host: FakeHost, command: str = "/usr/bin/true", access: int = READ) -> dict[str, Grant]:
    return {grant.path: grant for grant in members(group, access, context(host, command))}


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_of_the_language_is_known(group: str) -> None:
    """Each stands for something canonical that exists, once."""
    host = debian_host()
    found = members(group, READ, context(host))
    assert found
    for grant in found:
        assert host.realpath(grant.path) == grant.path
        assert host.lstat(grant.path) is not None
    assert len({grant.path for grant in found}) == len(found)


def test_an_unknown_group_is_a_key_error() -> None:
    """The grammar refuses it earlier."""
    with pytest.raises(KeyError):
        members("@nothing", READ, context(debian_host()))


def test_system_is_all_of_etc_for_an_ordinary_user() -> None:
    """File modes keep an ordinary user from /etc/shadow: no rule for each entry is needed."""
    assert granted("@system", debian_host(1000))["/etc"].holes == ()


def test_system_leaves_out_what_is_not_public_for_root() -> None:
    """shadow, host keys and ssl/private get no right but that their names can be listed."""
    host = debian_host(0)
    grants = members("@system", EXECUTE, context(host))
    rules = expand(grants, (), host).rules
    assert rules["/etc"][0] == READ_DIR
    for secret in ("/etc/shadow", "/etc/ssh", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssl", "/etc/ssl/private"):
        assert secret not in rules
    assert rules["/etc/ssl/certs"][0] == EXECUTE & ~READ_DIR
    assert rules["/etc/ssh/ssh_config"][0] & FS["read_file"]


def test_system_and_dns_follow_resolv_conf_to_where_it_lies() -> None:
    """/etc/resolv.conf is a link into /run on most systems."""
    for group in ("@system", "@dns", "@runtime"):
        assert "/run/systemd/resolve/stub-resolv.conf" in granted(group, debian_host())


def test_devices_are_for_writing_whatever_list_names_them() -> None:
    """`read = ["@devices"]` without `> /dev/null` would help nobody; other terminals and disks are no members."""
    found = granted("@devices", debian_host())
    assert found["/dev/null"].access == WRITE
    assert not {"/dev/pts", "/dev/ptmx", "/dev/sda", "/dev/shm"} & found.keys()


def test_tty_is_the_callers_own_terminal_only() -> None:
    """The terminals behind descriptors 0 to 2 and /dev/tty, not /dev/pts with all others."""
    host = debian_host()
    terminal = host.lstat("/dev/pts/0")
    assert terminal is not None
    host.fds = {
        0: (terminal, 2, "/dev/pts/0"),
        1: (terminal, 1, "/home/alice/x"),
        2: (terminal, 1, "/dev/pts/9 (deleted)"),
    }
    assert granted("@tty", host).keys() == {"/dev/tty", "/dev/pts/0"}


def test_tls_takes_the_environments_certificates() -> None:
    """SSL_CERT_FILE and its like are granted if they exist; `/` and relative paths never."""
    tree = {"/opt/ca.pem": file(), "/opt/certs/a.pem": file()}
    environ = {
        "SSL_CERT_FILE": "/opt/ca.pem",
        "SSL_CERT_DIR": "/absent:/opt/certs",
        "CURL_CA_BUNDLE": "//",
        "REQUESTS_CA_BUNDLE": "Makefile",
    }
    found = granted("@tls", debian_host(tree=tree, environ=environ))
    assert {"/etc/ssl/certs", "/opt/ca.pem", "/opt/certs"} <= found.keys()
    assert "/" not in found
    assert not any(path.startswith("/home") for path in found)


def test_runtime_is_what_the_command_needs_to_start() -> None:
    """Its file, loader, libraries, locale and time zone, and nothing of /home, /root or all of /usr and /etc."""
    found = granted("@runtime", debian_host(), "/usr/bin/python3")
    assert {"/usr/bin/python3.11", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/locale"} <= found.keys()
    assert not {"/", "/usr", "/etc", "/usr/bin", "/bin"} & found.keys()
    assert not any(path.startswith(("/home", "/root", "/tmp")) for path in found)


VENV = "/home/alice/project/.venv"
PYENV = "/home/alice/.pyenv/versions/3.12.1"


def venv_tree(config: bytes = b"home = /usr/bin\n") -> dict[str, object]:
    return {
        f"{VENV}/pyvenv.cfg": file(config),
        f"{VENV}/bin/python": link("/usr/bin/python3.11"),
        f"{VENV}/bin/tool": program(f"#!{VENV}/bin/python\n".encode()),
        f"{VENV}/lib/python3.11/site-packages/x.py": file(),
        f"{VENV}/lib64": link("lib"),
        f"{PYENV}/bin/python3": program(elf(runpath="$ORIGIN/../lib")),
        f"{PYENV}/lib/python3.12/os.py": file(),
        f"{PYENV}/share/man": directory(),
    }


def test_a_virtual_environment_brings_its_tree_and_its_base() -> None:
    """A script in a venv: the venv's parts by `#!`; a pyenv version behind it by pyvenv.cfg or link, without the rest."""
    host = debian_host(
        tree=venv_tree(f"version = 3\nhome = {PYENV}/bin\n".encode()) | {f"{VENV}/bin/python3": program(elf())}
    )
    found = granted("@runtime", host, f"{VENV}/bin/tool")
    assert {f"{VENV}/bin", f"{VENV}/lib", f"{VENV}/pyvenv.cfg"} <= found.keys()
    assert not {VENV, PYENV, f"{PYENV}/share", "/home/alice/project"} & found.keys()
    host.tree[f"{VENV}/bin/python"] = link(f"{PYENV}/bin/python3")
    assert {f"{PYENV}/bin", f"{PYENV}/lib"} <= granted("@runtime", host, f"{VENV}/bin/tool").keys()


def test_a_copied_virtual_environment_finds_its_base_by_its_configuration() -> None:
    """`python -m venv --copies`: only pyvenv.cfg says where the standard library is."""
    tree = venv_tree(f"home = {PYENV}/bin\n".encode()) | {f"{VENV}/bin/python3": program(elf())}
    found = granted("@runtime", debian_host(tree=tree), f"{VENV}/bin/python3")
    assert {f"{PYENV}/lib", f"{VENV}/lib"} <= found.keys()


@pytest.mark.parametrize(
    "planted",
    [
        {f"{VENV}/lib": link("/home/alice/.ssh")},
        {f"{VENV}/pyvenv.cfg": file(b"home = /home/alice/.ssh/bin\n")},
        {f"{VENV}/bin/tool": program(b"#!/home/alice/.ssh/id_ed25519\n")},
        {f"{VENV}/bin/tool": program(elf("/home/alice/.ssh/id_ed25519"))},
        {f"{VENV}/bin/tool": program(elf(runpath="/home/alice/.ssh", needed=("id_ed25519",)))},
        {f"{VENV}/bin/python": link("/home/alice/.ssh/id_ed25519")},
    ],
)
def test_what_an_earlier_command_wrote_widens_nothing(planted: dict[str, object]) -> None:
    """Links, pyvenv.cfg, `#!`, PT_INTERP and RUNPATH that point into ~/.ssh grant nothing there."""
    tree = {path: node for path, node in venv_tree().items() if not any(path.startswith(p + "/") for p in planted)}
    host = debian_host(tree=tree | planted)
    found = granted("@runtime", host, f"{VENV}/bin/tool")
    assert not [path for path in found if path.startswith("/home/alice/.ssh") or "/home/alice".startswith(path)]


def test_a_library_beside_the_program_is_granted_by_file() -> None:
    """RUNPATH grants the libraries that are found, with what they need in turn, not the directory."""
    tree = {
        "/opt/app/prog": program(elf(needed=("liba.so",), runpath="$ORIGIN/lib")),
        "/opt/app/lib/liba.so": program(elf("", ("libb.so",), "$ORIGIN")),
        "/opt/app/lib/libb.so": program(elf("", ())),
        "/opt/app/lib/secret": file(),
    }
    found = granted("@runtime", debian_host(tree=tree), "/opt/app/prog")
    assert {path for path in found if path.startswith("/opt")} == {
        "/opt/app/prog",
        "/opt/app/lib/liba.so",
        "/opt/app/lib/libb.so",
    }


def test_a_pyenv_shim_brings_its_versions() -> None:
    """A shim starts another program of its manager's tree; a directory that is only called shims brings nothing."""
    top = "/home/alice/.pyenv"
    tree = venv_tree() | {f"{top}/shims/python": program(b"#!/usr/bin/env bash\n"), f"{top}/README": file()}
    assert f"{top}/versions" not in granted("@runtime", debian_host(tree=tree), f"{top}/shims/python")
    tree[f"{top}/libexec/pyenv"] = program(b"#!/usr/bin/env bash\n")
    found = granted("@runtime", debian_host(tree=tree), f"{top}/shims/python")
    assert {f"{top}/versions", f"{top}/libexec", f"{top}/shims"} <= found.keys()
    assert not {top, f"{top}/README"} & found.keys()


def test_a_home_is_no_prefix() -> None:
    """~/bin/python3 with ~/lib/python3 does not grant ~/lib."""
    tree = {"/home/alice/bin/python3": program(elf()), "/home/alice/lib/python3/x": file()}
    found = granted("@runtime", debian_host(tree=tree), "/home/alice/bin/python3")
    assert {path for path in found if path.startswith("/home")} == {"/home/alice/bin/python3"}


def test_a_machine_with_nothing_has_no_members() -> None:
    """An empty root: groups are empty, except for all of it."""
    empty = Context(FakeHost({}), 0, "", Start(("/x",), "", None))
    for group in GROUPS:
        assert len(members(group, READ, empty)) == (group == "@all")
