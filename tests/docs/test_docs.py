"""The documentation is complete, its links resolve, and its examples do what they show."""

from __future__ import annotations

import inspect
import json
import re
import runpy
import shlex
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest

import sandrun as library
from sandrun import errors, kernel
from sandrun.cli import VERBS, options
from sandrun.cli.doctor import doctor
from sandrun.cli.learn import learn
from sandrun.cli.lock import lock
from sandrun.cli.profile import profile
from sandrun.cli.report import report
from sandrun.cli.shrink import shrink
from sandrun.cli.trace import trace
from sandrun.cli.up import up
from sandrun.cli.why import why
from sandrun.cli.workspace import workspace
from sandrun.group import reading
from sandrun.plan import environment
from sandrun.policy import families, promises, syscalls
from sandrun.policy._syscalls import SETS
from sandrun.primitives import caps, landlock
from sandrun.profile import names, paths
from sandrun.profile.keys import KEYS, TABLES, TOP_KEYS
from sandrun.steps import CHILD_STEPS
from tests.docs.documents import Block, Page, anchors, commands, fenced, links, matches, script
from tests.support import CHECKOUT, need_landlock, need_program, sandrun

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from tests.support import Who

COMMANDS = Page(CHECKOUT / "man" / "sandrun.1")
PROFILE = Page(CHECKOUT / "man" / "sandrun-profile.5")
LIBRARY = Page(CHECKOUT / "man" / "sandrun.3")
PAGES = (COMMANDS, LIBRARY, PROFILE)
MARKDOWN = tuple(
    CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "profiles/README.md")
)
BUILTIN = {path.stem: tomllib.loads(path.read_text()) for path in sorted((CHECKOUT / "profiles").glob("*.toml"))}
SECTIONS = [
    # man-pages(7); a page leaves out what it does not need and adds its own between DESCRIPTION and FILES
    *("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "RETURN VALUE", "ERRORS"),
    *("ENVIRONMENT", "FILES"),
    *("NOTES", "CAVEATS", "BUGS", "EXAMPLES", "SEE ALSO"),
]
SESSIONS = [
    *(block for path in MARKDOWN for block in fenced(path, "console")),
    *(block for page in PAGES for block in page.blocks("console")),
]
PROFILES = [
    *(block for path in MARKDOWN for block in fenced(path, "toml")),
    *(block for page in PAGES for block in page.blocks("profile")),
]
PROGRAMS = [block for page in PAGES for block in page.blocks("python")]
NOTES = "pears\napples\n"


def _place(block: Block) -> str:
    return f"{block.path.name}:{block.line}"


# --- the man pages as such -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_the_formatters_have_nothing_to_complain_of(page: Page) -> None:
    """mandoc's checks find nothing, and groff renders the page without a warning."""
    lint = subprocess.run(
        [need_program("mandoc"), "-T", "lint", "-W", "warning", page.path], capture_output=True, text=True
    )
    assert (lint.returncode, lint.stdout) == (0, "")
    groff = [need_program("groff"), "-man", "-ww", "-Tutf8", "-z", page.path]
    assert subprocess.run(groff, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_sections_stand_in_the_usual_order(page: Page) -> None:
    """The sections that man-pages(7) knows come in its order, and nothing is said in a section without text."""
    known = [title for title in page.sections() if title in SECTIONS]
    assert known == sorted(known, key=SECTIONS.index)
    for title in page.sections():
        assert page.text(*page.titles(title)), f"{title} is empty"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_see_also_is_sorted(page: Page) -> None:
    """SEE ALSO goes by section, then by name, without repetition (man-pages(7))."""
    listed = re.findall(r"(\S+)\((\d)\)", page.text("SEE ALSO"))
    assert listed == sorted(set(listed), key=lambda entry: (entry[1], entry[0]))


# --- sandrun(1): options, statuses, verbs --------------------------------------------------------------------------


def _documented_options() -> dict[str, str]:
    """The tag of every option in OPTIONS, by each name it has."""
    return {
        name: tag
        for tag in COMMANDS.tags(*COMMANDS.titles("OPTIONS"))
        for name in re.findall(r"(?<![\w-])--?[a-z][\w-]*", tag)
    }


def _options() -> list[options.Option]:
    return [*options.PROFILE_OPTIONS, *options.key_options(), *options.RUN_OPTIONS]


def test_every_option_is_documented_and_no_other() -> None:
    """OPTIONS has the long and short name of each option, and only options that exist."""
    exist = {name for option in _options() for name in (option.name, option.short) if name}
    assert set(_documented_options()) == exist


@pytest.mark.parametrize("option", _options(), ids=lambda option: option.name)
def test_an_option_shows_its_argument(option: options.Option) -> None:
    """The tag of an option has its short name, its argument and all the words it may be."""
    tag = _documented_options()[option.name]
    assert option.short in tag
    for word in re.split(r"[|:=+\[\].]+", option.metavar):
        assert word in tag
    assert (" " in tag.replace(", ", ",")) == bool(option.metavar), "an argument too much or too few"


@pytest.mark.parametrize("key", [key for key in KEYS if key.option], ids=lambda key: key.path)
def test_an_option_names_its_key(key: object) -> None:
    """The text of OPTIONS gives the key of each option in brackets."""
    assert re.search(rf"\[[^\]]*\b{re.escape(key.path)}\b[^\]]*\]", COMMANDS.text(*COMMANDS.titles("OPTIONS")))


def test_every_exit_status_is_documented() -> None:
    """EXIT STATUS has each number that sandrun itself exits with, in the man page and in the README."""
    numbers = {str(value) for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {tag for tag in COMMANDS.tags("EXIT STATUS") if tag.isdecimal()} == numbers
    readme = (CHECKOUT / "README.md").read_text()
    table = readme[readme.index("\n## Exit status") :].split("\n## ")[1]
    assert set(re.findall(r"^\| (\d+)", table, re.MULTILINE)) == numbers | {"128"}
    assert "128 + n" in COMMANDS.tags("EXIT STATUS")


def _verbs() -> dict[str, click.Command]:
    """Every verb, by its words."""
    assert set(VERBS) == {"doctor", "learn", "lock", "profile", "report", "shrink", "trace", "up", "why", "workspace"}
    return (
        {"doctor": doctor, "learn": learn, "lock": lock, "report": report}
        | {"shrink": shrink, "trace": trace, "up": up, "why": why}
        | {f"profile {name}": command for name, command in profile.commands.items()}
        | {f"workspace {name}": command for name, command in workspace.commands.items()}
    )


@pytest.mark.parametrize("verb", _verbs())
def test_a_verb_is_documented(verb: str) -> None:
    """SYNOPSIS and DESCRIPTION have the verb, and its options and arguments."""
    tags = [tag for tag in COMMANDS.tags("Verbs") if tag.startswith(verb)]
    assert len(tags) == 1
    assert f"sandrun {tags[0]}" in COMMANDS.text("SYNOPSIS")
    for parameter in _verbs()[verb].params:
        word = parameter.opts[0] if parameter.param_type_name == "option" else parameter.make_metavar(None)
        assert word.removesuffix("...") in tags[0]


def test_the_keys_of_a_group_are_documented() -> None:
    """Those of a command have an entry each, and the others are named."""
    assert set(COMMANDS.tags("Groups")) == set(reading.COMMAND)
    words = set(re.findall(r"\w+", COMMANDS.text("Groups")))
    assert {*reading.TOP, *reading.PIPE, *reading.SOCKETPAIR} <= words


def test_the_group_that_is_shown_is_one(tmp_path: Path) -> None:
    """The example is read without a complaint."""
    (block,) = COMMANDS.blocks("group")
    (tmp_path / "group.toml").write_text(block.text)
    (tmp_path / "group.toml").chmod(0o600)
    group = reading.read_group(str(tmp_path / "group.toml"))
    assert [command.name for command in group.commands] == ["server", "writer"]


def test_no_verb_is_documented_that_does_not_exist() -> None:
    """The verbs of the man page and of the help text are those there are."""
    assert len(COMMANDS.tags("Verbs")) == len(_verbs())
    usages = [usage.removeprefix("sandrun ").partition(" ") for usage in options.VERB_USAGE]
    assert {f"{verb} {sub}".rstrip() for verb, _, subs in usages for sub in subs.split("|")} == set(_verbs())


def test_the_steps_of_the_child_are_documented_in_their_order() -> None:
    """NOTES has the steps between fork and execve as they are taken, by the names that messages use."""
    assert COMMANDS.tags("Steps in the child") == [name for name, _ in CHILD_STEPS]


def test_the_records_are_documented(who: Who, box: Path) -> None:
    """NOTES has every event of --status-fd and every member of --report, and no other, as runs produce them."""
    events, record = box / "events", box / "record"
    words = f"{shlex.join(who.sandrun)} --status-fd 3"
    told = f"{words} --explain --report {record} -- true; {words} -- no-such-command"
    who.run(["bash", "-c", f"exec 3>{events}; {told}"], cwd=box)
    seen = [json.loads(text) for text in events.read_text().splitlines()]
    assert sorted({event["event"] for event in seen}) == sorted(COMMANDS.tags("Events"))
    for event in seen:
        text = COMMANDS.entries["Events"][event["event"]]
        assert [member for member in event if member not in ("sandrun", "event") and member not in text] == []
    sandrun("--report", record, "--", "true", who=who, cwd=box)
    members = json.loads(record.read_text())
    assert list(members) == COMMANDS.tags("Record of a run")
    for name, inner in (("outcome", members["outcome"]), ("protections", members["protections"][0])):
        assert [member for member in inner if member not in COMMANDS.entries["Record of a run"][name]] == []


def test_the_kernel_table_has_every_abi() -> None:
    """The README says of each Landlock ABI what it adds."""
    readme = (CHECKOUT / "README.md").read_text()
    table = readme[readme.index("\n## Kernel support") :].split("\n## ")[1]
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(
        range(1, landlock.NEWEST_ABI + 1)
    )


# --- sandrun-profile(5): keys and what may stand in them -----------------------------------------------------------


def test_every_top_key_is_documented() -> None:
    """The keys above the tables."""
    assert PROFILE.tags("Top of the file") == [name for name, _, _ in TOP_KEYS]


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented_and_no_other(table: str) -> None:
    """Each table has a subsection with its keys in the order of the declaration."""
    keys = [key.path.partition(".")[2] for key in KEYS if key.table == table]
    if keys == [""]:
        keys = sorted(names.RLIMITS)
    assert PROFILE.tags(f"[{table}]") == keys


@pytest.mark.parametrize("key", [key for key in KEYS if "." in key.path], ids=lambda key: key.path)
def test_a_key_says_how_it_merges(key: object) -> None:
    """The text of a key has its merge rule, and every word it may be."""
    text = _entry(PROFILE, f"[{key.table}]", key.path.partition(".")[2])
    assert {"union": "united", "last": "last", "table": "by name"}[key.merge] in text
    for word in key.choices:
        assert re.search(rf"\b{re.escape(word)}\b", text), word


def _entry(page: Page, title: str, tag: str) -> str:
    """The text behind one tag of a subsection, up to the next tag."""
    text = page.entries[title][tag]
    assert text, f"{title} {tag} has no text"
    return text


NAMED = {
    "Groups of paths": paths.GROUPS,
    "Access rights": landlock.FS,
    "Sets": (*SETS, syscalls.KNOWN_SET),
    "Promises": promises.PROMISES,
    "Groups of variables": names.ENVIRONMENT_GROUPS,
    "Facts": kernel.names(kernel.Kernel()),
    "Built-in profiles": BUILTIN,
}


@pytest.mark.parametrize("title", NAMED)
def test_every_name_is_documented_and_no_other(title: str) -> None:
    """The names that values may have are the tags of their subsection."""
    assert sorted(PROFILE.tags(title)) == sorted(NAMED[title])


@pytest.mark.parametrize("name", BUILTIN)
def test_a_builtin_profile_is_described_by_its_own_words(name: str) -> None:
    """The description in the file is the one in the man page and in profiles/README.md."""
    description = BUILTIN[name]["description"]
    assert description.replace("Building block: ", "") in _entry(PROFILE, "Built-in profiles", name)
    assert re.search(
        rf"^\| \[`{name}`\]\({name}\.toml\) \| {re.escape(description)} \|",
        (CHECKOUT / "profiles/README.md").read_text(),
        re.MULTILINE,
    )


@pytest.mark.parametrize("right", landlock.FS)
def test_an_access_right_says_its_abi(right: str) -> None:
    """A right that came after ABI 1 says with which."""
    since = landlock.FS_ABI[right]
    assert (f"ABI {since}" in _entry(PROFILE, "Access rights", right)) == (since > 1)


@pytest.mark.parametrize(
    "words",
    [environment.BASIC, families.FAMILIES, caps.SECUREBITS, names.NAMESPACES],
    ids=["basic", "families", "securebits", "namespaces"],
)
def test_short_lists_are_in_the_text(words: object) -> None:
    """Lists of names that need no explanation appear whole."""
    missing = [word for word in words if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", PROFILE.text())]
    assert not missing


def test_the_secret_looking_words_are_listed() -> None:
    """The rule by which a pattern leaves secrets out is given in full."""
    text = PROFILE.text("[environment]")
    assert [word for word in environment.SECRET_WORDS if word not in text] == []


# --- sandrun(3): functions, names, errors --------------------------------------------------------------------------

FUNCTIONS = ("run", "Popen", "create_subprocess_exec", "call", "sandboxed", "SandboxExecutor", "enter")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_shows_its_parameters(name: str) -> None:
    """The synopsis has each parameter that a caller may name, in order, with its default."""
    shown = re.search(rf"sandrun\.{name}\((.*?)\)(?: |$)", LIBRARY.text("SYNOPSIS"))
    assert shown
    own = inspect.signature(getattr(library, name))
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in own.parameters.values()
        if not parameter.name.startswith("_") and parameter.kind != inspect.Parameter.POSITIONAL_ONLY
    ]
    said = inspect.signature(eval(f"lambda {shown[1]}: None"))
    assert said == own.replace(parameters=parameters, return_annotation=inspect.Signature.empty)


def test_every_name_of_the_library_is_documented() -> None:
    """So is what a protection, a denial and the resources of a run consist of, and each status of a launch."""
    names = {name for name, home in library._HOMES.items() if home.startswith("sandrun.library.")}
    for kind in (library.Enforcement, library.Denial, library.Resources):
        names |= set(kind._fields)
    assert names <= set(re.findall(r"\w+", LIBRARY.text()))
    assert LIBRARY.tags("RETURN VALUE") == COMMANDS.tags("EXIT STATUS")


def test_every_error_of_the_library_is_documented() -> None:
    """ERRORS has each, says of which it is one, and which of them are errors of Python's as well."""
    own = {name: getattr(library, name) for name in library._HOMES if name.endswith("Error")}
    entries = LIBRARY.entries["ERRORS"]
    assert entries.keys() == own.keys() | {"subprocess.TimeoutExpired", "OSError"}
    for name in re.findall(r"\w+Error", entries["SandrunError"]):
        assert library.SandrunError in own[name].mro()[1:]
    for name, kind in own.items():
        for python in (TypeError, TimeoutError):
            assert issubclass(kind, python) <= (python.__name__ in entries[name])


# --- what else refers to the pages ---------------------------------------------------------------------------------


def test_messages_refer_to_sections_that_exist() -> None:
    """A message or help text that names a page, or a section of it, names one that is there."""
    pages = {"sandrun(1)": COMMANDS, "sandrun(3)": LIBRARY, "sandrun-profile(5)": PROFILE}
    found = []
    for path in sorted((CHECKOUT / "sandrun").rglob("*.py")):
        for name, section in re.findall(r"(sandrun[\w-]*\(\d\))(?:, ([A-Z][A-Z ]+[A-Z]))?", path.read_text()):
            found.append(name)
            assert name in pages, f"{path}: no page {name}"
            assert not section or section in pages[name].parents, f"{path}: {name} has no section {section}"
    assert set(found) == set(pages), "the help text sends the reader to all"


# --- Markdown ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_links_resolve(path: Path) -> None:
    """Each relative link leads to a file of the repository, and each anchor to a heading."""
    for target in links(path):
        if target.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.is_relative_to(CHECKOUT), target
        assert linked.exists(), f"dead link: {target}"
        assert not anchor or anchor in anchors(linked), f"dead anchor: {target}"


def test_each_claim_is_held_by_a_test() -> None:
    """Every line of the README's list of what is stopped links to an escape attempt."""
    readme = (CHECKOUT / "README.md").read_text()
    stops = readme[readme.index("\n## What it stops") :].split("\n## ")[1].split("\n### ")[0]
    claims = re.findall(r"^- .*(?:\n  .*)*", stops, re.MULTILINE)
    assert claims
    for claim in claims:
        assert re.search(r"\]\(tests/escape/\w+\.py\)", claim), claim


def test_the_numbers_of_the_readme_are_those_that_were_measured() -> None:
    """Every table of a measurement is what the tool makes of bench/results, and no plot is missing."""
    tool = runpy.run_path(str(CHECKOUT / "tools" / "gen_bench_tables.py"))
    text = (CHECKOUT / "README.md").read_text()
    assert tool["rewritten"](text) == text
    assert set(tool["TABLES"]) == {match[1] for match in tool["REGION"].findall(text)}


def test_every_make_target_is_explained() -> None:
    """CONTRIBUTING has each target that `make help` lists."""
    targets = re.findall(r"^([\w-]+):.*##", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    text = (CHECKOUT / "CONTRIBUTING.md").read_text()
    assert [target for target in targets if target != "help" and f"`make {target}`" not in text] == []


def test_every_dependency_has_its_reason() -> None:
    """CONTRIBUTING has a reason for each package that is asked for by name."""
    asked = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in ("build", "dev"):
        asked += (CHECKOUT / "requirements" / f"{name}.in").read_text().splitlines()
    names = {match[0] for line in asked if (match := re.match(r"[a-z][\w-]*", line))}
    text = (CHECKOUT / "CONTRIBUTING.md").read_text().partition("## Dependencies")[2]
    table = {name for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for name in row.split(", ")}
    assert names <= table


# --- examples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", PROFILES, ids=_place)
def test_a_profile_shown_is_a_profile(block: Block, who: Who, box: Path) -> None:
    """Each profile in the documentation passes `sandrun profile check`, and a command runs under it."""
    _stage(who, box)
    path = box / "example.toml"
    path.write_text(block.text)
    done = sandrun("profile", "check", path, who=who)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    need_landlock(4)  # single TCP ports
    done = sandrun("-q", "-p", path, "--", "cat", "notes.txt", who=who, cwd=who.home / "project")
    assert (done.returncode, done.stdout, done.stderr) == (0, NOTES, "")


@pytest.mark.parametrize("block", SESSIONS, ids=_place)
def test_a_session_shown_goes_as_shown(block: Block, who: Who, box: Path) -> None:
    """Each session in the documentation prints what it shows, as root and as an ordinary user.

    It starts in a project of a few files below a home directory with a secret in it.
    """
    session = commands(block)
    separator = "\1end\2"
    _stage(who, box)
    env = {**who.env, "PATH": f"{box}:{who.env['PATH']}"}
    done = who.run(["bash", "-c", script(session, separator)], env=env, cwd=who.home / "project")
    outputs = done.stdout.split(separator)
    for command, output in zip(session, outputs, strict=False):
        assert matches(command.output, output), f"line {command.line}: {command.words}\nprinted:\n{output}"
    assert len(outputs) == len(session) + 1, done.stdout


@pytest.mark.parametrize("block", PROGRAMS, ids=_place)
def test_a_program_shown_ends_well(block: Block, who: Who, box: Path) -> None:
    """Each program of the man pages runs as it stands, in Python's development mode, and complains of nothing."""
    program = box / "program.py"
    program.write_text(f"{who.importing}\n{block.text}")
    done = who.run([who.sandrun[0], "-X", "dev", "-W", "error", program.name], cwd=box)
    assert (done.returncode, done.stderr) == (0, "")


def _stage(who: Who, box: Path) -> None:
    """The home, the project and the name `sandrun` that the examples count on."""
    project = who.home / "project"
    for folder in (who.home / ".ssh", project):
        folder.mkdir()
    (who.home / ".ssh" / "id_ed25519").write_text("a private key\n")
    (project / "notes.txt").write_text(NOTES)
    (project / "Makefile").write_text("hello.txt:\n\techo hello > hello.txt\n")
    (project / ".env").write_text("TOKEN=secret\n")
    program = box / "sandrun"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(who.sandrun)} "$@"\n')
    program.chmod(0o755)
    who.own(program, *who.home.rglob("*"))
