"""The page of `sandrun report --html` in a real browser: what it shows, how it is used, and what it does not do."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.browser import a_browser
from tests.support import CHECKOUT, a_directory
from tests.unit.test_page import denial, hostile, record, used

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.browser import Browser

# Each piece of text with the colours that it has and what it stands on; those whose contrast is below 4.5 to 1.
PALE = """
(() => {
  const part = value => { value /= 255; return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
  const light = ([red, green, blue]) => 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.getClientRects().length) continue;
    let under = node;
    while (under && (numbers(getComputedStyle(under).backgroundColor)[3] ?? 1) === 0) under = under.parentElement;
    const ground = light(numbers(getComputedStyle(under ?? document.body).backgroundColor));
    const ink = light(numbers(getComputedStyle(node).color));
    const contrast = (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
    if (contrast < 4.5) found.push([walker.currentNode.data.slice(0, 40), contrast]);
  }
  return found;
})()
"""
# Words that reach beyond the window sideways, without a region that can be scrolled.
BEYOND = """
[...document.querySelectorAll('body *')].filter(node =>
  node.getBoundingClientRect().right > innerWidth + 1 && !node.closest('.scroll, .skip, thead') && !node.closest('svg'))
  .map(node => node.outerHTML.slice(0, 200))
"""
SHOWN = "[...document.querySelectorAll('{}')].filter(node => node.checkVisibility()).map(node => node.textContent)"


def page_of(made: object, folder: Path, name: str) -> Path:
    """The page of a record, made by the real command."""
    path = folder / f"{name}.html"
    words = [sys.executable, "-m", "sandrun", "report", "-", "--html", "-o", path]
    subprocess.run(words, input=json.dumps(made).encode(), check=True, cwd=CHECKOUT)
    return path


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where the pages and the browser's files are."""
    with a_directory() as made:
        yield made


@pytest.fixture
def browser(place: Path) -> Iterator[Browser]:
    """One browser, ended with the test."""
    (place / "profile").mkdir()
    with a_browser(place / "profile") as made:
        yield made


def an_ordinary_run() -> dict[str, object]:
    """A record with something in each section."""
    grants = ({"text": "/used", "times": 2, "used": ["read_file"]}, {"text": "/spare"}, {"text": "/seen", "looked": 1})
    files = [{"path": f"/used/{name}", "act": "read", "times": 1, "program": "/bin/cat", "grant": 0} for name in "ab"]
    processes = [{"pid": 7, "program": "/bin/cat", "first": 0.1, "last": 1.9, "calls": 9, "status": 0}]
    findings = [denial("open /late for reading", 1.5), denial("open /early for reading", 0.5)]
    return record(
        used=used(*grants, files=files, processes=processes),
        explained={"failed": True, "complete": True, "gap": None, "findings": findings},
        protections=[
            {"key": f"filesystem.{key}", "state": "enforced", "mechanisms": ["landlock"]} for key in ("read", "write")
        ],
        trace={"total": 3, "syscalls": [{"syscall": "openat", "calls": 3}], "sets": ["@file-system"], "profiles": []},
        plan={"profile": {"name": "app.toml"}, "rlimits": {"core": {"soft": 0, "hard": 0}}},
    )


def test_pages_in_a_browser(place: Path, browser: Browser) -> None:
    """One browser for all of it, since its start takes seconds."""
    ordinary, nasty = page_of(an_ordinary_run(), place, "run"), page_of(hostile(), place, "hostile")
    check_loads_nothing(browser, ordinary)
    check_it_shows(browser)
    check_the_keyboard(browser)
    check_it_is_readable(browser)
    check_paper(browser)
    check_loads_nothing(browser, nasty)
    check_nothing_ran(browser)
    check_it_is_readable(browser)


def check_loads_nothing(browser: Browser, page: Path) -> None:
    """The page asks for nothing but itself, and the browser has nothing to complain of, as of its policy."""
    browser.look(1280)
    browser.show(page)
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []
    assert browser.value("getComputedStyle(document.body).margin") == "0px", "the style does not apply"


def check_it_shows(browser: Browser) -> None:
    """Sections under their links; the marks of denials are where their times are on the line."""
    links = browser.value("[...document.querySelectorAll('nav a')].map(one => one.hash)")
    assert len(links) >= 9
    assert all(browser.value(f"document.querySelector('{link} h2').checkVisibility()") for link in links)
    assert browser.value("document.title") == "sandrun: true"
    places = browser.value(
        "[...document.querySelectorAll('ol.line li')].map(row => {"
        " const line = row.querySelector('line').getBoundingClientRect(), dot = row.querySelector('circle').getBoundingClientRect();"
        " return (dot.x + dot.width / 2 - line.x) / line.width; })"
    )
    assert [round(place, 2) for place in places] == [0.25, 0.75]
    spare = browser.value("getComputedStyle(document.querySelector('li.unused > .leaf')).borderLeftWidth")
    assert spare == "4px"


def check_the_keyboard(browser: Browser) -> None:
    """The Tab key reaches what can be opened and filtered, visibly; Enter and Space work them."""
    opened = "document.querySelector('li.used li.used details').open"
    assert browser.value(opened) is False
    stops = [".skip", "nav a", ".filter input", "li.used li.used summary"]
    reached: list[str] = []
    for _ in range(30):
        browser.press("Tab", 9)
        reached += [stop for stop in stops if browser.value(f"document.activeElement.matches('{stop}')")]
        assert browser.value("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if stops[-1] in reached:
            break
    assert list(dict.fromkeys(reached)) == stops
    browser.press("Enter", 13, "\r")
    assert browser.value(opened) is True
    assert browser.value(SHOWN.format("li.used li.used li code")) == ["/used/"]
    browser.value("document.querySelector('.filter input').focus()")
    browser.press(" ", 32, " ")
    assert browser.value(SHOWN.format(".tree code")) == ["filesystem.read", "/spare", "/seen"]
    browser.press(" ", 32, " ")
    assert "/used" in browser.value(SHOWN.format(".tree code"))


def check_it_is_readable(browser: Browser) -> None:
    """On a desk and on a phone, light and dark: enough contrast everywhere, and nothing sticks out."""
    browser.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    grounds = set()
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            browser.look(width, scheme=scheme)
            assert browser.value(PALE) == []
            assert browser.value(BEYOND) == []
            assert browser.value("document.scrollingElement.scrollWidth") <= width
            grounds.add(browser.value("getComputedStyle(document.body).backgroundColor"))
            assert len(base64.b64decode(browser.ask("Page.captureScreenshot")["data"])) > 5000
    assert grounds == {"rgb(255, 255, 255)", "rgb(20, 23, 26)"}


def check_paper(browser: Browser) -> None:
    """Printed, what is folded is there, what is only for a screen is not, and the colours are those for paper."""
    browser.value("document.querySelectorAll('details').forEach(one => one.open = false)")
    browser.look(800, scheme="dark", media="print")
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value("document.querySelector('nav').checkVisibility()") is False
    below = "[...document.querySelectorAll('.tree code')].find(one => one.textContent === 'a').checkVisibility()"
    assert browser.value(below) is True
    assert base64.b64decode(browser.ask("Page.printToPDF")["data"]).startswith(b"%PDF-")
    browser.look(1280)
    assert browser.value(below) is False


def check_nothing_ran(browser: Browser) -> None:
    """Of the hostile text nothing became an element, a script or a window."""
    assert (
        browser.value(
            "document.querySelectorAll('script, img, iframe, object, form, [onerror], a:not([href^=\"#\"])').length"
        )
        == 0
    )
    assert "</script><script>alert(1)</script>" in browser.value("document.body.textContent")
    assert not any(event["method"] == "Page.javascriptDialogOpening" for event in browser.events)
