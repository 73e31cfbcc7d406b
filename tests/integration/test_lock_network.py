"""A lock and real connections: what was connected to before is known, and another host of the same profile is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration import internet
from tests.support import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Who

PROFILE = """schema = 1
extends = "default"

[network]
connect = ["allowed.test:80", "*.test:80"]
deny = ["machine.test:80"]
"""
FETCH = (CHECKOUT / "tests" / "probes" / "fetch.py").read_text()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[internet.Internet]:
    internet.need_internet()
    with internet.made(tmp_path_factory.mktemp("machine")) as net:
        net.tell(internet.ALLOWED, internet.OTHER, internet.MACHINE, text="hello")
        yield net


def test_another_host_is_something_new(who: Who, net: internet.Internet) -> None:
    """Both are granted; the one that no recorded run reached ends with 123, and so does a refused one."""
    user = net.who(who)
    folder = who.home / "project"
    folder.mkdir()
    (folder / "app.toml").write_text(PROFILE)
    who.own(folder, folder / "app.toml")

    def run(*names: str, locked: bool = True) -> tuple[int, str, str]:
        words = [*user.sandrun, *(["--locked"] if locked else []), "-q", "-p", "./app.toml", "--report", "run.json"]
        done = user.run([*words, "--", "python3", "-c", FETCH, *names], cwd=folder, env=user.env, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def lock(*words: str) -> str:
        return str(user.run([*user.sandrun, "lock", "app.toml", *words], cwd=folder, env=user.env, check=True).stdout)

    assert run("allowed.test", locked=False)[:2] == (0, "allowed.test hello\n")
    assert lock("--used", "run.json") == "made ./app.lock\n+ connected to tcp:allowed.test:80\n"
    assert run("allowed.test") == (0, "allowed.test hello\n", "")

    status, output, errors = run("allowed.test", "other.test")
    assert (status, output) == (123, "allowed.test hello\nother.test hello\n")
    assert "sandrun: + connected to tcp:*.test:80\n" in errors
    assert "+ connected to tcp:allowed.test:80" not in errors
    assert lock("--used", "run.json") == "+ connected to tcp:*.test:80\n"
    assert run("other.test", "allowed.test")[::2] == (0, "")

    status, output, errors = run("machine.test")
    assert status == 123
    assert "hello" not in output
    assert "+ was refused: " in errors
