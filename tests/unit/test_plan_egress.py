"""What becomes of hosts in a profile: the rules of the relay, the ports, names and files inside, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sandrun.errors import SandrunError
from sandrun.kernel import NAMESPACES, Kernel
from sandrun.plan import egress
from sandrun.plan.format import KEEP, KIND_FILE, Plan
from sandrun.plan.resolve import resolve
from sandrun.policy.guards import CLONE_NEW
from sandrun.policy.syscalls import numbers
from sandrun.primitives.landlock import FS, NET
from sandrun.primitives.view import VIEW_BIND, VIEW_CONTENT
from sandrun.profile import load
from tests import bpf_sim
from tests.fakes import FakeHost, debian_host, directory, file, link

if TYPE_CHECKING:
    from sandrun.plan.resolve import Resolution

COMMAND = ("/usr/bin/true",)
TCP, UDP = 6, 17
EVERYTHING = (("filesystem.read", "@all"), ("filesystem.write", "@all"), ("filesystem.execute", "@all"))


def kernel(abi: int = 7, *, uid: int = 1000, namespaces: bool = True) -> Kernel:
    return Kernel(
        **dict.fromkeys(NAMESPACES, namespaces),
        namespace_reason="" if namespaces else "not here",
        landlock_abi=abi,
        landlock_state="available" if abi else "missing",
        capabilities=0 if uid else (1 << 41) - 1,
        uid=uid,
    )


def flags(*written: tuple[str, str]) -> list[tuple[str, str, str]]:
    return [(key, text, "--" + key) for key, text in (*EVERYTHING, *written)]


def planned(*written: tuple[str, str], on: Kernel | None = None, **options: Any) -> Resolution:
    """The plan of `none` with these (key, value), in the order of the command line; everything of the files is granted."""
    on = on or kernel()
    profile = load(("none",), flags(*written), **options)
    return resolve(profile, on, debian_host(uid=on.uid), COMMAND)


def connect(*endpoints: str) -> tuple[tuple[str, str], ...]:
    return tuple(("network.connect", endpoint) for endpoint in endpoints)


def relay(plan: Plan) -> Plan:
    assert plan.egress
    return Plan.from_bytes(plan.egress)


def refusal(*written: tuple[str, str], **options: Any) -> str:
    with pytest.raises(SandrunError) as caught:
        planned(*written, **options)
    assert caught.value.status == 125
    return "\n".join(caught.value.lines())


def span(first: int, last: int = 0) -> int:
    return first << 16 | (last or first)


# --- the rules -------------------------------------------------------------------------------------------------------


def test_rules_keep_host_kind_protocol_and_ports() -> None:
    """Each endpoint is a rule as it was written; a host without a protocol is TCP."""
    plan = planned(
        *connect("Example.org.:443", "*.example.org:80-81", "udp:192.0.2.1:123", "[2001:db8::/32]:5432")
    ).plan
    assert relay(plan).relay_rules == (
        (TCP, span(443), b"name", b"example.org"),
        (TCP, span(80, 81), b"name", b"*.example.org"),
        (UDP, span(123), b"address", b"192.0.2.1"),
        (TCP, span(5432), b"cidr", b"2001:db8::/32"),
    )
    assert plan.egress_listen == ((TCP, 80), (TCP, 81), (TCP, 443), (TCP, 5432), (UDP, 123))
    assert plan.loopback == 1
    assert plan.namespaces & CLONE_NEW["CLONE_NEWNET"]
    assert plan.namespaces & CLONE_NEW["CLONE_NEWNS"]
    assert plan.namespaces & CLONE_NEW["CLONE_NEWUSER"]


def test_a_port_of_every_host_beside_a_host_goes_through_the_relay_too() -> None:
    """There is no other way out of the namespace."""
    plan = planned(*connect("example.org:443", "tcp:22", "*:123")).plan
    assert relay(plan).relay_rules[1:] == (
        (TCP, span(22), b"any", b""),
        (TCP, span(123), b"any", b""),
        (UDP, span(123), b"any", b""),
    )


def test_names_have_addresses_in_the_order_of_the_plan() -> None:
    """127.64.1.1 and upwards, none of them with a last byte of 0; wildcards get theirs when they are asked for."""
    plan = planned(*connect("b.example:1", "*.example.org:1", "a.example:1", "b.example:2")).plan
    assert relay(plan).relay_names == ((0x7F400101, 0, b"b.example", b""), (0x7F400102, 0, b"a.example", b""))
    many = tuple(f"n{i}.example" for i in range(egress.MOST_NAMES))
    addresses = [number for number, _ in egress.addresses(many)]
    assert len(set(addresses)) == len(many)
    assert all(number & 0xFF for number in addresses)
    assert addresses[254:256] == [0x7F4001FF, 0x7F400201]
    assert max(addresses) < 0x7F600000, "the addresses of wildcards begin there"


def test_denials_and_private_ranges_reach_the_relay() -> None:
    """Those without a protocol hold for both, those without a port for every port."""
    written = (("network.deny", "10.0.0.0/8"), ("network.deny", "tcp:25"), ("network.private", "192.168.0.0/16"))
    found = planned(*connect("*.example.org:443"), *written)
    own = relay(found.plan)
    assert own.relay_deny == (
        (TCP, 65535, b"cidr", b"10.0.0.0/8"),
        (UDP, 65535, b"cidr", b"10.0.0.0/8"),
        (TCP, span(25), b"any", b""),
    )
    assert own.relay_private == (b"192.168.0.0/16",)
    kept = {record.key: record.mechanisms for record in found.enforcement}
    assert kept["network.deny"] == kept["network.private"] == ("relay",)


def test_a_host_taken_out_of_a_port() -> None:
    """Everywhere on a port but there: what Landlock cannot tell apart, the relay does. Not so for every port."""
    own = relay(planned(*connect("tcp:443"), ("network.deny", "10.0.0.0/8")).plan)
    assert own.relay_rules == ((TCP, span(443), b"any", b""),)
    assert own.relay_deny[0] == (TCP, 65535, b"cidr", b"10.0.0.0/8")
    said = refusal(*connect("*"), ("network.deny", "10.0.0.0/8"))
    assert said.count("10.0.0.0/8 cannot be taken out") == 1, "once, though it is both protocols"
    assert not planned(("network.deny", "10.0.0.0/8")).plan.egress


@pytest.mark.parametrize("closed", ["*", "@all"])
def test_no_network_is_no_relay(closed: str) -> None:
    """`deny = ["*"]` wins over every host."""
    plan = planned(*connect("example.org:443"), ("network.deny", closed)).plan
    assert not plan.egress
    assert not plan.egress_listen


@pytest.mark.parametrize(
    ("endpoints", "has_relay"),
    [
        (("example.org:443", "*"), False),
        (("example.org:443", "tcp:*"), False),
        (("example.org:443", "tcp:443"), False),
        (("example.org:443-444", "tcp:443"), True),
        (("udp:example.org:443", "*:443"), False),
        (("tcp:443",), False),
        (("udp:*",), False),
    ],
)
def test_a_host_that_every_host_covers_needs_no_relay(endpoints: tuple[str, ...], has_relay: bool) -> None:
    """It is warned of, and nothing else is different."""
    found = planned(*connect(*endpoints), on=kernel(10))
    assert bool(found.plan.egress) is has_relay
    if len(endpoints) > 1 and not has_relay:
        assert "adds nothing to a grant of every host" in str(found.warnings)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (connect("example.org"), "name the ports: example.org:443"),
        (connect("10.0.0.0/8"), "every port of one host"),
        (connect("udp:*", "example.org:443"), "udp:*: every port of every host cannot stand beside hosts"),
        (connect("tcp:*", "udp:example.org:443"), "tcp:*: every port of every host cannot stand beside hosts"),
        (connect("example.org:1-1026"), "more than 1024 ports"),
        (connect("example.org:53"), "answers lookups inside"),
        (connect("localhost:80"), "127.0.0.1:80 is the host's"),
        (connect("*.localhost:80"), "own loopback interface"),
        (connect("127.64.1.1:80"), "stands for names inside"),
        (connect("127.96.0.0/16:80"), "stands for names inside"),
        ((*connect("example.org:443"), ("network.bind", "tcp:443")), "port 443 leads to hosts"),
        ((*connect("example.org:443"), ("network.bind", "udp:53")), "port 53 answers lookups"),
        ((*connect("example.org:443"), ("network.bind", "192.0.2.1:80")), "only the host's loopback can show"),
        ((*connect("example.org:443"), ("network.bind", "tcp:1000-1100")), "more than 64 ports to show"),
        ((("network.loopback", "true"), *connect("*")), "cannot stand beside hosts"),
    ],
)
def test_what_a_relay_cannot_keep_is_refused(written: tuple[tuple[str, str], ...], message: str) -> None:
    """In plain words, with a remedy."""
    text = refusal(*written)
    assert message in text
    assert "hint: " in text


def test_most_ports_and_names_are_a_limit() -> None:
    """One less is planned."""
    assert len(planned(*connect("example.org:1000-2023")).plan.egress_listen) == egress.MOST_LISTENING
    names = [f"n{i}.example:443" for i in range(egress.MOST_NAMES + 1)]
    assert "more than 4096 host names" in refusal(*connect(*names))


@pytest.mark.parametrize("moot", ["@dns", "tcp:53", "*:53"])
def test_lookups_need_no_grant(moot: str) -> None:
    """Granted names are answered inside, and port 53 there leads nowhere else; it is said so."""
    found = planned(*connect("example.org:443", moot))
    assert len(relay(found.plan).relay_rules) == 1
    assert f"{moot} adds nothing" in str(found.warnings)


# --- the namespace ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", range(11))
def test_nothing_but_binding_is_limited_inside(abi: int) -> None:
    """What is refused has to reach the relay to be recorded; sockets are TCP and UDP; nothing listens without a grant."""
    plan = planned(*connect("example.org:443"), on=kernel(abi)).plan
    assert not plan.landlock_net & (NET["connect_tcp"] | NET["connect_send_udp"] | NET["bind_udp"])
    assert not plan.port_rules
    assert bool(plan.landlock_net & NET["bind_tcp"]) is (abi >= 4)
    answers = {name: bpf_sim.verdict(plan.seccomp, numbers("x86_64")[name]) for name in ("listen", "bind", "connect")}
    assert answers["listen"] != answers["connect"] == answers["bind"]
    if abi:
        assert plan.landlock_abi, "a domain keeps the command from tracing processes that have the network"


def test_a_loopback_of_its_own_beside_hosts() -> None:
    """Its own servers listen on every port that the relay has not."""
    plan = planned(*connect("example.org:443"), ("network.loopback", "true")).plan
    assert not plan.landlock_net
    assert relay(plan).relay_rules
    assert not plan.publish


@pytest.mark.parametrize("where", ["tcp:8080", "127.0.0.1:8080", "[::1]:8080", "*:8080"])
def test_a_bound_port_is_shown_outside(where: str) -> None:
    """On the host's loopback, and bound inside by Landlock's leave alone."""
    for written in (connect("example.org:443"), (("network.loopback", "true"),)):
        plan = planned(*written, ("network.bind", where)).plan
        assert plan.publish == relay(plan).publish == ((TCP, 8080),)
        if not plan.landlock_net & NET["bind_tcp"]:
            continue
        assert plan.port_rules == ((NET["bind_tcp"], 8080),)


def test_a_denied_or_unnamed_port_is_not_shown() -> None:
    """A denial wins; every port, a port of the kernel's choice and UDP stay inside."""
    bound = tuple(("network.bind", text) for text in ("tcp:8080-8081", "tcp:0", "udp:9000"))
    plan = planned(*connect("example.org:443"), *bound, ("network.deny", "tcp:8081")).plan
    assert plan.publish == ((TCP, 8080),)
    found = planned(*connect("example.org:443"), ("network.bind", "*"))
    assert not found.plan.publish
    assert "shows no port outside" in str(found.warnings)


@pytest.mark.parametrize("endpoint", ["example.org:443", "192.0.2.1:443", "10.0.0.0/8:443"])
def test_without_namespaces_hosts_are_refused_or_left_out(endpoint: str) -> None:
    """They are never widened to a port of every host."""
    here = kernel(namespaces=False)
    text = refusal(*connect(endpoint, "tcp:22"), on=here)
    assert "takes a network namespace: not here" in text
    assert "--connect tcp:443 is that port on any host" in text
    plan = planned(*connect(endpoint, "tcp:22"), on=here, optional=("network.connect",)).plan
    assert not plan.egress
    assert plan.port_rules == ((NET["connect_tcp"], 22),)


@pytest.mark.parametrize("bound", ["tcp:8080", "*"])
@pytest.mark.parametrize("abi", [0, 7])
def test_a_denied_port_costs_no_bound_one(bound: str, abi: int) -> None:
    """Whatever is bound stays inside, so that a denial need not be taken out of it."""
    written = (*connect("example.org:443"), ("network.bind", bound), ("network.deny", "tcp:25"))
    assert relay(planned(*written, on=kernel(abi)).plan).relay_deny


def test_every_family_stays_in_the_namespace() -> None:
    """Sockets of any kind do not get around the relay, and the record says that it is there."""
    found = planned(*connect("example.org:443"), ("network.families", "@all"))
    assert relay(found.plan)
    assert ["relay", "network namespace"] in [
        list(record.mechanisms) for record in found.enforcement if record.key == "network.connect"
    ]


def test_resolvers_alone_are_refused() -> None:
    """Without a relay nothing keeps to them, and with one they are not needed."""
    assert "the resolvers cannot be told from other hosts" in refusal(*connect("@dns"))


# --- the files -------------------------------------------------------------------------------------------------------


def contents(plan: Plan) -> dict[str, bytes]:
    return {path.decode(): text for operation, _, path, text in plan.view if operation == VIEW_CONTENT}


def on_host(files: dict[str, Any], *written: tuple[str, str]) -> Plan:
    base = {"/usr/bin/true": file(mode=0o755), "/etc": directory(), "/tmp": directory(0o1777)}
    host = FakeHost(base | files, uid=1000, environ={"HOME": "/home/me"})
    profile = load(("none",), flags(*connect("example.org:443"), *written))
    return resolve(profile, kernel(), host, COMMAND).plan


def test_lookups_lead_to_the_relay() -> None:
    """Names are in hosts(5) with their addresses, all others go to 127.0.0.1, and no other way of looking up is left."""
    files = {
        "/etc/hosts": file(b"10.0.0.1 example.org\n"),
        "/etc/resolv.conf": link("../run/resolve/stub.conf"),
        "/run/resolve/stub.conf": file(b"nameserver 127.0.0.53\n"),
        "/etc/nsswitch.conf": file(b"passwd: files\n hosts: mymachines resolve dns\ngroup: files"),
        "/proc/sys/kernel/hostname": file(b"box\n"),
    }
    found = contents(on_host(files))
    assert set(found) == {"/etc/hosts", "/run/resolve/stub.conf", "/etc/nsswitch.conf"}
    assert found["/etc/hosts"].splitlines()[-2:] == [b"127.0.0.1 box", b"127.64.1.1 example.org"]
    assert b"10.0.0.1" not in found["/etc/hosts"]
    assert found["/run/resolve/stub.conf"].startswith(b"nameserver 127.0.0.1\n")
    assert found["/etc/nsswitch.conf"] == b"passwd: files\ngroup: files\nhosts: files dns\n"


def test_what_the_host_lacks_is_not_made() -> None:
    """The defaults of C libraries lead to 127.0.0.1 as well. A dangling link is as good as nothing."""
    assert set(contents(on_host({"/etc/resolv.conf": link("/run/gone")}))) == set()


def test_a_host_name_of_its_own_is_known() -> None:
    """process.hostname is what programs look themselves up by; a name that is granted keeps its address."""
    files = {"/etc/hosts": file(), "/proc/sys/kernel/hostname": file(b"box\n")}
    assert b"127.0.0.1 jail\n" in contents(on_host(files, ("process.hostname", "jail")))["/etc/hosts"]
    assert b"127.0.0.1 example.org" not in contents(on_host(files, ("process.hostname", "example.org")))["/etc/hosts"]


def test_the_files_can_be_read_and_not_written() -> None:
    """They have path rules of their own, since those on what they cover do not hold; a denial stays one."""
    plan = on_host({"/etc/hosts": file(), "/etc/shadow": file()}, ("filesystem.deny", "/etc/shadow"))
    assert (FS["read_file"], KIND_FILE, b"/etc/hosts") in plan.view_rules
    assert b"/etc/hosts" not in [path for _, _, path in plan.path_rules]
    plan = on_host({"/etc/hosts": file(), "/etc/resolv.conf": file()}, ("filesystem.deny", "/etc/hosts"))
    assert set(contents(plan)) == {"/etc/resolv.conf"}
    assert (VIEW_BIND, b"/etc/hosts") in [(operation, path) for operation, _, path, _ in plan.view]
    assert b"/etc/hosts" not in [path for _, _, path in plan.view_rules]


# --- the relay's own sandbox -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("abi", [0, 1, 4, 7, 10])
def test_the_relay_confines_itself(abi: int, uid: int) -> None:
    """It reads what resolvers need, connects to granted ports, and has no capability, nor root's ids."""
    own = relay(planned(*connect("example.org:443", "udp:example.org:123"), on=kernel(abi, uid=uid)).plan)
    assert own.no_new_privs == 1
    assert not own.permitted | own.bounding | own.ambient | own.inheritable
    assert (own.uid, own.gid, own.set_groups, own.groups) == ((65534, 65534, 1, ()) if uid == 0 else (-1, -1, 0, ()))
    assert own.landlock_abi == abi
    reading = FS["read_file"] | FS["read_dir"]
    assert all(not access & ~reading for access, _, _ in own.path_rules)
    assert not any(path.startswith((b"/home", b"/root", b"/tmp")) for _, _, path in own.path_rules)
    ports = ((NET["connect_tcp"], 53), (NET["connect_tcp"], 443))
    assert own.port_rules == (ports if abi >= 4 else ())
    assert not own.egress


def test_the_filter_of_the_relay() -> None:
    """It serves sockets, and starts nothing, traces nothing, makes no file and no other kind of socket."""
    own = relay(planned(*connect("example.org:443")).plan)
    number = numbers("x86_64")

    def allowed(name: str, *arguments: int) -> bool:
        return bpf_sim.verdict(own.seccomp, number[name], arguments) == bpf_sim.ALLOW

    for name in ("accept4", "splice", "epoll_wait", "getrandom", "futex", "sendmsg", "pipe2"):
        assert allowed(name), name
    refused = "execve execveat fork vfork ptrace kill bind listen mkdir unlink mount setns unshare io_uring_setup"
    for name in refused.split():
        assert not allowed(name), name
    assert allowed("socket", 2, 1, 6)
    assert allowed("socket", 10, 2, 0)
    assert not allowed("socket", 2, 1, 262), "MPTCP"
    assert not allowed("socket", 17, 3, 0), "packet"
    assert allowed("openat", 0, 0, 0)
    assert not allowed("openat", 0, 0, 0o102)
    assert allowed("clone", 0x3D0F00)
    assert not allowed("clone", 17)


@pytest.mark.parametrize(
    ("uid_map", "setgroups", "is_nobody"),
    [
        (b"         0          0 4294967295\n", b"allow\n", True),
        (b"0 1000 1\n1 100000 65536\n", b"allow\n", True),
        (b"0 1000 1\n", b"deny\n", False),
        (b"0 1000 1\n", b"allow\n", False),
        (b"0 100000 65536\n", b"deny\n", False),
    ],
)
def test_root_in_a_user_namespace(uid_map: bytes, setgroups: bytes, is_nobody: bool) -> None:
    """The relay of root becomes nobody, unless the user namespace has no such ids: there it stays who it is."""
    maps = {"uid_map": uid_map, "gid_map": uid_map, "setgroups": setgroups}
    host = debian_host(uid=0, tree={f"/proc/1/{name}": file(text) for name, text in maps.items()})
    own = relay(resolve(load(("none",), flags(*connect("a.example:443"))), kernel(uid=0), host, COMMAND).plan)
    assert (own.uid, own.gid) == ((65534, 65534) if is_nobody else (KEEP, KEEP))
    assert own.permitted == own.bounding == 0
