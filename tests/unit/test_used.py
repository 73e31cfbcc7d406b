"""What a run used of its grants: from events to the member `used` of its record. Pure, over a judge that is made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from sandrun.explain import used
from sandrun.explain.denials import Denial
from sandrun.explain.used import Uses
from sandrun.observe.events import ABSENT, FILE, Address, Event, Place
from sandrun.primitives.landlock import FS, READ, WRITE
from sandrun.profile.bad import Bad
from sandrun.why.answer import Answer
from sandrun.why.entries import Claim, Entry
from tests.fakes import FakeHost, program

if TYPE_CHECKING:
    import pytest

HOST = FakeHost(
    {
        "/bin/tool": program(b"#!/bin/other -x\n"),
        "/bin/other": program(b"text"),
        "/srv/a": program(),
        "/srv/b/c": program(),
    }
)
EXECUTE = FS["execute"] | FS["read_file"]
SRV = Claim(Entry("filesystem.read", "/srv", "app.toml:1"), READ, ("/srv",))
BELOW = Claim(Entry("filesystem.write", "/srv/b", "app.toml:2"), READ | WRITE, ("/srv/b",))
BIN = Claim(Entry("filesystem.execute", "/bin", "app.toml:3"), EXECUTE, ("/bin",))
TMP = Claim(Entry("filesystem.tmp", "private", "app.toml:4"), READ | WRITE, ("/tmp",))
HIDDEN = Claim(Entry("filesystem.home", "hidden", "app.toml:5"), READ, ("/home/u",))
WEB = Entry("network.connect", "example.org:443", "app.toml:6")
ANY = Entry("network.bind", "tcp:*", "app.toml:7")


class FakeJudge:
    """Grants example.org:443 by its entry, each bind, and nothing else of the network."""

    entries = SimpleNamespace(grants=(SRV, BELOW, BIN), hiding=(TMP, HIDDEN), host=HOST)
    network_entries = (WEB, ANY)

    def connect(self, target: str, port: int, protocol: str = "tcp") -> Answer:
        if " " in target:
            raise Bad("no host")
        return Answer("connect", (target, port, protocol) == ("example.org", 443, "tcp"), "", (WEB,))

    def bind(self, port: int, protocol: str = "tcp") -> Answer:
        return Answer("bind", True, "", (ANY,))

    def unix(self, path: str) -> Answer:
        return Answer("unix", False, "")


def event(*places: Place, when: float = 1.0, pid: int = 7, call: str = "openat", **more: Any) -> Event:
    more.setdefault("arguments", (0,) * 6)
    return Event(when, pid, pid, "/bin/cat", call, places=places, **more)


def at(act: str, path: str, rights: int = 0, kind: str = FILE) -> Place:
    return Place(path, path, kind, act, rights)


def document(*events: Event, denied: tuple[Denial, ...] = (), **more: Any) -> dict[str, Any]:
    """What the record has of these events."""
    uses = Uses()
    for one in events:
        uses(one)
    return uses.document(cast("Any", FakeJudge()), denied, **more)


def grant(made: dict[str, Any], text: str) -> dict[str, Any]:
    return dict(next(one for one in made["grants"] if one["text"] == text))


def test_the_nearest_grant_counts() -> None:
    """A file counts for the entry nearest above it; another gets only the rights that the nearer one does not give."""
    made = document(event(at("read", "/srv/b/c", FS["read_file"])), event(at("read", "/srv/a", FS["read_file"])))
    assert (grant(made, "/srv/b")["times"], grant(made, "/srv/b")["used"]) == (1, ["read_file"])
    assert (grant(made, "/srv")["times"], grant(made, "/srv")["used"]) == (1, ["read_file"])
    executed = document(event(at("execute", "/srv/b/c", FS["execute"] | FS["read_file"])))
    assert grant(executed, "/srv/b")["used"] == ["read_file"]
    assert [row["grant"] for row in executed["files"]] == [None], "nobody grants to execute it"


def test_a_place_of_its_own_is_granted_too() -> None:
    """A private place is an entry that can be used; one that is hidden grants nothing."""
    made = document(event(at("create", "/tmp/new", FS["make_reg"], ABSENT)))
    assert grant(made, "private")["times"] == 1
    assert "hidden" not in [one["text"] for one in made["grants"]]


def test_what_is_no_use() -> None:
    """What is not there, what a filter refuses, and what is denied by a rule."""
    denied = (Denial("read", "/srv/a", "open /srv/a", "denied"),)
    made = document(
        event(at("read", "/srv/absent", FS["read_file"], ABSENT)),
        event(at("read", "/srv/b/c", FS["read_file"]), refused=1),
        event(at("read", "/srv/a", FS["read_file"])),
        denied=denied,
    )
    assert [one["times"] for one in made["grants"]] == [0] * len(made["grants"])
    assert made["files"] == []


def test_looking_is_told_apart() -> None:
    """stat(2) and the like take no right: they count for the nearest entries as looks, and are not listed."""
    made = document(event(at("look", "/srv/b/c")), event(at("look", "/srv/b/c")))
    assert (grant(made, "/srv/b")["looked"], grant(made, "/srv/b")["times"]) == (2, 0)
    assert grant(made, "/srv")["looked"] == 0
    assert made["files"] == []


def test_what_the_kernel_executes_by_itself() -> None:
    """The interpreter of a script is used though no call names it."""
    made = document(event(at("execute", "/bin/tool", EXECUTE), call="execve"))
    rows = {row["path"]: row for row in made["files"]}
    assert rows["/bin/other"]["program"] is None
    assert rows["/bin/tool"]["program"] == "/bin/cat"
    assert grant(made, "/bin")["times"] == 2


def test_the_network() -> None:
    """Connections count for the entries that the judge names; those of a relay are in its record, by name."""
    record = {
        "endpoints": [{"endpoint": "tcp:example.org:443", "connections": 3}, {"endpoint": "odd", "connections": 1}]
    }
    made = document(
        event(call="bind", address=Address("bind", "tcp", "0.0.0.0", 80)),
        event(call="connect", address=Address("connect", "tcp", "a b", 1)),
        event(call="connect", address=Address("connect", "tcp", "192.0.2.1", 1)),
        denied=(Denial("connect", "tcp:192.0.2.1:1", "connect", "no entry grants it"),),
        record=record,
    )
    assert grant(made, "example.org:443")["times"] == 3
    assert grant(made, "tcp:*")["times"] == 1
    assert [(row["act"], row["host"]) for row in made["endpoints"]] == [("bind", "0.0.0.0"), ("connect", "a b")]


def test_processes() -> None:
    """Each with the program that it ran last, how often it was seen, and how it ended."""
    made = document(
        event(when=0.5),
        event(when=1.5, call="exit_group", arguments=(256 + 3, 0, 0, 0, 0, 0)),
        event(pid=8),
        event(pid=0),
    )
    seven, eight = made["processes"]
    assert seven == {"pid": 7, "program": "/bin/cat", "first": 0.5, "last": 1.5, "calls": 2, "status": 3}
    assert (eight["pid"], eight["status"]) == (8, None)


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that touches a million files fills no memory, and the record says that not all is known."""
    monkeypatch.setattr(used, "MOST", 3)
    monkeypatch.setattr(used, "MOST_PROCESSES", 2)
    made = document(*[event(at("read", f"/srv/{number}", FS["read_file"]), pid=number + 1) for number in range(5)])
    assert len(made["files"]) == 3
    assert len(made["processes"]) == 2
    assert (made["complete"], made["others"]) == (False, 5)
    monkeypatch.setattr(used, "MOST", 100)
    monkeypatch.setattr(used, "MOST_LISTED", 2)
    listed = document(*[event(at("read", f"/srv/{number}", FS["read_file"])) for number in range(5)])
    assert (len(listed["files"]), listed["others"], listed["complete"]) == (2, 3, True)
    assert grant(listed, "/srv")["times"] == 5, "what is not listed still counts"
    monkeypatch.setattr(used, "MOST_TEXT", 10)
    assert document(event(at("read", "/srv/" + "x" * 20, FS["read_file"])))["complete"] is False


def test_a_gap_is_told() -> None:
    """What the observer missed may have been a use."""
    made = document(gap="cannot look into process 7")
    assert (made["complete"], made["gap"]) == (False, "cannot look into process 7")
