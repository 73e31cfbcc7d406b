"""What the comparison of two profiles says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.errors import ProfileError
from sandrun.profile import load
from sandrun.profile.diff import DENIES, GRANTS, ORDERS, Change, diff, text
from sandrun.profile.find import available
from sandrun.profile.keys import KEYS, UNION
from sandrun.profile.layer import read_document
from sandrun.profile.loader import load_file

if TYPE_CHECKING:
    from sandrun.profile.model import Profile


def profile(**tables: Any) -> Profile:
    layer, problems = read_document(tables, "p.toml", "/here", {})
    assert not problems, [str(problem) for problem in problems]
    return layer.profile


def lines(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    return text(diff(profile(**first), profile(**second))).splitlines()


def files(**keys: list[Any]) -> dict[str, Any]:
    return {"filesystem": keys}


CASES = [
    # (first, second, what the second may do more or less)
    (files(), files(write=["/srv"]), ["+ may write /srv"]),
    (files(write=["/srv"]), files(read=["/srv"]), ["- may no longer write /srv"]),
    (files(read=["/srv/a"]), files(write=["/srv"]), ["+ may write /srv"]),
    (files(read=["/srv/a", "/srv/b"]), files(read=["/srv"]), ["+ may read /srv"]),
    (files(read=["/srv/../etc"]), files(read=["/srv"]), ["+ may read /srv", "- may no longer read /srv/../etc"]),
    (files(read=["/srv/"]), files(read=["//srv/."]), []),
    (files(read=["/srv?"]), files(read=["/srv"]), []),
    (files(read=["src"]), files(read=["."]), ["+ may read ."]),
    (files(read=["~/x"]), files(read=["."]), ["+ may read .", "- may no longer read ~/x"]),
    (files(read=["~/x"]), files(read=["~"]), ["+ may read ~"]),
    (files(read=["/a/*"]), files(read=["/a/*", "/b"]), ["+ may read /b"]),
    (files(read=["/a/x"]), files(read=["/a/*"]), ["+ may read /a/*", "- may no longer read /a/x"]),
    (files(read=["@system", "/x"]), files(read=["@all"]), ["+ may read @all"]),
    (files(), files(deny=["/srv/key"]), ["- may never touch /srv/key"]),
    (files(deny=["/srv/key"]), files(), ["+ is no longer kept from: touch /srv/key"]),
    (files(deny_write=["/srv"]), files(deny=["/srv"]), ["- may never touch /srv"]),
    (
        files(rules=[{"path": "/dev/null", "access": ["read_file"]}]),
        files(rules=[{"path": "/dev/null", "access": ["write_file"]}]),
        [
            "+ may use the rights write_file on /dev/null",
            "- may no longer use the rights read_file on /dev/null",
        ],
    ),
    (files(tmp="private"), files(tmp="host"), ["+ filesystem.tmp loosened: private -> host"]),
    (files(tmp="private"), files(), ["- filesystem.tmp tightened: private -> not set"]),
    (
        {"network": {"connect": ["tcp:443", "example.org:80"]}},
        {"network": {"connect": ["tcp:*"]}},
        ["+ may connect to tcp:*", "- may no longer connect to example.org:80"],
    ),
    ({"network": {"connect": ["tcp:443"]}}, {"network": {"connect": ["*"]}}, ["+ may connect to *"]),
    ({}, {"network": {"deny": ["*"]}}, ["- may never use *"]),
    ({"network": {"loopback": False}}, {}, []),
    ({"syscalls": {"allow": ["openat", "read"]}}, {"syscalls": {"allow": ["@known"]}}, ["+ may call @known"]),
    (
        {"syscalls": {"default": "kill-process"}},
        {"syscalls": {"default": "errno"}},
        ["+ syscalls.default loosened: kill-process -> errno"],
    ),
    (
        {"process": {"isolate": True}},
        {"process": {"isolate": "signals"}},
        ["+ process.isolate loosened: true -> signals"],
    ),
    (
        {"syscalls": {"rules": [{"syscall": "ioctl", "arg": 1, "op": "eq", "value": 5, "action": "allow"}]}},
        {},
        ['~ syscalls.rules no longer has { syscall = "ioctl", arg = 1, op = "eq", value = 5, action = "allow" }'],
    ),
    ({}, {"process": {"isolate": True}}, ["- process.isolate tightened: false -> true"]),
    ({}, {"process": {"tty": "protected"}}, []),
    ({}, {"process": {"umask": "077"}}, ["~ process.umask: not set -> 077"]),
    ({}, {"privileges": {"no_new_privs": True}}, []),
    ({}, {"privileges": {"capabilities": ["chown"]}}, ["+ may keep CAP_CHOWN"]),
    (
        {"privileges": {"capabilities": ["chown"]}},
        {"privileges": {"ambient": ["chown"]}},
        ["+ may keep CAP_CHOWN across execve"],
    ),
    ({}, {"privileges": {"securebits": ["noroot"]}}, ["- may never do without the securebit noroot"]),
    ({}, {"rlimits": {"nofile": 256}}, ["- rlimits.nofile tightened: inherited -> 256"]),
    ({"rlimits": {"nofile": 256}}, {"rlimits": {"nofile": 512}}, ["+ rlimits.nofile loosened: 256 -> 512"]),
    ({"resources": {"memory": "1G"}}, {}, ["+ resources.memory loosened: 1G -> unlimited"]),
    ({"time": {"timeout": "10s"}}, {"time": {"timeout": 5}}, ["- time.timeout tightened: 10 -> 5"]),
    ({"time": {"timeout": "60s"}}, {"time": {"timeout": "1m"}}, []),
    ({}, {"environment": {"pass": ["@basic"]}}, []),
    ({}, {"environment": {"pass": ["A"]}}, ["+ may see the variable A", "- may no longer see the variables of @basic"]),
    ({"environment": {"pass": []}}, {}, ["+ may see the variables of @basic"]),
    ({}, {"environment": {"set": {"A": "secret"}}}, ["~ sets the variable A"]),
    (
        {"environment": {"set": {"A": "secret"}}},
        {"environment": {"set": {"A": "other"}}},
        ["~ sets another value for the variable A"],
    ),
    (
        {"process": {"isolate": True}},
        {"process": {"isolate": True}, "optional": ["process.isolate"]},
        ["+ runs also where process.isolate cannot be enforced"],
    ),
    ({}, {"require": ["userns"]}, ["- needs userns"]),
    ({"schema": 1, "description": "one"}, {"description": "another"}, []),
]


@pytest.mark.parametrize(("first", "second", "expected"), CASES)
def test_differences(first: dict[str, Any], second: dict[str, Any], expected: list[str]) -> None:
    """Grants count by what they cover, denials the other way round, scalars as looser or tighter."""
    assert lines(first, second) == expected


@pytest.mark.parametrize(("first", "second", "expected"), CASES)
def test_the_other_way_round(first: dict[str, Any], second: dict[str, Any], expected: list[str]) -> None:
    """Swapping the two swaps more and less, and no difference stays none."""
    turned = {"+": "-", "-": "+", "~": "~"}
    signs = sorted(line[0] for line in lines(second, first))
    assert signs == sorted(turned[line[0]] for line in expected)


def test_every_list_has_its_words() -> None:
    """A new list key must say whether its entries give or take."""
    listed = {key.path for key in KEYS if key.merge == UNION}
    assert listed == {*GRANTS, *DENIES} | {"syscalls.rules"}
    assert not GRANTS.keys() & DENIES.keys()
    for key in KEYS:
        if key.kind == "enum":
            assert set(key.choices) <= set(ORDERS[key.path])


@pytest.mark.parametrize("found", available(), ids=lambda found: found.word)
def test_a_profile_does_not_differ_from_itself(found: Any) -> None:
    assert diff(load_file(found), load_file(found)) == []


@given(st.sampled_from(available()), st.sampled_from(available()))
def test_the_empty_profile_allows_less(first: Any, second: Any) -> None:
    """Adding a second profile takes no grant away from the first."""
    one = load_file(first)
    try:
        both = load([first.word, second.word])
    except ProfileError:
        return  # two shipped profiles may contradict each other in syscalls.default
    lost = [change.text for change in diff(one, both) if change.sign == "-"]
    assert not [line for line in lost if line.startswith("may no longer") and "@basic" not in line]


def test_signs_are_what_they_say() -> None:
    assert text([Change("+", "a"), Change("-", "b")]) == "+ a\n- b\n"
