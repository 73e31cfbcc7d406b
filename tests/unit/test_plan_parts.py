"""The parts of resolve that need neither files nor syscall tables: environment, limits, privileges, network."""

from __future__ import annotations

import resource
from types import MappingProxyType

import pytest

from sandrun.host import Account
from sandrun.kernel import Kernel
from sandrun.plan import environment, limits, network, privileges
from sandrun.plan.draft import ENFORCED, LOST, PARTIAL, Draft
from sandrun.plan.format import UNLIMITED
from sandrun.primitives import caps, landlock
from sandrun.profile.model import Endpoint, Limit, Origin, PathEntry, Profile, Value

ALL_CAPS = (1 << 41) - 1


class Machine:
    """As much of a Host as these parts ask for."""

    def __init__(self, *, uid=1000, environ=None, rlimits=None, core_pattern=b"core"):
        self.uid = self.gid = uid
        self.environ = environ or {}
        self.cwd = "/home/u/project"
        self.limits = rlimits or {}
        self.core_pattern = core_pattern

    def fd_stat(self, fd):
        return None

    def account(self, user):
        known = {
            "daemon": Account("daemon", 1, 1, "/usr/sbin", "/usr/sbin/nologin"),
            0: Account("root", 0, 0, "/root", "/bin/sh"),
        }
        if isinstance(user, int) and user not in known:
            return Account("", user, user, "", "")
        return known.get(user)

    def group(self, group):
        return {"daemon": 1, "adm": 4}.get(group, group if isinstance(group, int) else None)

    def groups_of(self, account):
        return ()

    def launcher(self) -> tuple[str, ...]:
        return ()

    def rlimit(self, number):
        return self.limits.get(number, (UNLIMITED, UNLIMITED))

    def read(self, path, limit, offset=0):
        return self.core_pattern[:limit] if path == "/proc/sys/kernel/core_pattern" else None

    def readlink(self, path):
        return None

    def realpath(self, path):
        return path

    def lstat(self, path):
        return None

    stat = lstat


def draft(optional=(), **written):
    """A Draft over a profile of `key__path=[values]`."""
    values = {}
    for key, items in written.items():
        path = key.replace("__", ".")
        listed = items if isinstance(items, list) else [items]
        values[path] = tuple(
            Value(item, Origin("test.toml", f"{path}[{at}]"), optional=path in optional)
            for at, item in enumerate(listed)
        )
    result = Draft(Profile("test", values=MappingProxyType(values)))
    result.fields.update(env_pass=(), env_set=())
    return result


def passed(environ, **written):
    made = draft(**written)
    environment.resolve_environment(made, Machine(environ=environ), None)
    return [name.decode() for name in made.fields["env_pass"]]


def test_environment_is_basic_by_default():
    """Without a word about the environment, only the basic names pass."""
    environ = {"PATH": "/bin", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "x", "LD_PRELOAD": "y", "EDITOR": "vi"}
    assert passed(environ) == ["LC_ALL", "PATH"]


def test_environment_wildcards_leave_secrets_out():
    """A wildcard never passes a name that looks secret; the exact name does."""
    environ = {"NPM_TOKEN": "1", "NPM_CONFIG": "2", "GH_KEY": "3"}
    assert passed(environ, environment__pass=["*"]) == ["NPM_CONFIG"]
    assert passed(environ, environment__pass=["NPM_TOKEN"]) == ["NPM_TOKEN"]
    assert passed(environ, environment__pass=["@all"]) == ["GH_KEY", "NPM_CONFIG", "NPM_TOKEN"]


def test_environment_unset_wins_and_empty_is_empty():
    """`unset` removes a passed name; an empty `pass` passes nothing."""
    environ = {"PATH": "/bin", "HOME": "/h"}
    assert passed(environ, environment__unset=["PATH"]) == ["HOME"]
    assert passed(environ, environment__pass=[]) == []


def test_environment_values_stay_out_of_the_plan():
    """A set variable is a name in the plan; its value is only in what is handed to the launch."""
    made = draft(environment__set__TOKEN="hush")
    environment.resolve_environment(made, Machine(), None)
    assert made.fields["env_set"] == (b"TOKEN",)
    assert "hush" not in repr(made.fields) + repr(made.protections)
    assert environment.values(made.profile, None)[b"TOKEN"] == b"hush"


@pytest.mark.parametrize(
    ("limit", "inherited", "expected"),
    [
        (Limit(256, None), (1024, 4096), (256, 256)),
        (Limit(256, 512, has_hard=True), (1024, 4096), (256, 512)),
        (Limit(9999, None), (1024, 4096), (1024, 4096)),
        (Limit(None, None), (1024, 4096), (1024, 4096)),
        (Limit(10, None, has_hard=True), (1024, 4096), (10, 4096)),
        (Limit(512, 256, has_hard=True), (1024, 4096), (256, 256)),
    ],
)
def test_rlimits_are_only_lowered(limit, inherited, expected):
    """Neither half of a limit ever ends above what is inherited, also not by "unlimited"."""
    made = draft(rlimits__nofile=limit)
    limits.resolve_limits(made, Kernel(), Machine(rlimits={resource.RLIMIT_NOFILE: inherited}))
    assert made.fields["rlimits"] == ((resource.RLIMIT_NOFILE, *expected),)


@pytest.mark.parametrize(
    ("pattern", "limit", "inherited", "expected", "note"),
    [
        (b"core", Limit(0, None), (0, UNLIMITED), (0, 0), ""),
        (b"|/bin/h", Limit(0, None), (0, UNLIMITED), (1, 1), "1 instead of 0"),
        (b"|/bin/h", Limit(0, None, has_hard=True), (0, UNLIMITED), (1, UNLIMITED), "1 instead of 0"),
        (b"|/bin/h", Limit(0, None), (0, 0), (0, 0), "above the inherited hard limit"),
        (b"|/bin/h", Limit(4096, None), (UNLIMITED, UNLIMITED), (4096, 4096), ""),
    ],
)
def test_no_core_dumps_where_they_are_piped(pattern, limit, inherited, expected, note):
    """A program gets dumps whatever the limit is, unless that is 1; where 1 would be more than is inherited, it is said."""
    made = draft(rlimits__core=limit)
    machine = Machine(rlimits={resource.RLIMIT_CORE: inherited}, core_pattern=pattern)
    limits.resolve_limits(made, Kernel(), machine)
    assert made.fields["rlimits"] == ((resource.RLIMIT_CORE, *expected),)
    assert note in " ".join(made.protections[0].notes) if note else not made.protections[0].notes


def test_cgroup_limits_fail_closed_or_weaken_by_name():
    """Without a cgroup: a problem; if optional, the weaker rlimit, recorded as partial."""
    made = draft(resources__memory=1 << 30)
    limits.resolve_limits(made, Kernel(), Machine())
    assert "control group" in str(made.problems[0])
    made = draft(optional=("resources.memory",), resources__memory=1 << 30)
    limits.resolve_limits(made, Kernel(), Machine())
    assert made.fields["rlimits"] == ((resource.RLIMIT_AS, 1 << 30, 1 << 30),)
    assert made.protections[0].state == PARTIAL
    made = draft(optional=("resources.io",), resources__io=1 << 30)
    limits.resolve_limits(made, Kernel(), Machine())
    assert made.protections[0].state == LOST


def test_times_are_seconds_in_profiles_and_milliseconds_in_plans():
    made = draft(time__timeout=2, time__grace=0.3)
    limits.resolve_limits(made, Kernel(), Machine())
    assert (made.fields["deadline_ms"], made.fields["grace_ms"]) == (2000, 300)


def test_no_capability_is_kept_unless_named():
    """Root too ends without capabilities; ambient implies the other sets."""
    made = draft()
    privileges.resolve_privileges(made, Kernel(capabilities=ALL_CAPS, uid=0), Machine(uid=0))
    assert (made.fields["bounding"], made.fields["permitted"], made.fields["ambient"]) == (0, 0, 0)
    made = draft(privileges__ambient=["CAP_NET_BIND_SERVICE"])
    privileges.resolve_privileges(made, Kernel(capabilities=ALL_CAPS, uid=0), Machine(uid=0))
    bit = caps.mask(("CAP_NET_BIND_SERVICE",))
    assert {made.fields[name] for name in ("bounding", "permitted", "inheritable", "ambient")} == {bit}


def test_user_change_needs_root_and_knows_the_account():
    """`user` brings its group and no supplementary ones; an ordinary user may not change."""
    made = draft(privileges__user="daemon")
    account = privileges.resolve_privileges(made, Kernel(capabilities=ALL_CAPS, uid=0), Machine(uid=0))
    assert account is not None
    assert account.name == "daemon"
    assert (made.fields["uid"], made.fields["gid"], made.fields["set_groups"], made.fields["groups"]) == (1, 1, 1, ())
    made = draft(privileges__user="daemon")
    privileges.resolve_privileges(made, Kernel(capabilities=0, uid=1000), Machine(uid=1000))
    assert "CAP_SETUID" in str(made.problems[0])
    made = draft(privileges__user="nobody-here")
    privileges.resolve_privileges(made, Kernel(capabilities=ALL_CAPS, uid=0), Machine(uid=0))
    assert "no such user" in str(made.problems[0])


def test_new_privileges_cannot_be_had_beside_landlock():
    """no_new_privs = false with a filter or a ruleset is an error, unless CAP_SYS_ADMIN is kept."""
    made = draft(privileges__no_new_privs=False)
    privileges.resolve_privileges(made, Kernel(capabilities=ALL_CAPS, uid=0), Machine(uid=0))
    made.fields["landlock_abi"] = 7
    privileges.check_no_new_privs(made, Kernel(capabilities=ALL_CAPS, uid=0))
    assert "Landlock" in str(made.problems[0])
    made.problems.clear()
    privileges.check_no_new_privs(made, Kernel(capabilities=0, uid=1000))
    assert "CAP_SETPCAP" in str(made.problems[0])


def net(abi, optional=(), **written):
    made = draft(optional, **written)
    network.resolve_network(made, Kernel(landlock_abi=abi), Machine())
    return made


ANY = Endpoint("*", "all")
HTTPS = Endpoint("tcp:443", "any", "tcp", "", 443, 443)
NTP = Endpoint("udp:123", "any", "udp", "", 123, 123)
BY_NAME = Endpoint("example.org:443", "name", "", "example.org", 443, 443)
EVERY_TCP = Endpoint("tcp:*", "any", "tcp")


def refused(made, syscall):
    return any(guard.syscall == syscall and not guard.when for guard in made.guards)


@pytest.mark.parametrize("abi", [0, 1, 4, 7, 10])
def test_nothing_granted_is_no_network_on_every_kernel(abi):
    """Without a grant no socket can be made, by seccomp, whatever Landlock knows."""
    made = net(abi)
    assert not made.problems
    assert any(guard.syscall == "socket" for guard in made.guards)
    assert refused(made, "io_uring_setup")
    assert all(protection.state == ENFORCED for protection in made.protections)


@pytest.mark.parametrize(("abi", "ok"), [(3, False), (4, True), (10, True)])
def test_tcp_ports_need_abi_4(abi, ok):
    """One TCP port is a Landlock rule from ABI 4 on, and a problem below."""
    made = net(abi, network__connect=[HTTPS])
    assert bool(made.problems) is not ok
    if ok:
        assert made.fields["port_rules"] == ((landlock.NET["connect_tcp"], 443),)
        assert made.fields["landlock_net"] & landlock.NET["bind_tcp"]
        assert refused(made, "listen")


@pytest.mark.parametrize(("abi", "ok"), [(7, False), (10, True)])
def test_udp_ports_need_abi_10(abi, ok):
    """UDP ports below Landlock ABI 10 are a problem, never a wider grant."""
    made = net(abi, network__connect=[NTP])
    assert bool(made.problems) is not ok


def test_an_endpoint_that_cannot_be_kept_grants_nothing():
    """A host name is refused here; optional, it is left out and recorded, not widened to its port."""
    assert "one host" in str(net(7, network__connect=[BY_NAME]).problems[0])
    made = net(7, ("network.connect",), network__connect=[BY_NAME])
    assert not made.problems
    assert made.fields["port_rules"] == ()
    assert made.protections[0].state == LOST


def test_host_moot_by_everything_is_warned_of():
    """A name beside "*" adds nothing, and that is said."""
    made = net(7, network__connect=[ANY, BY_NAME])
    assert not made.problems
    assert "adds nothing" in made.warnings[0]


def test_deny_wins():
    """`deny = ["*"]` is no network; a denied port goes out of the list; out of everything nothing can be taken."""
    assert net(7, network__connect=[ANY], network__deny=[ANY]).fields["landlock_net"]
    made = net(7, network__connect=[HTTPS], network__deny=[HTTPS])
    assert made.fields["port_rules"] == ()
    assert "cannot be taken out" in str(net(7, network__connect=[ANY], network__deny=[HTTPS]).problems[0])


def test_a_server_without_connect_cannot_call_out_on_an_old_kernel():
    """Below ABI 4 the port rights are missing: connect(2) as a whole is refused."""
    assert refused(net(2, network__bind=[EVERY_TCP]), "connect")
    made = net(7, network__bind=[EVERY_TCP])
    assert made.fields["landlock_net"] == landlock.NET["connect_tcp"]


def test_named_unix_sockets_need_abi_9():
    """One unix socket by name is a problem below ABI 9; every one of them is a matter of the family."""
    assert "ABI 9" in str(net(7, network__unix=[_entry("/run/x.sock")]).problems[0])
    assert not net(7, network__unix=[PathEntry("@all", group="@all")]).problems


def _entry(path):
    return PathEntry(path, path=path)
