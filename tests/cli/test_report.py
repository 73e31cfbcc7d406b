"""`sandrun report`, as a user runs it, and what a record has for it."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from tests.support import need_landlock, sandrun

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Who

PROFILE = """
schema = 1
extends = ["default"]
[filesystem]
read = ["./given", "./spare"]
[network]
connect = ["tcp:4430-4431"]
unix = ["@all"]
"""
CODE = """
import socket
for port in (4430, 4439):
    with socket.socket() as made:
        try:
            made.connect(("127.0.0.1", port))
        except OSError:
            pass
"""
REFUSED = (
    ([], 2, "missing argument"),
    (["absent"], 125, "cannot read the record: absent: No such file or directory (ENOENT)"),
    (["."], 125, "cannot read the record: .: Is a directory (EISDIR)"),
    (["words"], 125, "cannot use the record: words: not JSON"),
    (["other"], 125, "cannot use the record: other: not a document of sandrun"),
    (["good", "-o", "link"], 125, "cannot write the report: link: it is a symbolic link"),
    (["good", "-o", "no/such"], 125, "cannot write the report: no/such: No such file or directory (ENOENT)"),
)
SCRIPT = 'cat given/file; cat /no/such/file; cat hidden; /usr/bin/python3 -c "$CODE"; echo x >new; exit 3'


def explained_run(who: Who, box: Path) -> dict[str, Any]:
    """The record of an explained run that used one of two grants, and was refused two things."""
    need_landlock(4)
    for name in ("given", "spare"):
        (box / name).mkdir()
    (box / "given" / "file").write_text("given")
    (box / "hidden").write_text("hidden")
    (box / "app.toml").write_text(PROFILE)
    who.own(box)
    words = ["-q", "-p", "./app.toml", "--deny", "hidden", "--env", f"CODE={CODE}", "--explain", "--report", "run.json"]
    done = sandrun(*words, "--", "sh", "-c", SCRIPT, who=who, cwd=box)
    assert done.returncode == 3, done.stderr
    return dict(json.loads((box / "run.json").read_text()))


def grant(record: dict[str, Any], key: str, text: str) -> dict[str, Any]:
    """One entry of `used.grants`."""
    found = [one for one in record["used"]["grants"] if (one["key"], one["text"]) == (key, text)]
    assert len(found) == 1, record["used"]["grants"]
    return dict(found[0])


def test_an_explained_run(who: Who, box: Path) -> None:
    """One run, and all that its record and its pages say of it."""
    ran = explained_run(who, box)
    check_what_was_used(ran, box)
    check_where_it_connected(ran)
    check_who_took_part(ran)
    check_the_text(who, box)
    check_the_page(who, box)


def check_what_was_used(ran: dict[str, Any], box: Path) -> None:
    """Entries that were used are told from those that were not, by the rights that were taken."""
    used = ran["used"]
    assert (used["complete"], used["others"]) == (True, 0)
    given = grant(ran, "filesystem.read", "./given")
    assert (given["used"], given["times"]) == (["read_file"], 1)
    assert given["origin"].startswith("./app.toml:5: filesystem.read[0]")
    spare = grant(ran, "filesystem.read", "./spare")
    assert (spare["used"], spare["times"], spare["looked"]) == ([], 0, 0)
    assert spare["names"] == [str(box / "spare")]
    here = grant(ran, "filesystem.write", ".")
    assert {"write_file", "make_reg"} <= set(here["used"])
    assert "execute" in grant(ran, "filesystem.execute", "@system")["used"]
    assert "execute" in grant(ran, "filesystem.execute", "@runtime")["used"], "the loader, which the kernel executes"
    assert grant(ran, "network.unix", "@all")["times"] == 0
    assert [row["path"] for row in used["files"] if "hidden" in row["path"] or "no/such" in row["path"]] == []
    assert next(row for row in used["files"] if row["path"] == str(box / "given" / "file"))["act"] == "read"


def check_where_it_connected(ran: dict[str, Any]) -> None:
    """A connection counts for the entry that grants it; one that is refused is no use."""
    assert grant(ran, "network.connect", "tcp:4430-4431")["times"] == 1
    ports = [(row["act"], row["host"], row["port"]) for row in ran["used"]["endpoints"]]
    assert ports == [("connect", "127.0.0.1", 4430)]
    denied = [denial["target"] for one in ran["explained"]["findings"] for denial in one["denials"]]
    assert "tcp:127.0.0.1:4439" in denied


def check_who_took_part(ran: dict[str, Any]) -> None:
    """Each process with the program that it ran last, and how it ended."""
    found = {os.path.basename(row["program"]): row for row in ran["used"]["processes"]}
    assert len(ran["used"]["processes"]) == 5
    assert any(name.startswith("python") for name in found)
    shell = next(row for row in ran["used"]["processes"] if row["status"] == 3)
    assert 0 <= shell["first"] < shell["last"] <= ran["outcome"]["wall"] + 10, "counted from about the same moment"
    assert sorted(row["status"] for row in ran["used"]["processes"]) == [0, 0, 1, 1, 3]


def test_the_record_has_the_plan(who: Who, box: Path) -> None:
    """It is that of the dry run, without the values of variables; nothing is said of what was used if nobody looked."""
    words = ["--env", "GIVEN=secret-value", "--", "true"]
    sandrun("-q", "--report", "run.json", *words, who=who, cwd=box)
    record = json.loads((box / "run.json").read_text())
    shown = json.loads(sandrun("--dry-run", "--json", *words, who=who, cwd=box).stdout)
    assert record["plan"] == {key: shown[key] for key in shown if key not in ("sandrun", "protections", "warnings")}
    assert "GIVEN" in record["plan"]["environment"]["set"]
    assert "secret-value" not in json.dumps(record)
    assert record["used"] is None


def check_the_text(who: Who, box: Path) -> None:
    """Without --html it is text: what was not used, and what was refused when."""
    done = sandrun("report", "run.json", who=who, cwd=box)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["./spare", "not", "used"] in [line[:3] for line in lines]
    assert ["./given", "used", "once"] in [line[:3] for line in lines]
    assert "The command exited with 3." in done.stdout
    assert f"open {box / 'hidden'} for reading" in done.stdout


def check_the_page(who: Who, box: Path) -> None:
    """The file appears whole, with mode 0600; from a pipe and to standard output it is the same."""
    done = sandrun("report", "run.json", "--html", "-o", "run.html", who=who, cwd=box)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = (box / "run.html").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_uid) == (0o600, who.uid)
    page = (box / "run.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    piped = sandrun("report", "--html", "-", who=who, cwd=box, input=(box / "run.json").read_text())
    assert piped.stdout == page


def test_documents_of_other_commands(who: Who, box: Path) -> None:
    """The last line of --explain --json and of a trace, and a dry run, are taken as they are printed."""
    (box / "hidden").write_text("hidden")
    who.own(box / "hidden")
    explained = sandrun("-q", "--deny", "hidden", "--explain", "--json", "--", "cat", "hidden", who=who, cwd=box)
    traced = sandrun("trace", "--json", "--", "true", who=who, cwd=box)
    dry = sandrun("--dry-run", "--json", "--", "true", who=who, cwd=box)
    texts = (explained.stderr.splitlines()[-1], traced.stderr.splitlines()[-1], dry.stdout)
    for text, words in zip(
        texts, (f"open {box / 'hidden'} for reading", "exit_group", "Nothing was run."), strict=True
    ):
        done = sandrun("report", "-", who=who, cwd=box, input=text)
        assert words in done.stdout, done.stderr


def test_what_cannot_be_done(who: Who, box: Path) -> None:
    """Each with a status, a reason, and nothing written."""
    (box / "words").write_text("hello")
    (box / "other").write_text('{"a": 1}')
    (box / "good").write_text('{"sandrun": 1, "outcome": null}')
    (box / "target").write_text("kept")
    (box / "link").symlink_to("target")
    who.own(box)
    before = sorted(os.listdir(box))
    for words, status, message in REFUSED:
        done = sandrun("report", *words, who=who, cwd=box)
        assert (done.returncode, done.stdout) == (status, ""), words
        assert message in done.stderr
    assert sorted(os.listdir(box)) == before
    assert (box / "target").read_text() == "kept"
