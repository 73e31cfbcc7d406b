"""Bad profiles and flags: the exact line, with its place and a hint, and every problem at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandrun.errors import ProfileError
from sandrun.profile import load
from sandrun.profile.keys import BY_PATH, KEYS, TABLE, UNION

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2"


def complaints(text: str | bytes, tmp_path: Path) -> list[str]:
    """The lines for a file of this text, with its path as FILE."""
    path = tmp_path / "p.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProfileError) as caught:
        load([str(path)])
    return [line.replace(str(path), "FILE") for line in caught.value.lines()]


BAD_FILES = [
    # (text, the lines)
    ("schema = 2", ["FILE:1: schema: unknown version of the profile language", "hint: this sandrun reads schema = 1"]),
    ("schema = true", ["FILE:1: schema: expected an integer, got a boolean", "hint: schema = 1"]),
    ('description = "a\\nb"', ["FILE:1: description: a description is one line of text"]),
    ("optional = 1", ["FILE:1: optional: expected an array, got an integer"]),
    ("extends = [1]", ["FILE:1: extends[0]: expected a string, got an integer"]),
    (
        "filesystem = 3",
        ["FILE:1: filesystem: expected a table, got an integer", "hint: write [filesystem] on a line of its own"],
    ),
    ("[filesytem]", ['FILE:1: filesytem: unknown key or table "filesytem"', 'hint: did you mean "filesystem"?']),
    ('read = ["/"]', ['FILE:1: read: unknown key or table "read"', "hint: it belongs in [filesystem]"]),
    (
        '"filesystem.read" = []',
        ['FILE:1: "filesystem.read": unknown key or table "filesystem.read"', "hint: it belongs in [filesystem]"],
    ),
    (
        "[filesystem]\nconnect = []",
        ['FILE:2: filesystem.connect: unknown key "connect"', "hint: it belongs in [network]"],
    ),
    ("[filesystem]\nraed = []", ['FILE:2: filesystem.raed: unknown key "raed"', 'hint: did you mean "read"?']),
    (
        "[filesystem]\ndeny-write = []",
        ['FILE:2: filesystem.deny-write: unknown key "deny-write"', 'hint: did you mean "deny_write"?'],
    ),
    (
        '[time]\nextends = "x"',
        [
            'FILE:2: time.extends: unknown key "extends"',
            "hint: it belongs at the top of the file, before the first table",
        ],
    ),
    ('[time]\n"a.b\\n" = 1', ['FILE:2: time."a.b\\n": unknown key "a.b\\n"', "hint: one of timeout, grace"]),
    (
        '[filesystem]\nread = "/usr"',
        ["FILE:2: filesystem.read: expected an array, got a string", 'hint: write ["/usr"]'],
    ),
    ('[filesystem]\nread = [\n  "/a",\n  1,\n]', ["FILE:4: filesystem.read[1]: expected a string, got an integer"]),
    ('[filesystem]\nread = ["/a\\u0000b"]', ["FILE:2: filesystem.read[0]: a string cannot contain a NUL byte"]),
    (
        '[filesystem]\nread = ["$HOME"]',
        [
            'FILE:2: filesystem.read[0]: "$HOME": "$" needs a name in braces',
            'hint: write "${NAME}" for a variable, "[$]" for the character itself',
        ],
    ),
    (
        '[filesystem]\nread = ["@systm"]',
        [
            'FILE:2: filesystem.read[0]: unknown path group "@systm"',
            'hint: did you mean "@system"? (a file of that name is "./@systm")',
        ],
    ),
    ('[filesystem]\ntmp = "priv"', ['FILE:2: filesystem.tmp: unknown value "priv"', 'hint: did you mean "private"?']),
    (
        "[filesystem]\ntmp = true",
        ["FILE:2: filesystem.tmp: expected a string, got a boolean", "hint: one of private, host"],
    ),
    (
        '[filesystem]\nread = ["/a"]\ndeny = ["/a/"]',
        [
            'FILE:2: filesystem.read[0]: both granted and denied in one file: "/a" is also in filesystem.deny[0]',
            "hint: remove one of the two",
        ],
    ),
    (
        '[[filesystem.rules]]\npath = "/a"\naccess = ["raed_file"]\nto = 1',
        [
            'FILE:1: filesystem.rules[0].access[0]: unknown access right "raed_file"',
            'hint: did you mean "read_file"?',
            'FILE:1: filesystem.rules[0]."to": unknown key "to"',
            "hint: one of path, access, at",
        ],
    ),
    ('[[filesystem.rules]]\npath = "/a"', ["FILE:1: filesystem.rules[0]: access is missing"]),
    (
        '[filesystem]\nrules = [{ path = "/a", access = [], at = "b" }]',
        [
            "FILE:2: filesystem.rules[0].access: a rule without access rights grants nothing",
            "hint: remove it, or name a right",
            'FILE:2: filesystem.rules[0].at: not an absolute path: "b"',
        ],
    ),
    (
        '[filesystem]\nrules = ["/a"]',
        ["FILE:2: filesystem.rules[0]: expected a table with path, access, at, got a string"],
    ),
    (
        "[network]\nconnect = [443]",
        ["FILE:2: network.connect[0]: expected a string, got an integer", 'hint: one TCP port is "tcp:443"'],
    ),
    (
        '[network]\nunix = ["@x"]',
        ['FILE:2: network.unix[0]: unknown socket group "@x"', 'hint: an abstract socket is "abstract:NAME"'],
    ),
    (
        '[network]\nunix = ["*"]',
        [
            'FILE:2: network.unix[0]: "*" would be the sockets in the working directory',
            'hint: every unix socket is "@all"',
        ],
    ),
    (
        '[network]\nprivate = ["example.org"]',
        [
            'FILE:2: network.private[0]: not a range of addresses: "example.org"',
            "hint: write it as 10.0.0.0/8 or fd00::/8",
        ],
    ),
    (
        '[network]\nfamilies = ["AF_NETLNK"]',
        ['FILE:2: network.families[0]: unknown address family "AF_NETLNK"', 'hint: did you mean "netlink"?'],
    ),
    (
        '[network]\nloopback = "true"',
        ["FILE:2: network.loopback: expected a boolean, got a string", "hint: write true, without quotes"],
    ),
    (
        '[network]\nconnect = ["*"]\ndeny = ["*"]',
        [
            'FILE:2: network.connect[0]: both granted and denied in one file: "*" is also in network.deny[0]',
            "hint: remove one of the two",
        ],
    ),
    (
        '[syscalls]\nallow = ["opneat"]',
        ["FILE:2: syscalls.allow[0]: unknown syscall 'opneat'", "hint: did you mean openat?"],
    ),
    ("[syscalls]\nallow = [-1]", ["FILE:2: syscalls.allow[0]: unknown syscall '-1'"]),
    (
        '[syscalls]\npromises = ["inett"]',
        ['FILE:2: syscalls.promises[0]: unknown promise "inett"', 'hint: did you mean "inet"?'],
    ),
    (
        '[syscalls]\nrules = [{ syscall = "@known", arg = 6, op = "equal", value = "x", action = "errno:EPRM" }]',
        [
            'FILE:2: syscalls.rules[0].syscall: one syscall is wanted, not a set: "@known"',
            "FILE:2: syscalls.rules[0].arg: out of range: 6 is not within 0 to 5",
            'FILE:2: syscalls.rules[0].op: unknown operator "equal"',
            "hint: one of eq, ne, lt, le, gt, ge, masked_eq",
            "FILE:2: syscalls.rules[0].value: not a number",
            "hint: write it in decimal, or as 0x…",
            'FILE:2: syscalls.rules[0].action: unknown error number "EPRM"',
            'hint: did you mean "EPERM"?',
        ],
    ),
    (
        '[syscalls]\nrules = [{ syscall = "ioctl", arg = 1, op = "masked_eq", value = 3, mask = 1, action = "errno" }]',
        ["FILE:2: syscalls.rules[0]: the value has bits outside the mask, so it never matches"],
    ),
    (
        '[syscalls]\nrules = [{ syscall = "ioctl", arg = 1, op = "eq", value = 3, mask = 1, action = "errno" }]',
        ["FILE:2: syscalls.rules[0]: mask goes with masked_eq, and masked_eq with mask"],
    ),
    (
        '[privileges]\ncapabilities = ["net_rw"]',
        ['FILE:2: privileges.capabilities[0]: unknown capability "CAP_NET_RW"', 'hint: did you mean "CAP_NET_RAW"?'],
    ),
    ("[privileges]\nuser = -1", [f"FILE:2: privileges.user: out of range: -1 is not within 0 to {2**32 - 2}"]),
    (
        "[privileges]\nuser = 4294967295",
        [f"FILE:2: privileges.user: out of range: {2**32 - 1} is not within 0 to {2**32 - 2}"],
    ),
    ('[privileges]\nuser = "a:b"', ['FILE:2: privileges.user: not a name of a user or group: "a:b"']),
    (
        "[privileges]\nno_new_privs = 1",
        ["FILE:2: privileges.no_new_privs: expected a boolean, got an integer", "hint: true or false"],
    ),
    (
        '[privileges]\nsecurebits = ["noroots"]',
        ['FILE:2: privileges.securebits[0]: unknown securebit "noroots"', 'hint: did you mean "noroot"?'],
    ),
    (
        '[process]\nisolate = "signal"',
        ['FILE:2: process.isolate: unknown value "signal"', 'hint: did you mean "signals"?'],
    ),
    ("[process]\nisolate = 1", ['FILE:2: process.isolate: expected true, "signals" or false, got an integer']),
    (
        "[process]\numask = 18",
        ["FILE:2: process.umask: expected a string of octal digits, got an integer", 'hint: write it in quotes: "022"'],
    ),
    ('[process]\numask = "0o22"', ['FILE:2: process.umask: not an octal mask: "0o22"', "hint: write 000 to 777"]),
    ('[process]\numask = "1777"', ['FILE:2: process.umask: not an octal mask: "1777"', "hint: write 000 to 777"]),
    ("[process]\nnice = 20", ["FILE:2: process.nice: out of range: 20 is not within -20 to 19"]),
    ('[process]\nnice = "5"', ["FILE:2: process.nice: expected an integer, got a string"]),
    ("[process]\nnice = true", ["FILE:2: process.nice: expected an integer, got a boolean"]),
    ("[process]\nnice = 1.5", ["FILE:2: process.nice: expected an integer, got a float"]),
    ("[process]\npass_fds = [-1]", [f"FILE:2: process.pass_fds[0]: out of range: -1 is not within 0 to {2**31 - 1}"]),
    (
        '[process]\nnamespaces = ["network"]',
        ['FILE:2: process.namespaces[0]: unknown namespace "network"', 'hint: did you mean "net"?'],
    ),
    ('[process]\nhostname = ""', ["FILE:2: process.hostname: a string cannot be empty"]),
    (f'[process]\nhostname = "{"x" * 65}"', ["FILE:2: process.hostname: a host name has at most 64 bytes"]),
    (
        '[process]\ncwd = "@tmp"',
        ['FILE:2: process.cwd: "@tmp": one path is wanted, without groups, wildcards or a final ?'],
    ),
    (
        '[environment]\npass = ["A=b"]',
        [
            'FILE:2: environment.pass[0]: the name of a variable cannot contain =: "A"…',
            "hint: values belong in environment.set",
        ],
    ),
    (
        '[environment]\npass = ["@basics"]',
        ['FILE:2: environment.pass[0]: unknown group of variables "@basics"', 'hint: did you mean "@basic"?'],
    ),
    (
        "[environment]\nset = { PORT = 8080 }",
        ["FILE:2: environment.set.PORT: expected a string, got an integer", "hint: put the value in quotes"],
    ),
    ('[environment.set]\n"A=B" = "x"', ['FILE:2: environment.set."A=B": not the name of a variable']),
    (
        '[environment]\nset = { A = "x" }\nunset = ["A"]',
        [
            'FILE:2: environment.set.A: both granted and denied in one file: "A" is also in environment.unset[0]',
            "hint: remove one of the two",
        ],
    ),
    ("[rlimits]\nnofiles = 1", ['FILE:2: rlimits.nofiles: unknown limit "nofiles"', 'hint: did you mean "nofile"?']),
    (
        "[rlimits]\nRLIMIT_NOFILE = 1",
        ['FILE:2: rlimits.RLIMIT_NOFILE: unknown limit "RLIMIT_NOFILE"', 'hint: did you mean "nofile"?'],
    ),
    ("[rlimits]\nnofile = -1", ["FILE:2: rlimits.nofile: not a limit: -1", 'hint: no limit is "unlimited"']),
    ("[rlimits]\nnofile = -2", [f"FILE:2: rlimits.nofile: out of range: -2 is not within 0 to {2**63 - 1}"]),
    ('[rlimits]\nnofile = "64K"', ['FILE:2: rlimits.nofile: not a number: "64K"']),
    (
        '[rlimits]\nnofile = "512:256"',
        ["FILE:2: rlimits.nofile: the soft limit is above the hard limit", "hint: write SOFT:HARD"],
    ),
    (
        '[rlimits]\nnofile = "unlimited:256"',
        ["FILE:2: rlimits.nofile: the soft limit is above the hard limit", "hint: write SOFT:HARD"],
    ),
    (
        '[rlimits]\nas = "9999999999G"',
        [f"FILE:2: rlimits.as: out of range: {9999999999 * 1024**3} is not within 0 to {2**63 - 1}"],
    ),
    ('[rlimits]\ncpu = "1500ms"', ["FILE:2: rlimits.cpu: processor time is limited in whole seconds"]),
    ('[resources]\nmemory = "512MB"', ['FILE:2: resources.memory: not a size: "512MB"', 'hint: did you mean "512M"?']),
    (
        '[resources]\nmemory = "0.5G"',
        ['FILE:2: resources.memory: not a size: "0.5G"', "hint: an integer with K, M, G or T (1024 each), or bytes"],
    ),
    ('[resources]\nmemory = "-1"', [f"FILE:2: resources.memory: out of range: -1 is not within 1 to {2**63 - 1}"]),
    ("[resources]\nmemory = 0", [f"FILE:2: resources.memory: out of range: 0 is not within 1 to {2**63 - 1}"]),
    ("[resources]\npids = 1e3", ["FILE:2: resources.pids: expected an integer, got a float"]),
    ("[resources]\ncpu = 150", ["FILE:2: resources.cpu: expected a string, got an integer", 'hint: write "150%"']),
    ('[resources]\ncpu = "150"', ['FILE:2: resources.cpu: not a percentage: "150"', "hint: 100% is one processor"]),
    (
        '[time]\ntimeout = "10 s"',
        ['FILE:2: time.timeout: not a time: "10 s"', "hint: a number with ms, s, m, h or d, or seconds"],
    ),
    (
        '[time]\ntimeout = "-1s"',
        ["FILE:2: time.timeout: a time cannot be negative", "hint: a number with ms, s, m, h or d, or seconds"],
    ),
    ("[time]\ntimeout = -1", ["FILE:2: time.timeout: a time cannot be negative"]),
    (
        "[time]\ntimeout = 0",
        ["FILE:2: time.timeout: a timeout of nothing would end every command", "hint: leave it out for no timeout"],
    ),
    ('[time]\ntimeout = "99999d"', ["FILE:2: time.timeout: out of range: more than ten years"]),
    (
        "[time]\ntimeout = 07:32:00",
        ["FILE:2: time.timeout: expected a number of seconds or a string such as 10s, got a date or time"],
    ),
    ("[time]\ntimeout = inf", ["FILE:2: time.timeout: out of range: more than ten years"]),
    ("[time]\ntimeout = nan", ["FILE:2: time.timeout: out of range: more than ten years"]),
    (
        'replace = ["filesystem"]',
        [
            'FILE:1: replace[0]: unknown key "filesystem"',
            "hint: name its keys: filesystem.read, filesystem.write, filesystem.create, filesystem.execute, filesystem.deny, filesystem.deny_write, filesystem.rules, filesystem.tmp, filesystem.home, filesystem.root, filesystem.proc, filesystem.dev, filesystem.overlay",
        ],
    ),
    (
        'replace = ["network.conect"]',
        ['FILE:1: replace[0]: unknown key "network.conect"', 'hint: did you mean "network.connect"?'],
    ),
    ('optional = ["process.umask"]', ["FILE:1: optional[0]: process.umask is always kept, so it cannot be optional"]),
    (
        'optional = ["process.isolate"]',
        [
            "FILE:1: optional[0]: process.isolate is not set in this file, and what others ask for stays required",
            'hint: set it here too, or drop the inherited value: replace = ["process.isolate"]',
        ],
    ),
    (
        'require = ["landlock>4"]',
        [
            'FILE:1: require[0]: not a requirement: "landlock>4"',
            "hint: write NAME or NAME>=NUMBER, with the names of sandrun doctor",
        ],
    ),
]


@pytest.mark.parametrize(("text", "lines"), BAD_FILES, ids=[text.replace("\n", " ")[:60] for text, _ in BAD_FILES])
def test_bad_profile(text: str, lines: list[str], tmp_path: Path) -> None:
    """Each mistake gives its line with file, line and key path, and what to write instead."""
    assert complaints(text, tmp_path) == lines


def test_every_problem_of_a_file_at_once(tmp_path: Path) -> None:
    """Nothing hides behind the first problem, and they come in the order of the file."""
    text = """\
schema = 1
optoinal = []
[filesystem]
read = ["/ok", "$X", 7]
tmp = "shared"
[process]
nice = "low"
[[filesystem.rules]]
access = ["fly"]
"""
    assert [line for line in complaints(text, tmp_path) if not line.startswith("hint")] == [
        'FILE:2: optoinal: unknown key or table "optoinal"',
        'FILE:4: filesystem.read[1]: "$X": "$" needs a name in braces',
        "FILE:4: filesystem.read[2]: expected a string, got an integer",
        'FILE:5: filesystem.tmp: unknown value "shared"',
        'FILE:8: filesystem.rules[0].access[0]: unknown access right "fly"',
        "FILE:8: filesystem.rules[0]: path is missing",
        "FILE:7: process.nice: expected an integer, got a string",
    ]


def test_the_problems_of_every_file_and_flag_at_once(tmp_path: Path) -> None:
    """Two broken profiles, a missing one and a wrong flag are all named; a file named twice is so once."""
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text(f"{name} = 1")
    paths = [f"{tmp_path}/{name}.toml" for name in "abca"]
    with pytest.raises(ProfileError) as caught:
        load(paths, [("process.nice", "x", "--nice")], optional=["nonsense"])
    assert [str(problem).replace(str(tmp_path), "DIR") for problem in caught.value.problems] == [
        'DIR/a.toml:1: a: unknown key or table "a"',
        'DIR/b.toml:1: b: unknown key or table "b"',
        "--profile: cannot read the profile: DIR/c.toml: No such file or directory (ENOENT)",
        '--optional: unknown key "nonsense"',
        '--nice: not a number: "x"',
    ]


BAD_BYTES = [
    (b"\xef\xbb\xbfschema = 1", ["FILE:1:1: starts with a byte order mark", "hint: save it as UTF-8 without one"]),
    ("schema = 1".encode("utf-16"), ["FILE:1:1: starts with a byte order mark", "hint: save it as UTF-8 without one"]),
    (b"schema = 1\n# caf\xe9\n", ["FILE:2:6: not UTF-8: byte 0xe9"]),
    (b"# caf\xc3\xa9\xff", ["FILE:1:7: not UTF-8: byte 0xff"]),
    (b"\x7fELF\x02\x01\x01" + bytes(9), ["FILE:1:1: not TOML: invalid statement"]),
    (b"\0" * 100, ["FILE:1:1: not TOML: invalid statement"]),
    (b'schema = 1\nread = ["a"', ["FILE:2:12: not TOML: unclosed array"]),
    (b"schema = 1\nschema = 1", ["FILE:2:11: not TOML: cannot overwrite a value"]),
    (b"schema = 1\rschema = 1", ["FILE:1:11: not TOML: expected newline or end of document after a statement"]),
    (b"umask = 022", ["FILE:1:10: not TOML: expected newline or end of document after a statement"]),
    (b"a = " + b"[" * 100_000, ["FILE: not a profile: nested too deeply"]),
    (b"a = " + b"{a=" * 100_000, ["FILE: not a profile: nested too deeply"]),
    (b".".join([b"a"] * 100_000) + b" = 1", ["FILE: not a profile: nested too deeply"]),
    (b"#" * (10 << 20), ["FILE: larger than 1024 KiB: not a profile"]),
]


@pytest.mark.parametrize(("data", "lines"), BAD_BYTES, ids=[repr(data[:24]) for data, _ in BAD_BYTES])
def test_bytes_that_are_no_profile(data: bytes, lines: list[str], tmp_path: Path) -> None:
    """Garbage, other encodings, endless nesting and 10 MB give one line, with line and column where there is one."""
    assert complaints(data, tmp_path) == lines


def test_a_number_of_ten_thousand_digits(tmp_path: Path) -> None:
    """Python refuses to convert it, which is one line too."""
    (line,) = complaints("[process]\nnice = 1" + "0" * 10_000, tmp_path)
    assert line.startswith("FILE: not a profile: ")
    (line,) = complaints("[process]\nnice = 1" + "0" * 1000, tmp_path)
    assert line == "FILE:2: process.nice: out of range: a number of more than 40 digits is not within -20 to 19"


def test_a_string_of_a_megabyte_is_not_repeated(tmp_path: Path) -> None:
    """What a message quotes is short and has nothing in it that a terminal would act on."""
    lines = complaints('[filesystem]\ntmp = "\\u001b[31m' + "x" * 1_000_000 + '"', tmp_path)
    assert lines[0].startswith('FILE:2: filesystem.tmp: unknown value "\\x1b[31mxxx')
    assert len(lines[0]) < 200


@pytest.mark.parametrize(
    "text",
    [
        f'[environment]\nset = {{ TOKEN = ["{SECRET}"] }}',
        f'[environment]\nset = {{ TOKEN = "{SECRET}\\u0000" }}',
        f'[environment]\nset = "{SECRET}"',
        f'[environment.set]\n"" = "{SECRET}"',
        f'[environment]\npass = ["TOKEN={SECRET}"]',
        f'[environment]\nset = {{ TOKEN = "{SECRET}" }}\nunset = ["TOKEN"]',
        f'[environment]\nset = {{ TOKEN = "{SECRET}", TOKEN = "{SECRET}" }}',
        f'[environment]\nset = {{ TOKEN = "{SECRET}" ',
    ],
)
def test_no_message_shows_the_value_of_a_variable(text: str, tmp_path: Path) -> None:
    """Whatever is wrong around it, the value stays out of the lines and out of the exception's repr."""
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ProfileError) as caught:
        load([str(path)])
    assert SECRET not in "".join(caught.value.lines()) + repr(caught.value) + repr(caught.value.problems)


def test_no_repr_shows_the_value_of_a_variable(tmp_path: Path) -> None:
    """A traceback or a log of the profile does not show it; who asks for the value gets it."""
    profile = load(["none"], [("environment.pass", f"TOKEN={SECRET}", "--env")])
    assert profile.names("environment.set")["TOKEN"].value == SECRET
    assert SECRET not in repr(profile)


BAD_FLAGS = [
    (("filesystem.read", "", "--read"), "--read: a string cannot be empty"),
    (("filesystem.rules", "/a", "--rule"), '--rule: not a rule: "/a"'),
    (("filesystem.rules", "/a=fly", "--rule"), '--rule.access[0]: unknown access right "fly"'),
    (("syscalls.rules", "ioctl:1:eq", "--syscall-rule"), '--syscall-rule: not a rule: "ioctl:1:eq"'),
    (("syscalls.rules", "ioctl:x:eq:1:errno", "--syscall-rule"), '--syscall-rule: not a number: "x"'),
    (("rlimits", "nofile", "--rlimit"), '--rlimit: not an assignment: "nofile"'),
    (("rlimits", "nofil=3", "--rlimit"), '--rlimit: unknown limit "nofil"'),
    (("process.isolate", "yes", "--isolate"), '--isolate: unknown value "yes"'),
    (("network.loopback", "maybe", "--loopback"), "--loopback: expected a boolean, got a string"),
    (("process.pass_fds", "three", "--pass-fd"), '--pass-fd: not a number: "three"'),
    (("process.pass_fds", "٣", "--pass-fd"), '--pass-fd: not a number: "٣"'),
    (("environment.pass", f"={SECRET}", "--env"), "--env: not the name of a variable"),
    (("environment.pass", f"@basic={SECRET}\0", "--env"), "--env: the value contains a NUL byte"),
    (("filesystem.tmp", "\udcff", "--tmp"), '--tmp: unknown value "\\xff"'),
]


@pytest.mark.parametrize(("flag", "line"), BAD_FLAGS)
def test_bad_flag(flag: tuple[str, str, str], line: str) -> None:
    """A flag is complained of in the words of a file, with the flag as its place."""
    with pytest.raises(ProfileError) as caught:
        load(["none"], [flag])
    assert caught.value.lines()[0] == line


TOML_VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
        st.sampled_from(["@all", "private", "true", "1K", "10s", "5%", "tcp:443", "read"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["path", "access", "op", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(KEYS), TOML_VALUES)
def test_no_value_does_more_than_be_refused(key: object, raw: object) -> None:
    """Any TOML value at any key is read or gives problems that are text; nothing else escapes."""
    from sandrun.profile.layer import read_document

    declared = BY_PATH[key.path]  # type: ignore[attr-defined]
    table, _, name = declared.path.partition(".")
    layer, problems = read_document({table: {name: raw} if name else raw}, "p.toml", "/", {})
    assert all(str(problem).startswith("p.toml: ") and problem.message.isprintable() for problem in problems)
    if declared.merge not in (UNION, TABLE) and not problems:
        assert len(layer.profile.values[declared.path]) == 1


@given(st.sampled_from([key for key in KEYS if key.option]), st.text(max_size=20))
def test_no_flag_does_more_than_be_refused(key: object, text: str) -> None:
    """Any text of any flag is read or refused."""
    try:
        load(["none"], [(key.path, text, key.option)])  # type: ignore[attr-defined]
    except ProfileError as error:
        assert all(str(problem).startswith(key.option) for problem in error.problems)  # type: ignore[attr-defined]  # noqa: PT017


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    """Any file is a profile or gives problems."""
    fd = os.memfd_create("profile")
    try:
        os.write(fd, data)
        load([f"/proc/self/fd/{fd}"])
    except ProfileError:
        return
    finally:
        os.close(fd)
