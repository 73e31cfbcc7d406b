"""The relay and its dialer stand beside the command: they are none of its processes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests import support

if TYPE_CHECKING:
    from pathlib import Path

OWN = {"its own processes only": (), "beside the others": ("--isolate", "false")}


@pytest.fixture
def options(who: support.Who) -> list[str]:
    support.need_namespaces(who)
    port = support.free_port()
    return ["-q", "-p", "net-only", "--replace", "network.connect", "--connect", "127.0.0.9:9", "--bind", f"tcp:{port}"]


def outcome(who: support.Who, report: Path, *words: str) -> dict[str, Any]:
    who.run([*who.sandrun, "--report", str(report), *words], cwd=who.home, timeout=90)
    return dict(json.loads(report.read_text())["outcome"])


@pytest.mark.parametrize("isolated", OWN)
def test_none_is_left_behind(who: support.Who, options: list[str], isolated: str) -> None:
    """A command that starts nothing leaves nothing behind, even one that ends at once."""
    for number in range(3):
        found = outcome(who, who.home / f"{number}.json", *options, *OWN[isolated], "--", "/usr/bin/true")
        assert (found["status"], found["killed"], found["network"]["complete"]) == (0, 0, True)


@pytest.mark.parametrize("isolated", OWN)
def test_none_is_waited_for(who: support.Who, options: list[str], isolated: str) -> None:
    """After a timeout the grace is over when the command has ended."""
    words = (*options, *OWN[isolated], "--timeout", "0.5s", "--grace", "300s")
    found = outcome(who, who.home / "report.json", *words, "--", "/usr/bin/sleep", "300")
    assert found["killed"] == 0


def test_a_port_that_only_root_publishes(who: support.Who, options: list[str]) -> None:
    """The hint says why the port cannot be had, not that somebody has it."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if who.is_root or int(file.read()) <= 1:
            pytest.skip("this user may bind every port")
    done = who.run([*who.sandrun, *options, "--bind", "tcp:1", "--", "/usr/bin/true"])
    assert done.returncode == 125
    assert "cannot publish port 1 on the loopback interface: Permission denied (EACCES)" in done.stderr
    assert "ip_unprivileged_port_start" in done.stderr
