"""Explain: from what a command tried to what it was refused, how to allow it, and what it likely failed of."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from sandrun.explain import causes, kernel_log, render
from sandrun.explain.attempts import Attempts, Collector
from sandrun.explain.causes import CAUSE, POSSIBLE, SHRUGGED, findings
from sandrun.explain.denials import LIMIT, Denial, Who, find, of_relay
from sandrun.explain.limits import calls, watched
from sandrun.explain.remedies import Remedy, raised, remedy
from sandrun.observe.events import ABSENT, DIRECTORY, FILE, Address, Event, Place
from sandrun.plan.format import Plan
from sandrun.primitives.landlock import FS
from sandrun.why.answer import Answer
from sandrun.why.entries import Entry
from tests.fakes import FakeHost, program

if TYPE_CHECKING:
    from pathlib import Path

HOST = FakeHost(
    {"/opt/tool": program(b"#!/opt/interpreter -x\n"), "/opt/interpreter": program(b"\x7fELF"), "/bin/sh": program()}
)
READ, WRITE, EXECUTE, MAKE = FS["read_file"], FS["write_file"], FS["execute"], FS["make_reg"]
DENY = Entry("filesystem.deny", "/data/secret", "app.toml:3: filesystem.deny[0]")


class FakeJudge:
    """Refuses what is in `refused`; each question that it is asked is kept."""

    def __init__(self, *refused: str, mechanisms: tuple[str, ...] = ("landlock",), **answers: Any) -> None:
        self.refused = refused
        self.rest = {"mechanisms": mechanisms, "reason": "no entry grants it"} | answers
        self.asked: list[str] = []

    def _answer(self, act: str) -> Answer:
        self.asked.append(act)
        if act not in self.refused:
            return Answer(act, True, "granted")
        return Answer(act, False, **self.rest)

    def file(self, act: str, path: str, rights: int = 0) -> Answer:
        return self._answer(f"{act} {path}")

    def lets(self, act: str, path: str, rights: int = 0) -> bool:
        return f"{act} {path}" not in self.refused

    def connect(self, target: str, port: int, protocol: str = "tcp") -> Answer:
        return self._answer(f"connect {protocol}:{target}:{port}")

    def bind(self, port: int, protocol: str = "tcp") -> Answer:
        return self._answer(f"bind {protocol}:{port}")

    def unix(self, path: str) -> Answer:
        return self._answer(f"unix {path}")

    def syscall(self, name: str, arguments: tuple[int, ...] = ()) -> Answer:
        if name.startswith("#"):
            raise ValueError(name)
        return self._answer(f"syscall {name}")


def place(act: str, path: str, rights: int = 0, kind: str = FILE) -> Place:
    return Place(path, path, kind, act, rights)


def event(when: float = 1.0, *places: Place, pid: int = 7, call: str = "openat", **more: Any) -> Event:
    more.setdefault("arguments", (0,) * 6)
    return Event(when, pid, pid, "/bin/cat", call, places=places, **more)


def attempts(*events: Event) -> Attempts:
    collector = Collector()
    for one in events:
        collector(one)
    return collector.attempts()


def denials(judge: FakeJudge, *events: Event, relayed: bool = False) -> tuple[Denial, ...]:
    return find(attempts(*events), cast("Any", judge), HOST, relayed=relayed)


def denial(act: str, target: str, last: float = 1.0, pid: int = 7, **more: Any) -> Denial:
    more.setdefault("who", (Who("/bin/cat", pid, last),))
    return Denial(act, target, f"{act} {target}", "no entry grants it", **more)


# --- attempts ------------------------------------------------------------------------------------------------------


def test_attempts_are_kept_by_process() -> None:
    """The same call of one process is one attempt; what came after it, and how the process ended, is known."""
    one = place("read", "/a", READ)
    made = attempts(
        event(1.0, one),
        event(2.0, one),
        event(3.0, one, pid=8),
        event(4.0, place("read", "/b", READ)),
        event(5.0, call="exit_group", arguments=(2, 0, 0, 0, 0, 0)),
    )
    other, last = made.made[1:]
    first = made.made[0]
    assert (first.event.pid, first.last, first.times, first.after) == (7, 2.0, 2, 1)
    assert (other.event.pid, other.times, other.after) == (8, 1, 0)
    assert last.event.places[0].path == "/b"
    assert made.exits == {7: 2}


# --- denials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        ("read", FILE, "open /x/y for reading"),
        ("read", DIRECTORY, "list /x/y"),
        ("write", FILE, "open /x/y for writing"),
        ("create", ABSENT, "make /x/y"),
        ("remove", FILE, "remove /x/y"),
    ],
)
def test_files_in_plain_words(act: str, kind: str, words: str) -> None:
    """What the judge refuses is a denial, said as what was tried; what it grants is none."""
    (found,) = denials(
        FakeJudge(f"{act} /x/y"),
        event(1.0, place(act, "/x/y", READ, kind), place("read", "/granted", READ)),
    )
    assert (found.act, found.target, found.words) == (act, "/x/y", words)
    assert found.reason == "no entry grants it"


def test_each_thing_once_and_the_judge_is_asked_once() -> None:
    """Many attempts of many processes at one thing are one denial that names them all."""
    judge = FakeJudge("read /x")
    one = place("read", "/x", READ)
    (found,) = denials(judge, event(1.0, one), event(2.0, one), event(3.0, one, pid=9))
    assert found.times == 3
    assert [who.pid for who in found.who] == [7, 9]
    assert judge.asked == ["read /x"]


def test_what_is_absent_is_no_denial_unless_a_mount_hides_it() -> None:
    """Searching for a file that is not there fails for everybody; one that the view hides would be there."""
    absent = place("read", "/x", READ, ABSENT)
    assert not denials(FakeJudge("read /x"), event(1.0, absent))
    assert denials(FakeJudge("read /x", mechanisms=("mount",)), event(1.0, absent))
    looked = place("look", "/x", 0, ABSENT)
    assert not denials(FakeJudge("read /x"), event(1.0, looked))
    (found,) = denials(FakeJudge("read /x", mechanisms=("mount",)), event(1.0, looked))
    assert found.words == "find /x"


def test_making_where_there_is_no_directory_is_no_denial() -> None:
    """mkdir(2) without a parent fails anyway; where there is one it is refused by the rules."""
    made = event(1.0, place("create", "/no/x", MAKE, ABSENT))
    assert not denials(FakeJudge("create /no/x", ordinary="there is no directory for /no/x"), made)
    assert denials(FakeJudge("create /no/x"), made)


def test_attributes_are_refused_by_read_only_mounts_alone() -> None:
    """Landlock has no right for chmod(2), so what it would say to writing is not asked."""
    changed = event(1.0, place("change", "/x"))
    assert not denials(FakeJudge("write /x"), changed)
    assert denials(FakeJudge("write /x", mechanisms=("mount",)), changed)


def test_the_interpreter_is_named_where_it_is_what_is_refused() -> None:
    """A script that may be executed fails of its interpreter, and that is what has to be granted."""
    run = event(1.0, place("execute", "/opt/tool", EXECUTE), call="execve")
    (found,) = denials(FakeJudge("execute /opt/tool", "execute /opt/interpreter"), run)
    assert found.target == "/opt/interpreter"
    assert "which /opt/tool starts with" in found.words
    (itself,) = denials(FakeJudge("execute /opt/tool"), run)
    assert itself.target == "/opt/tool"


def test_addresses() -> None:
    """Connections and ports by their endpoints; IPv6 in brackets; a relay's connections are left to its record."""
    to = Address("connect", "tcp", "93.184.216.34", 443)
    other = Address("connect", "tcp", "2001:db8::1", 80)
    own = Address("bind", "tcp", "0.0.0.0", 8080)
    judge = FakeJudge("connect tcp:93.184.216.34:443", "connect tcp:2001:db8::1:80", "bind tcp:8080", "unix /run/s")
    found = denials(
        judge,
        *(event(1.0, address=one, call="connect") for one in (to, other, own, Address("connect", "unix", "/run/s", 0))),
    )
    assert [one.words for one in found] == [
        "connect 93.184.216.34:443",
        "connect [2001:db8::1]:80",
        "listen on port 8080 (tcp)",
        "connect to the unix socket /run/s",
    ]
    assert [one.target for one in found[:3]] == ["tcp:93.184.216.34:443", "tcp:[2001:db8::1]:80", "tcp:8080"]
    assert not denials(judge, event(1.0, address=to, call="connect"), relayed=True)


def test_other_spellings_of_an_address() -> None:
    """IPv4 by IPv6 is IPv4 to the rules, and a zone is none of their business."""
    mapped, zone = (Address("connect", "tcp", host, 443) for host in ("::ffff:192.0.2.1", "fe80::1%eth0"))
    judge = FakeJudge("connect tcp:192.0.2.1:443", "connect tcp:fe80::1:443")
    found = denials(judge, *(event(1.0, address=one, call="connect") for one in (mapped, zone)))
    assert [one.target for one in found] == ["tcp:192.0.2.1:443", "tcp:[fe80::1]:443"]


def test_a_server_of_the_command_itself_is_no_denial() -> None:
    """Inside of a loopback of its own, connecting to a port that the command bound leads to itself."""
    to = Address("connect", "tcp", "127.0.0.1", 8080)
    judge = FakeJudge("connect tcp:127.0.0.1:8080", mechanisms=("network namespace",))
    bound = event(1.0, address=Address("bind", "tcp", "127.0.0.1", 8080), call="bind")
    assert denials(judge, event(2.0, address=to, call="connect"))
    assert not denials(judge, bound, event(2.0, address=to, call="connect"))


def test_syscalls_that_the_filters_refuse() -> None:
    """By name and what they were about; newer calls that are to be answered by ENOSYS are none."""
    (found,) = denials(FakeJudge("syscall ptrace"), event(1.0, call="ptrace", refused=errno.EPERM))
    assert (found.words, found.target, found.sure) == ("syscall ptrace", "ptrace", True)
    assert not denials(FakeJudge(), event(1.0, call="clone3", refused=errno.ENOSYS))
    socket = event(1.0, call="socket", refused=errno.EACCES, arguments=(2, 1 | 0o2000000, 0, 0, 0, 0))
    assert denials(FakeJudge("syscall socket"), socket)[0].words == "syscall socket (inet stream)"
    unknown = event(1.0, call="#9999", refused=errno.ENOSYS)
    assert not denials(FakeJudge(), unknown)[0].sure


def test_the_record_of_the_relay() -> None:
    """What the relay refused, it tells by name."""
    rows = [
        {"what": "connect", "target": "example.org:443", "reason": "not granted", "count": 2},
        {"what": "name", "target": "example.net", "reason": "denied by example.net", "count": 1},
        {"what": "limit", "target": "connections", "reason": "too many at once", "count": 1},
    ]
    first, second = of_relay(rows, 4.0)
    assert (first.words, first.reason, first.times) == ("connect example.org:443", "no entry grants it", 2)
    assert remedy(first).flag == "--connect tcp:example.org:443"
    assert (second.words, second.reason) == ("find the host example.net", "denied by example.net")
    assert remedy(second).flag == "--connect example.net:443"


# --- remedies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "target", "flag", "toml"),
    [
        ("read", "/srv/a b", "--read '/srv/a b'", 'filesystem.read = ["/srv/a b"]'),
        ("read", "/srv/[x]?", "--read '/srv/[[]x][?]'", 'filesystem.read = ["/srv/[[]x][?]"]'),
        ("read", "/etc/resolv.conf", "--read @dns", 'filesystem.read = ["@dns"]'),
        ("write", "/dev/null", "--write /dev/null", 'filesystem.write = ["/dev/null"]'),
        ("create", "/srv/out/x", "--write /srv/out", 'filesystem.write = ["/srv/out"]'),
        ("create", "/tmp/x", "--tmp private", 'filesystem.tmp = "private"'),
        ("execute", "/opt/x", "--execute /opt/x", 'filesystem.execute = ["/opt/x"]'),
        ("connect", "tcp:1.2.3.4:443", "--connect tcp:1.2.3.4:443", 'network.connect = ["tcp:1.2.3.4:443"]'),
        ("bind", "tcp:80", "--bind tcp:80", 'network.bind = ["tcp:80"]'),
        ("unix", "/run/s", "--unix /run/s", 'network.unix = ["/run/s"]'),
        ("unix", "abstract:x", "--unix abstract:x", 'network.unix = ["abstract:x"]'),
        ("syscall", "ptrace", "--allow-syscall ptrace", 'syscalls.allow = ["ptrace"]'),
        ("syscall", "socket netlink raw", "--family netlink", 'network.families = ["netlink"]'),
    ],
)
def test_the_smallest_grant(act: str, target: str, flag: str, toml: str) -> None:
    """One flag and the same line of a profile, each written so that it means that and nothing else."""
    found = remedy(denial(act, target))
    assert (found.flag, found.toml) == (flag, toml)


def test_a_denial_of_the_profile_is_to_be_taken_out() -> None:
    """No grant wins over a denial, so none is proposed."""
    found = remedy(denial("read", "/data/secret/x", entries=(DENY,)))
    assert not found.flag
    assert "take out filesystem.deny /data/secret (app.toml:3: filesystem.deny[0])" in found.text


def test_a_limit_is_to_be_raised() -> None:
    assert raised("nofile", 8) == Remedy("--rlimit nofile=16", "rlimits.nofile = 16", "or more")


# --- causes --------------------------------------------------------------------------------------------------------


def order(*given: Denial, failed: bool = True, exits: dict[int, int] | None = None) -> list[tuple[str, str]]:
    found = findings(given, exits or {}, failed=failed)
    return [(one.denials[0].target, one.standing) for one in found]


def test_a_file_of_the_command_line_that_was_only_looked_for() -> None:
    """Programs look whether a file is there and give up; of a file that nobody named it says little."""
    found = findings([denial("look", "/a/key"), denial("look", "/b", 2.0)], {}, failed=True, named=(".read /a/key",))
    assert [(one.denials[0].target, one.standing) for one in found] == [("/a/key", CAUSE), ("/b", SHRUGGED)]


def test_the_last_before_the_end_is_the_cause() -> None:
    """Of several things that were refused, the last; one that the process went on after for long is shrugged off."""
    early = denial("read", "/early", who=(Who("/bin/x", 7, 1.0, after=causes.WENT_ON),))
    assert order(early, denial("read", "/b", 2.0), denial("read", "/c", 3.0)) == [
        ("/c", CAUSE),
        ("/b", POSSIBLE),
        ("/early", SHRUGGED),
    ]


def test_a_process_that_ended_well_failed_of_nothing() -> None:
    """What was refused to it is no cause, however late."""
    late = denial("read", "/late", 9.0, pid=8)
    assert order(late, denial("read", "/a"), exits={7: 1, 8: 0}) == [("/a", CAUSE), ("/late", SHRUGGED)]


def test_what_programs_do_without_comes_last() -> None:
    """A message catalogue is looked for after the error, to tell of it."""
    catalogue = denial("read", "/usr/share/locale/de/LC_MESSAGES/libc.mo", 5.0)
    assert order(catalogue, denial("read", "/a", 1.0))[0] == ("/a", CAUSE)
    assert order(catalogue) == [(catalogue.target, POSSIBLE)]


def test_a_limit_that_ended_it_comes_first() -> None:
    """SIGXFSZ is the kernel's own word; nothing that was refused later can be likelier."""
    limit = denial(LIMIT, "rlimits.fsize", who=(), fatal=True, remedy=raised("fsize", 8))
    assert order(denial("read", "/a", 5.0), limit)[0] == ("rlimits.fsize", CAUSE)


def test_one_grant_for_several_things_is_one_finding() -> None:
    """Files of name resolution are allowed by one group."""
    (found,) = findings([denial("read", "/etc/hosts"), denial("read", "/etc/resolv.conf")], {}, failed=True)
    assert found.remedy.flag == "--read @dns"
    assert len(found.denials) == 2


def test_a_command_that_succeeded_has_no_cause() -> None:
    assert order(denial("read", "/a"), failed=False) == [("/a", SHRUGGED)]


# --- limits --------------------------------------------------------------------------------------------------------


def test_only_limits_of_the_plan_are_watched() -> None:
    """Nothing more is observed where no limit is set."""
    assert calls(Plan()) == frozenset()
    plan = Plan(rlimits=((7, 8, 8), (4, 0, 0)))  # RLIMIT_NOFILE, RLIMIT_CORE
    assert watched(plan) == {"nofile": 8}
    assert "openat" in calls(plan)
    assert "mmap" not in calls(plan)


def test_what_the_kernel_logs_of_a_killed_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The syscall of a process of the command is named; those of others are not its; without a log the death is said."""
    line = '5,7,9,-;audit: type=1326 audit(1.2:3): auid=1 uid=0 gid=0 ses=1 pid={} comm="x" exe="/bin/x" sig=31 {}\n'
    rest = "arch=c000003e syscall=101 compat=0 ip=0x7f code=0x80000000"
    log = tmp_path / "kmsg"
    log.write_text("")
    monkeypatch.setattr(kernel_log, "PATH", str(log))
    judge = cast("Any", FakeJudge("syscall ptrace"))
    for pid, expected in ((7, "syscall ptrace"), (8, "a syscall that the filters kill for")):
        reading = kernel_log.KernelLog()
        with log.open("a") as file:
            file.write(line.format(pid, rest))
        (found,) = kernel_log.denials(reading, frozenset((7,)), judge, "x86_64", 2.0)
        assert (found.words, found.fatal) == (expected, True)
    monkeypatch.setattr(kernel_log, "PATH", str(tmp_path / "absent"))
    (found,) = kernel_log.denials(kernel_log.KernelLog(), frozenset((7,)), judge, "x86_64", 2.0)
    assert found.remedy == kernel_log.NOT_KNOWN


# --- what is said --------------------------------------------------------------------------------------------------


def test_text_and_document() -> None:
    """The cause first, with who, ordinary permissions, and the remedy; the document holds the same and more."""
    first = denial("read", "/root/.netrc", 3.0, ordinary="/root/.netrc may not be read: mode 0600")
    found = findings([first, denial("read", "/proc/cpuinfo", 4.0)], {}, failed=True)
    lines = render.text(found, failed=True)
    assert lines[0] == "likely cause: read /root/.netrc: no entry grants it [cat, pid 7]"
    assert lines[1] == "  it would fail without sandrun too: /root/.netrc may not be read: mode 0600"
    assert lines[2].startswith("  to allow it: --read /root/.netrc    or in the profile: filesystem.read = [")
    assert any("/proc/cpuinfo" in line for line in lines[3:])
    document = json.loads(json.dumps(render.document(found, failed=True)))
    assert [one["standing"] for one in document["findings"]] == ["cause", "shrugged"]
    assert document["findings"][0]["denials"][0]["who"] == [{"program": "/bin/cat", "pid": 7, "last": 3.0}]


def test_nothing_refused_is_said() -> None:
    assert render.text((), failed=False) == ["explain: nothing was refused"]
    assert render.text((), failed=True) == ["explain: nothing was refused that the command can have failed of"]
    assert "not everything was seen" in render.text((), failed=True, gap="x")[-1]


def test_a_hostile_command_cannot_fill_the_memory_or_the_screen() -> None:
    """Paths of 4 KiB and calls without end: the last attempts are kept, and a few lines are said."""
    collector = Collector()
    for number in range(5000):
        path = f"/{'a' * 4000}/{number}"
        collector(event(float(number), place("read", path, READ)))
    made = collector.attempts()
    assert sum(len(attempt.event.places[0].path) for attempt in made.made) < 9 * 2**20
    assert len(made.made) + made.others == 5000
    assert made.made[-1].event.places[0].path.endswith("/4999")
    many = [denial("read", f"/{number}") for number in range(1000)]
    assert len(render.text(findings(many, {}, failed=True), failed=True)) < 100
