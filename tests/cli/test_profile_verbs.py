"""`sandrun profile …` as a user runs it: what is on stdout, what on stderr, and the status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import tomli

from sandrun import cli
from sandrun.profile import find

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = '[filesytem]\n[filesystem]\nread = ["$X"]\n'


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a good, a broken and a derived profile, where nothing of this machine's user is found."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(find, "SYSTEM_DIRECTORY", str(tmp_path / "system"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.toml").write_text('description = "good"\n[filesystem]\nread = ["/srv"]\n')
    (tmp_path / "broken.toml").write_text(BROKEN)
    (tmp_path / "more.toml").write_text('extends = "./good.toml"\n[environment]\nset = { TOKEN = "hunter2" }\n')
    return tmp_path


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["profile", *words])
    out, err = capfd.readouterr()
    return status, out, err


def test_check(capfd: pytest.CaptureFixture[str]) -> None:
    """0 and silence for good files, 1 and every problem of every file for others."""
    assert run(capfd, "check", "good.toml", "./more.toml") == (0, "", "")
    assert run(capfd, "check", "good.toml", "broken.toml") == (
        1,
        'broken.toml:1: filesytem: unknown key or table "filesytem"\n'
        'hint: did you mean "filesystem"?\n'
        'broken.toml:3: filesystem.read[0]: "$X": "$" needs a name in braces\n'
        'hint: write "${NAME}" for a variable, "[$]" for the character itself\n',
        "",
    )


def test_check_that_cannot_tell(capfd: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is neither right nor wrong; one that extends such a file is wrong."""
    status, out, err = run(capfd, "check", "./absent.toml")
    assert (status, out) == (125, "")
    assert err == "sandrun: cannot read the profile: ./absent.toml: No such file or directory (ENOENT)\n"
    with open("orphan.toml", "w") as orphan:
        orphan.write('extends = "./absent.toml"')
    status, out, err = run(capfd, "check", "orphan.toml")
    assert (status, err) == (1, "")
    assert out == "orphan.toml:1: extends: cannot read the profile: absent.toml: No such file or directory (ENOENT)\n"


def test_check_prefers_the_file(capfd: pytest.CaptureFixture[str], files: Path) -> None:
    """A word without a slash is a file here if there is one, else a name."""
    assert run(capfd, "check", "default")[0] == 0
    (files / "default").write_text(BROKEN)
    assert run(capfd, "check", "default")[0] == 1


def test_show(capfd: pytest.CaptureFixture[str]) -> None:
    """The file's own words as TOML, or with `--effective` everything it brings; never the value of a variable."""
    status, out, err = run(capfd, "show", "./more.toml")
    assert (status, err) == (0, "")
    assert tomli.loads(out) == {"schema": 1, "extends": ["./good.toml"], "environment": {"set": {"TOKEN": "…"}}}
    status, out, err = run(capfd, "show", "--effective", "./more.toml")
    assert (status, err) == (0, "")
    assert tomli.loads(out)["filesystem"] == {"read": ["/srv"]}
    assert '"/srv",  # ./good.toml:3: filesystem.read[0]' in out
    assert "hunter2" not in out
    assert tomli.loads(run(capfd, "show", "none")[1]) == {"schema": 1}


def test_show_what_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "show", "defualt")
    assert (status, out) == (125, "")
    assert err.startswith('sandrun: no such profile: "defualt"\nsandrun: hint: did you mean "default"?')
    assert run(capfd, "show", "./broken.toml", "--effective")[0] == 125


def test_list(capfd: pytest.CaptureFixture[str], files: Path) -> None:
    """Each name once, with the place that would be taken and its description; a broken one is no obstacle."""
    own = files / "config/sandrun/profiles"
    own.mkdir(parents=True)
    (own / "default.toml").write_text('description = "mine"\n')
    (own / "zz\x1b.toml").write_text(BROKEN)
    status, out, err = run(capfd, "list")
    assert (status, err) == (0, "")
    rows = {row.split()[0]: row for row in out.splitlines()}
    assert rows["default"].split(maxsplit=2) == ["default", str(own), "mine"]
    assert rows["strict"].split(maxsplit=3)[1:3] == ["built", "in"]
    assert "(cannot be used: " in rows["zz\\x1b"]


def test_diff(capfd: pytest.CaptureFixture[str]) -> None:
    """0 for two that allow the same, 1 and the changes for two that do not."""
    assert run(capfd, "diff", "default", "builtin:default") == (0, "", "")
    assert run(capfd, "diff", "./good.toml", "./more.toml") == (1, "~ sets the variable TOKEN\n", "")
    assert run(capfd, "diff", "none", "./good.toml") == (1, "+ may read /srv\n", "")
    assert run(capfd, "diff", "none", "./broken.toml")[0] == 125


def test_schema(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "schema")
    assert (status, err) == (0, "")
    assert json.loads(out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    "words", [[], ["frob"], ["show"], ["check"], ["diff", "a"], ["show", "--frob", "a"], ["list", "x"]]
)
def test_wrong_usage(capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Status 2, one line and a hint on stderr, nothing on stdout."""
    status, out, err = run(capfd, *words)
    assert (status, out) == (2, "")
    assert err.startswith("sandrun: ")
    assert "--help" in err or "did you mean" in err


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "--help")
    assert (status, err) == (0, "")
    for verb in ("list", "show", "check", "schema", "diff"):
        assert f"  {verb} " in out
        assert run(capfd, verb, "--help")[0] == 0
