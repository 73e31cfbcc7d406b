"""`sandrun why connect` where the supervisor makes the connections, and what such a launch does: the same."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

from tests.escape.outside import python
from tests.integration.brokered import brokered
from tests.support import need_landlock

if TYPE_CHECKING:
    from tests.support import Who

PROGRAM = """
import errno, socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(10)
        error = client.connect_ex((host.strip("[]"), int(port)))
        print(errno.errorcode.get(error, "yes"))
"""


def test_addresses_networks_and_denials(who: Who) -> None:
    """For each place: granted by address or network, on another port, and denied in between."""
    need_landlock(4)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        options = ("-p", "none", "-x", "@all", "--connect", f"127.0.0.0/29:{port}", "--connect", "127.0.1.1:7")
        options = (*options, "--deny-endpoint", "127.0.0.2", "--deny-endpoint", f"127.0.0.4/31:{port}")
        hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.5", "127.0.0.6", "127.0.0.8"]
        places = [*(f"{host}:{port}" for host in (*hosts, "[::1]")), "127.0.0.1:9", "127.0.1.1:7"]
        asked = who.run(brokered(who, "why", "connect", *places, "--json", *options, "--", python()))
        assert asked.returncode == 1, asked.stderr
        answers = json.loads(asked.stdout)["answers"]
        command = (python(), "-I", "-c", PROGRAM, *places)
        done = who.run(brokered(who, "-q", *options, "--", *command))
    assert done.returncode == 0, done.stderr
    reached = [line in ("yes", "ECONNREFUSED") for line in done.stdout.split()]
    assert [answer["granted"] for answer in answers] == reached, list(zip(places, done.stdout.split(), strict=True))
    assert {mechanism for answer in answers for mechanism in answer["mechanisms"]} == {"broker"}
    assert reached.count(True) >= 4
    denied = answers[1]
    assert denied["entries"][0]["text"] == "127.0.0.2"
