"""A record as a page: pure, so each claim is tested without a run. What a browser makes of it: test_report_page.py."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.page import html, markdown, reading, style, text
from sandrun.page.compose import compose

TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "a",
        "header",
        "h1",
        "p",
        "nav",
        "ul",
        "li",
        "main",
        "section",
        "h2",
        "h3",
        "dl",
        "dt",
        "dd",
        "code",
        "span",
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "label",
        "input",
        "details",
        "summary",
        "ol",
        "time",
        "svg",
        "line",
        "circle",
        "footer",
    ]
)
ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "href",
        "id",
        "aria-labelledby",
        "aria-label",
        "aria-hidden",
        "role",
        "tabindex",
        "scope",
        "data-head",
        "type",
        "open",
        "x1",
        "y1",
        "x2",
        "y2",
        "cx",
        "cy",
        "r",
    ]
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e\u2066\x00\n\r\u2028\udcff\ud800'\"&--><!--"
ENTRY = {"key": "filesystem.read", "text": "/srv", "origin": "app.toml:4: filesystem.read[0]", "through": []}


class Elements(HTMLParser):
    """What a page consists of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src")}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def record(**members: Any) -> dict[str, Any]:
    """A record of a run with these members."""
    ended = {"how": "exit", "status": 0, "signal": 0, "wall": 2.0, "user": 0.5, "system": 0.1, "max_rss": 3 << 20}
    return {"sandrun": 1, "command": ["true"], "status": 0, "started": True, "outcome": ended, **members}


def used(*grants: dict[str, Any], **members: Any) -> dict[str, Any]:
    """The member `used`, of these grants."""
    made = [
        {**ENTRY, "names": ["/srv"], "rights": ["read_file"], "used": [], "times": 0, "looked": 0, **one}
        for one in grants
    ]
    nothing = {"files": [], "endpoints": [], "processes": [], "others": 0, "gap": None, "complete": True}
    return {**nothing, "grants": made, **members}


def denial(what: str, last: float, **members: Any) -> dict[str, Any]:
    """A finding of one denial."""
    who = [{"program": "/usr/bin/cat", "pid": 7, "last": last}]
    made = {"act": "read", "target": what, "what": what, "reason": "no entry grants it", "who": who, "times": 1}
    return {
        "standing": "cause",
        "remedy": {"flag": "--read X", "toml": "", "text": None},
        "denials": [{**made, **members}],
    }


def as_text(made: Any) -> str:
    """The page of a record, as text."""
    return text.render(compose(reading.parse(json.dumps(made).encode())))


def as_html(made: Any) -> str:
    """The page of a record, as HTML."""
    return html.render(compose(reading.parse(json.dumps(made).encode())))


def section(page: str, title: str) -> str:
    """One section of a page as text."""
    return page.split(f"\n{title.upper()}\n")[1].split("\n\n", maxsplit=1)[0]


# --- what it says --------------------------------------------------------------------------------------------------


def test_unused_grants_stand_out() -> None:
    """An entry that nothing used is called so, one that was used is not, and one that was only looked at is told apart."""
    grants = ({"text": "/a", "times": 3, "used": ["read_file"]}, {"text": "/b"}, {"text": "/c", "looked": 2})
    page = as_text(record(used=used(*grants)))
    lines = {line.split()[0]: line for line in section(page, "granted and used").splitlines()}
    assert "used 3 times" in lines["/a"]
    assert "not used" not in lines["/a"]
    assert "not used" in lines["/b"]
    assert "only looked at" in lines["/c"]
    assert "1 entry was not used." in page
    marked = as_html(record(used=used(*grants)))
    assert re.search(r'<li class="unused"><[^>]+>(<summary>)?<code>/b</code>', marked)
    assert not re.search(r'<li class="unused"><[^>]+>(<summary>)?<code>/a</code>', marked)


def test_nothing_is_called_unused_of_a_run_that_was_not_observed() -> None:
    """A run without --explain has its rules on the page, and the word that nobody looked."""
    plan = {"filesystem": {"handled": ["read_file"], "grants": [{"path": "/srv", "access": ["read_file"]}]}}
    page = as_text(record(plan=plan, used=None))
    assert "/srv" in section(page, "granted and used")
    assert "not observed" in section(page, "granted and used")
    assert "not used" not in page
    for title in ("refused", "processes", "system calls"):
        assert "Not observed" in section(page, title)


def test_an_incomplete_look_says_so() -> None:
    """What was not seen may have been used."""
    page = as_text(record(used=used({}, complete=False, gap="too many files")))
    assert "may have been used: too many files" in page


def test_files_stand_below_the_entry_that_granted_them() -> None:
    """The files form a tree; directories with one thing in them take one line."""
    row = {"act": "read", "times": 1, "program": "/bin/cat", "grant": 0}
    files = [{**row, "path": path} for path in ("/srv/a/b/one", "/srv/a/b/two", "/srv/x")]
    lines = section(as_text(record(used=used({"times": 3, "used": ["read_file"]}, files=files))), "granted and used")
    assert [line.split()[0] for line in lines.splitlines()[-5:]] == ["/srv/", "a/b/", "one", "two", "x"]


def test_a_write_grant_that_was_only_read() -> None:
    """It was used, and yet more than was needed."""
    grant = {"key": "filesystem.write", "times": 2, "used": ["read_file"], "rights": ["read_file", "write_file"]}
    assert "only read, never written" in as_text(record(used=used(grant)))
    grant["used"] = ["write_file"]
    assert "only read" not in as_text(record(used=used(grant)))


def test_denials_by_time() -> None:
    """They come in the order in which they happened, each at its place on the line; those of unknown time last."""
    late, early = denial("open /late", 1.5), denial("open /early", 0.5)
    unknown = denial("find the host x", 0.1, who=[{"program": "", "pid": 0, "last": 0.1}])
    made = record(explained={"failed": True, "complete": True, "findings": [late, unknown, early]})
    page = section(as_text(made), "refused")
    assert page.index("/early") < page.index("/late") < page.index("host x")
    assert "0.500 s  likely cause open /early" in page
    assert "at a time not known" in page
    assert re.findall(r'<circle cx="([\d.]+)%"', as_html(made)) == ["25.00", "75.00"]


def test_network() -> None:
    """What was granted, what was reached, and what was refused."""
    reached = {
        "endpoint": "tcp:a.example:443",
        "connections": 2,
        "failed": 0,
        "error": "",
        "sent": 2048,
        "received": None,
    }
    refused = {"what": "name", "target": "b.example", "reason": "not granted", "count": 3}
    traffic = {"complete": True, "endpoints": [reached], "refused": [refused], "published": [], "others": 4}
    made = record(plan={"network": {"relay": {"connect": ["tcp:a.example:443"]}, "ports": []}})
    made["outcome"]["network"] = traffic
    page = section(as_text(made), "network")
    assert "connect (relay): tcp:a.example:443" in page
    assert re.search(r"tcp:a.example:443 +2 +0 +2.0 KiB +not seen", page)
    assert re.search(r"name +b.example +not granted +3\n +and 4 more", page)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"status": 0}, "exited with 0."),
        ({"status": 7, "outcome": {"how": "exit", "status": 7}}, "exited with 7."),
        ({"status": 123}, "exited with 0, and sandrun exited with 123."),
        ({"status": 137, "outcome": {"how": "signal", "signal": 9, "status": 0}}, "SIGKILL ended the command"),
        ({"status": 124, "outcome": {"how": "timeout", "status": 0}}, "The timeout ended the command"),
        ({"status": 125, "started": False, "outcome": None, "errors": ["cannot x"]}, "did not run: status 125."),
    ],
)
def test_how_it_ended(members: dict[str, Any], words: str) -> None:
    """The sentence below the title."""
    assert words in as_text(record(**members)).splitlines()[1]


def test_both_forms_say_the_same() -> None:
    """Each word of the text is on the page of HTML."""
    made = record(
        used=used({"times": 1, "used": ["read_file"]}, {"text": "/b"}),
        explained={"failed": True, "complete": True, "findings": [denial("open /x", 1.0)]},
        protections=[{"key": "filesystem.read", "state": "lost", "mechanisms": [], "lost": ["no Landlock"]}],
        locked={"lock": "app.lock", "runs": True, "needed": ["+ connected to tcp:x:1"]},
        workspace={"id": "w1", "directories": ["/d"], "became": "kept", "changes": {"added": 3}},
    )
    words = " ".join(Elements(as_html(made)).words).split()
    missing = {word.strip(":,").lower() for word in as_text(made).split()} - {
        word.strip(":,").lower() for word in words
    }
    assert missing == set()


@pytest.mark.parametrize(
    "document",
    [
        {"sandrun": 1, "failed": True, "complete": True, "findings": [denial("open /x", 1.0)]},
        {"sandrun": 1, "total": 1, "syscalls": [{"syscall": "ptrace", "calls": 1, "first": None}]},
        {"sandrun": 1, "filesystem": {"handled": []}, "protections": [], "command": {"argv": ["ls"]}},
    ],
)
def test_other_documents(document: dict[str, Any]) -> None:
    """What --explain, trace and --dry-run print as JSON is taken too."""
    page = as_text(document)
    assert "open /x" in page or "ptrace" in page or "Nothing was run." in page
    Elements(as_html(document))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"sandrun": 2, "outcome": null}',
        b'{"sandrun": 1}',
        b"[" * 100_000,
        b'{"sandrun":' + b"1" * 5000 + b"}",
        b"\xff",
    ],
)
def test_what_is_no_record(data: bytes) -> None:
    """Anything else is refused with a reason."""
    with pytest.raises(ValueError, match=r"\w"):
        reading.parse(data)


# --- what a hostile record can do ----------------------------------------------------------------------------------


def hostile() -> dict[str, Any]:
    """A record that has hostile text wherever text can stand."""
    grant = {"key": HOSTILE, "text": HOSTILE, "origin": HOSTILE, "names": [HOSTILE], "rights": [HOSTILE], "times": 1}
    files = [{"path": f"/{HOSTILE}", "act": HOSTILE, "program": HOSTILE, "times": 1, "grant": 0}]
    place = {"act": HOSTILE, "protocol": HOSTILE, "host": HOSTILE, "port": 1, "program": HOSTILE, "times": 1}
    made = record(
        command=[HOSTILE],
        errors=[HOSTILE],
        warnings=[HOSTILE],
        used=used(grant, {}, files=files, endpoints=[place], processes=[{"pid": 1, "program": HOSTILE, "status": 0}]),
        explained={
            "failed": True,
            "findings": [denial(HOSTILE, 1.0, reason=HOSTILE, ordinary=HOSTILE)],
            "gap": HOSTILE,
        },
        trace={"total": 1, "syscalls": [{"syscall": HOSTILE, "calls": 1}], "sets": [HOSTILE], "gap": HOSTILE},
        protections=[{"key": HOSTILE, "state": HOSTILE, "lost": [HOSTILE], "notes": [HOSTILE]}],
        locked={"lock": HOSTILE, "runs": True, "needed": [HOSTILE]},
        workspace={"id": HOSTILE, "changes": {HOSTILE: 1}, "directories": [HOSTILE]},
        plan={"environment": {HOSTILE: [HOSTILE]}, "rlimits": {HOSTILE: {HOSTILE: HOSTILE}}, "network": {}},
    )
    made["outcome"]["network"] = {
        "refused": [{"what": HOSTILE, "target": HOSTILE}],
        "endpoints": [{"endpoint": HOSTILE}],
    }
    return made


def check_harmless(page: str) -> None:
    """Only the elements and attributes that the renderer writes, no link out, and no character that acts on anything."""
    found = Elements(page)
    assert found.tags <= TAGS
    assert found.attributes <= ATTRIBUTES
    assert all(link.startswith("#") for link in found.links)
    assert "style=" not in page
    assert all(char == "\n" or char.isprintable() for char in page)
    page.encode("utf-8")


def test_hostile_text_is_text() -> None:
    """Markup, control characters, terminal escapes and turns of direction arrive as words, in both forms."""
    page = as_html(hostile())
    check_harmless(page)
    assert "&lt;/script&gt;&lt;script&gt;" in page
    assert r"\x1b[2J\u202e\u2066\x00\n\r\u2028\xff\ud800" in page
    assert all(char == "\n" or char.isprintable() for char in as_text(hostile()))


def test_size_is_bounded() -> None:
    """Long texts and lists are cut, and what is left out is counted."""
    rows = [{"path": f"/srv/{number}/{'x' * 3000}", "act": "read", "times": 1, "grant": 0} for number in range(3000)]
    findings = [denial(f"open /{number}" + "y" * 3000, 1.0) for number in range(2000)]
    made = record(
        command=["z" * 10_000_000],
        used=used({"times": 1, "used": ["read_file"]}, *[{}] * 3000, files=rows),
        explained={"failed": True, "complete": True, "findings": findings},
    )
    page = as_html(made)
    assert len(page) < 2_500_000
    assert "and 1500 more" in page
    assert "z" * 600 not in page
    assert "and 2501 entries more" in page


def test_deep_paths_are_bounded() -> None:
    """A path of hundreds of directories, with a file in each, is not as many levels."""
    files = [{"path": f"/{'a/' * depth}x", "act": "read", "times": 1, "grant": 0} for depth in range(250)]
    page = as_html(record(used=used({"times": 1}, files=files)))
    check_harmless(page)
    depth = deepest = 0
    for tag in re.findall(r"</?ul", page):
        depth += 1 if tag == "<ul" else -1
        deepest = max(deepest, depth)
    assert 30 < deepest < 50


def check_fenced(made: str) -> list[str]:
    """The lines of a page of Markdown that stand outside blocks of code, which are ours alone. All blocks are closed."""
    outside, fence = [], ""
    for line in made.split("\n"):
        assert line.isprintable()
        if fence:
            closes = re.fullmatch(" {0,3}(`{3,}) *", line)
            if closes and len(closes[1]) >= len(fence):
                fence = ""
        elif line.startswith("```"):
            fence = line.removesuffix("text")
        else:
            outside.append(line)
    assert not fence
    for line in outside:
        assert re.fullmatch(
            r"#{2,3} [A-Za-z ]+|<details><summary>[A-Za-z ]+</summary>|</details>|Too long: .*itself\.|", line
        ), line
    return outside


def test_markdown_folds_all_but_the_end_and_what_was_refused() -> None:
    """The end of the run and what was refused are read at once; the other sections of the page are there, folded."""
    page = compose(record())
    outside = check_fenced(markdown.render(page))
    assert [line for line in outside if line.startswith("###")] == ["### Outcome", "### Refused"]
    folded = [line for line in outside if line.startswith("<details>")]
    assert len(folded) == len(page.sections) - 2
    assert page.status in markdown.render(page)


def test_hostile_text_is_no_markdown() -> None:
    """Fences of any length, markup, links and mentions stay in their block of code."""
    for words in ("```", "`" * 40, "\n```\n# title", "![x](http://a/b.png)", "@everyone </details><img src=x>"):
        made = record(command=[words], errors=[words], explained={"findings": [denial(words, 1.0)]})
        outside = check_fenced(markdown.render(compose(made)))
        assert not any("@" in line or "img" in line or "title" in line for line in outside)


def test_a_summary_has_the_size_that_services_take() -> None:
    """Lines beyond the most of a section, and sections beyond the most bytes, are counted."""
    findings = [denial(f"open /{number}" + "y" * 3000, 1.0) for number in range(2000)]
    name = "\u20ac" * 500
    rows = [{"path": f"/srv/{number}/{name}", "act": "read", "times": 1, "grant": 0} for number in range(3000)]
    made = record(used=used({"times": 1, "used": ["read_file"]}, files=rows), explained={"findings": findings})
    page = markdown.render(compose(made))
    check_fenced(page)
    assert len(page.encode()) <= markdown.MOST_BYTES + 200
    assert "more lines" in page


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(HOSTILE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted(
    {
        "command",
        "status",
        "started",
        "outcome",
        "used",
        "explained",
        "trace",
        "plan",
        "protections",
        "workspace",
        "locked",
    }
    | {"findings", "denials", "who", "grants", "files", "grant", "times", "path", "endpoints", "processes", "network"}
    | {"refused", "last", "pid", "remedy", "rlimits", "filesystem", "view", "handled", "holes", "changes", "names"}
)
SHAPED = st.recursive(
    ODD,
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner | st.lists(inner, max_size=3), max_size=6),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), SHAPED, max_size=8))
def test_any_document_makes_a_harmless_page(members: dict[str, Any]) -> None:
    """No shape of a record raises anything, or gets markup through."""
    made = {"outcome": None, **members, "sandrun": 1}
    check_harmless(as_html(made))
    check_fenced(markdown.render(compose(made)))
    as_text(made)


# --- how it looks --------------------------------------------------------------------------------------------------


def test_the_policy_names_the_only_style() -> None:
    """The digest in the policy is of the style as it stands in the page, and nothing else may load or run."""
    page = as_html(record())
    found = page.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}';" in page
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert "url(" not in found
    assert "@import" not in found


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("palette", [style.LIGHT, style.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "raised"])
def test_contrast(palette: dict[str, str], ground: str) -> None:
    """Text has a contrast of 7 to 1 or more, lines and marks of 3 to 1 (WCAG 2.2, 1.4.6 and 1.4.11)."""
    for name in set(palette) - {"page", "raised"}:
        pair = sorted((luminance(palette[name]), luminance(palette[ground])))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= (3 if name == "line" else 7), name
