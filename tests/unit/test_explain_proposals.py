"""Proposals are tried before they are made: what would not allow the thing is never proposed, and what would is."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandrun.explain.attempts import Attempt, Attempts
from sandrun.explain.causes import findings
from sandrun.explain.denials import Denial, find
from sandrun.explain.proposals import MOST, Proposals
from sandrun.explain.remedies import Remedy, endpoints
from sandrun.kernel import NAMESPACES, Kernel
from sandrun.observe.events import FILE, Event, Place
from sandrun.plan.resolve import resolve
from sandrun.policy.families import FAMILIES
from sandrun.primitives.landlock import FS
from sandrun.profile import load
from sandrun.why.judge import Judge
from tests.fakes import FakeHost, debian_host, directory, file

if TYPE_CHECKING:
    from sandrun.explain.causes import Finding

HOST = debian_host(
    tree={"/srv/data": directory(mode=0o777), "/srv/data/a": file(mode=0o666), "/srv/data/secret": file(mode=0o666)}
)


class Run:
    """A launch of /usr/bin/busybox by alice, with these flags and words."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *flags: tuple[str, str],
        host: FakeHost = HOST,
        words: tuple[str, ...] = (),
    ) -> None:
        flags = (("filesystem.execute", "@system"), *flags)
        profile = load(["none"], [(key, text, "--" + key.partition(".")[2]) for key, text in flags])
        kernel = Kernel(landlock_abi=7, landlock_state="available", **dict.fromkeys(NAMESPACES, True))
        monkeypatch.setattr("sandrun.explain.proposals.with_namespaces", lambda kernel, user: kernel)
        resolution = resolve(profile, kernel, host, ["/usr/bin/busybox", *words])
        self.judge = Judge(profile, resolution, kernel, host)
        self.host = host
        self.proposals = Proposals(profile, resolution.plan, kernel, host)

    def found(self, *events: Event) -> tuple[Finding, ...]:
        made = tuple(Attempt(event, event.when) for event in events)
        denials = find(Attempts(made), self.judge, self.host)
        return self.proposals.checked(findings(denials, {}, failed=True))


def event(*places: Place, call: str = "openat", **more: Any) -> Event:
    more.setdefault("arguments", (0,) * 6)
    return Event(1.0, 7, 7, "/bin/cat", call, places=places, **more)


def opened(path: str, act: str = "read", right: str = "read_file") -> Event:
    return event(Place(path, path, FILE, act, FS[right]))


def test_what_helps_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = Run(monkeypatch).found(opened("/srv/data/a"))
    assert found.remedy.flag == "--read /srv/data/a"


def test_what_would_not_help_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry that would win over the grant is told instead of the grant."""
    run = Run(monkeypatch, ("filesystem.deny", "/srv/data"))
    finding = findings([Denial("read", "/srv/data/a", "open it", "no entry grants it")], {}, failed=True)
    assert finding[0].remedy.flag == "--read /srv/data/a"
    (checked,) = run.proposals.checked(finding)
    assert (checked.remedy.flag, checked.remedy.toml) == ("", "")
    assert "not by --read /srv/data/a alone: denied by filesystem.deny /srv/data" in checked.remedy.text


def test_one_of_several_is_enough_to_withdraw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposal stands for all that it is said to allow."""
    run = Run(monkeypatch)
    same = Remedy("--read /srv/data/a", "", "", "filesystem.read", "/srv/data/a")
    denials = [Denial("read", path, "", "", remedy=same) for path in ("/srv/data/a", "/srv/data/secret")]
    (checked,) = run.proposals.checked(findings(denials, {}, failed=True))
    assert not checked.remedy.flag


def test_a_socket_is_proposed_the_endpoint_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call names no endpoint; if a word of the command line does, and granting it helps, that is proposed."""
    arguments = (FAMILIES["inet"], 1, 0, 0, 0, 0)
    refused = event(call="socket", refused=errno.EACCES, arguments=arguments)
    (found,) = Run(monkeypatch, words=("wget", "http://files.example:8080/x")).found(refused)
    assert found.denials[0].words == "syscall socket (inet stream)"
    assert found.remedy.flag == "--connect tcp:files.example:8080"
    (unknown,) = Run(monkeypatch, words=("wget",)).found(refused)
    assert not unknown.remedy.flag
    assert "--connect HOST:PORT" in unknown.remedy.text
    denied = Run(monkeypatch, ("network.deny", "files.example"), words=("wget", "http://files.example/"))
    (against,) = denied.found(refused)
    assert not against.remedy.flag


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("https://example.org/x", ("example.org:443",)),
        ("ssh://git@Example.org/x", ("example.org:22",)),
        ("http://[2001:db8::1]:8080", ("[2001:db8::1]:8080",)),
        ("localhost:5432", ("localhost:5432",)),
        ("cat <http://a.example/1 http://b.example:81/2", ("a.example:80", "b.example:81")),
        ("http://x:99999/", ()),
        ("a:b", ()),
        ("C:5 is no place", ()),
        ("gopher://old.example/", ()),
        ("http://" + "a" * 300, ()),
    ],
)
def test_endpoints_in_words(word: str, found: tuple[str, ...]) -> None:
    assert endpoints([word]) == found


def test_too_many_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not tried is not proposed."""
    paths = [f"/srv/data/{number}" for number in range(MOST + 5)]
    host = debian_host(tree={path: file() for path in paths})
    found = Run(monkeypatch, host=host).found(*map(opened, paths))
    assert sum(bool(one.remedy.flag) for one in found) == MOST
    assert all(one.remedy.text for one in found[MOST:])


def test_many_attempts_are_judged_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 attempts at 7,000 files, by as many processes: seconds, even on a slow machine."""
    paths = [f"/srv/data/{number % 7000}" for number in range(20_000)]
    run = Run(monkeypatch)
    made = tuple(Attempt(opened(path)._replace(pid=pid), 1.0) for pid, path in enumerate(paths))
    began = time.process_time()
    denials = find(Attempts(made), run.judge, run.host)
    assert time.process_time() - began < 10
    assert len(denials) == 7000
    assert sum(len(denial.who) for denial in denials) == 20_000
