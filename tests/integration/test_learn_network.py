"""What `learn` makes of connections: the host names that the command looked up, of the network that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomli

from tests.integration import internet
from tests.support import CHECKOUT, need_namespaces, need_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Who

FETCH = (CHECKOUT / "tests" / "probes" / "fetch.py").read_text()
IN_ANOTHER_THREAD = """
require("net").connect(80, process.argv[1]).on("data", data => console.log(data.toString())).on("error", console.error)
"""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[internet.Internet]:
    internet.need_internet()
    with internet.made(tmp_path_factory.mktemp("machine")) as net:
        net.tell(internet.ALLOWED, internet.OTHER, internet.ALLOWED6, text="hello")
        yield net


@pytest.mark.parametrize(
    ("asked", "names", "learned", "printed"),
    [
        (("*.test:80",), ("allowed.test", "allowed.test"), ["tcp:allowed.test:80"], "hello"),
        (
            ("*",),
            ("allowed.test", "allowed6.test", internet.OTHER),
            ["tcp:allowed.test:80", "tcp:allowed6.test:80", f"tcp:{internet.OTHER}:80"],
            "hello",
        ),
    ],
)
def test_names_are_learned(
    who: Who, net: internet.Internet, asked: tuple[str, ...], names: tuple[str, ...], learned: list[str], printed: str
) -> None:
    """By the relay's answers, by those of a name server over UDP, and where there was none the address itself. Under the
    profile another host is not reached."""
    need_namespaces(who)
    _learn(net.who(who), net, asked, ("python3", "-c", FETCH, *names), learned, printed)


def test_a_name_that_another_thread_looks_up(who: Who, net: internet.Internet) -> None:
    """As node does: one thread resolves, another one connects."""
    need_namespaces(who)
    need_program("node")
    argv = ("node", "-e", IN_ANOTHER_THREAD, "allowed.test")
    _learn(net.who(who), net, ("*",), argv, ["tcp:allowed.test:80"], "hello")


def _learn(
    user: internet.Resident,
    net: internet.Internet,
    asked: tuple[str, ...],
    argv: tuple[str, ...],
    learned: list[str],
    printed: str,
) -> None:
    folder = user.home / "project"
    folder.mkdir()
    user.own(folder)

    def run(*words: str) -> Any:
        return user.run([*user.sandrun, *words], cwd=folder, env=user.env, timeout=60)

    flags = [word for each in asked for word in ("--connect", each)]
    done = run("learn", "-o", "app.toml", "--compare-output", *flags, "--", *argv)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
    assert "and prints the same" in done.stderr
    assert tomli.loads((folder / "app.toml").read_text())["network"] == {"connect": learned}
    net.met.clear()
    other = run("-q", "-p", "./app.toml", "--", *argv[:3], "machine.test")
    assert "hello" not in other.stdout
    assert not net.met
