"""Each built-in profile runs the programs that it names as its purpose, and stops what it says it stops."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import CHECKOUT, free_port, need, need_landlock, need_namespaces, need_program, sandrun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Who

NAMES = sorted(path.stem for path in (CHECKOUT / "profiles").glob("*.toml"))


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A web server on the host's loopback; the value is its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"served\n")

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made.server_address[1]
        made.shutdown()


def quiet(profile: str, *argv: str, who: Who, **options: object):
    """sandrun -q -p PROFILE -- ARGV"""
    return sandrun("-q", "-p", profile, "--", *argv, who=who, **options)


def ok(profile: str, *argv: str, who: Who, **options: object) -> str:
    done = quiet(profile, *argv, who=who, **options)
    assert done.returncode == 0, (argv, done.returncode, done.stderr)
    return str(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_profile_says_what_it_is_for(name: str) -> None:
    """A built-in profile opens with its name, its purpose and what it stops."""
    text = (CHECKOUT / "profiles" / f"{name}.toml").read_text()
    assert text.startswith(f"# {name}: ")
    assert "schema = 1" in text
    assert "description" in text


def test_strict_filters(who: Who) -> None:
    """strict: sort and gzip work on standard input and output."""
    assert ok("strict", "sort", who=who, input="b\na\n") == "a\nb\n"
    packed = quiet("strict", "gzip", "-c", who=who, input=b"hello", text=False)
    assert packed.returncode == 0, packed.stderr
    unpacked = quiet("strict", "gzip", "-dc", who=who, input=packed.stdout, text=False)
    assert unpacked.stdout == b"hello"


def test_strict_opens_no_file(who: Who, box: Path) -> None:
    """strict: even a world-readable file is refused, and starting another program too."""
    public = box / "public"
    public.write_text("x")
    public.chmod(0o644)
    assert who.run(["cat", str(public)]).stdout == "x"
    assert quiet("strict", "cat", str(public), who=who).returncode == 1
    assert quiet("strict", "sort", str(public), who=who).returncode != 0


def git(box: Path, who: Who, *words: str) -> None:
    who.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(box), *words], check=True)


@pytest.mark.parametrize("profile", ["default", "read-only"])
def test_git_status(profile: str, who: Who, box: Path) -> None:
    """git status and git log work on a repository in the current directory."""
    need_program("git")
    git(box, who, "init", "-q")
    (box / "file").write_text("x")
    who.own(box / "file")
    git(box, who, "add", "file")
    git(box, who, "commit", "-q", "-m", "first")
    (box / "file").write_text("y")
    assert " M file" in ok(profile, "git", "status", "--short", who=who, cwd=box)
    assert "first" in ok(profile, "git", "--no-pager", "log", "--oneline", who=who, cwd=box)


def test_read_only_changes_nothing(who: Who, box: Path) -> None:
    """read-only: no write, no creation, no change of mode or time, in the current directory too."""
    target = box / "file"
    target.write_text("x")
    who.own(target)
    before = os.lstat(target)
    for command in ("echo y > file", "rm file", "touch new", "chmod 777 file", "touch -d 2000-01-01 file", "ln -s a b"):
        assert quiet("read-only", "sh", "-c", command, who=who, cwd=box).returncode != 0, command
    assert os.listdir(box) == ["file"]
    assert os.lstat(target)[:9] == before[:9]


def test_build_with_gcc_and_make(who: Who, box: Path) -> None:
    """build: make runs gcc in the current directory, and the result runs under default."""
    need_program("gcc")
    need_program("make")
    (box / "hello.c").write_text('#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n')
    (box / "Makefile").write_text("hello: hello.o\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -c -o $@ $<\n")
    who.own(box / "hello.c", box / "Makefile")
    ok("build", "make", who=who, cwd=box)
    assert ok("default", "./hello", who=who, cwd=box) == "hello\n"
    ok("default", "gcc", "-c", "-o", "again.o", "hello.c", who=who, cwd=box)


def test_python_compileall(who: Who, box: Path) -> None:
    """python: python3 -m compileall works in the current directory."""
    (box / "module.py").write_text("x = 1\n")
    who.own(box / "module.py")
    ok("python", "/usr/bin/python3", "-m", "compileall", "-q", ".", who=who, cwd=box)
    assert list((box / "__pycache__").glob("module.*.pyc"))


def test_python_of_a_virtual_environment(who: Who, box: Path) -> None:
    """python: the interpreter of a virtual environment brings its own tree and its base's."""
    made = who.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(box / "venv")])
    need(made.returncode == 0, "python3 -m venv works")
    work = box / "work"
    work.mkdir()
    who.own(work)
    found = ok(
        "python", str(box / "venv/bin/python"), "-c", "import sys, json, ssl; print(sys.prefix)", who=who, cwd=work
    )
    assert found.strip() == str(box / "venv")


def test_node_and_npm(who: Who, box: Path) -> None:
    """node: a script runs, and npm tells its version."""
    node = need_program("node")
    npm = need_program("npm")
    assert ok("node", node, "-e", "console.log(6 * 7)", who=who, cwd=box) == "42\n"
    assert ok("node", npm, "--version", who=who, cwd=box)[0].isdigit()


def test_sqlite(who: Who, box: Path) -> None:
    """default: sqlite3 makes and reads a database in the current directory."""
    need_program("sqlite3")
    ok("default", "sqlite3", "a.db", "create table t (x); insert into t values (42);", who=who, cwd=box)
    assert ok("default", "sqlite3", "a.db", "select x from t", who=who, cwd=box) == "42\n"


def test_net_only_reaches_a_server(who: Who, server: int, box: Path) -> None:
    """net-only: curl reaches a server on the host's loopback; default does not let it."""
    need_program("curl")
    url = f"http://127.0.0.1:{server}/"
    assert ok("net-only", "curl", "-sS", url, who=who) == "served\n"
    assert quiet("default", "curl", "-sS", url, who=who, cwd=box).returncode == 7


def test_net_only_reads_no_home(who: Who) -> None:
    """net-only: nothing of the home directory can be sent anywhere."""
    (who.home / "secret").write_text("hush")
    who.own(who.home / "secret")
    assert quiet("net-only", "cat", str(who.home / "secret"), who=who, cwd="/").returncode == 1


def test_offline_has_files_and_no_network(who: Who, server: int) -> None:
    """offline: the home directory as usual, and no socket."""
    need_program("curl")
    (who.home / "file").write_text("mine")
    who.own(who.home / "file")
    assert ok("offline", "cat", str(who.home / "file"), who=who) == "mine"
    assert quiet("offline", "curl", "-sS", f"http://127.0.0.1:{server}/", who=who).returncode == 7


def test_server_runs_nginx(who: Who, box: Path) -> None:
    """server: nginx serves a file of the current directory on loopback, and is gone afterwards."""
    nginx = need_program("nginx")
    port = free_port()
    (box / "index.html").write_text("from nginx")
    temp = "".join(f"{kind}_temp_path {box}/t-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (box / "nginx.conf").write_text(
        f"{'user root; ' if who.is_root else ''}daemon off; master_process off; pid {box}/pid; error_log stderr; events {{ }}"
        f" http {{ access_log off; {temp} server {{ listen 127.0.0.1:{port}; root {box}; }} }}"
    )
    who.own(box / "index.html", box / "nginx.conf")
    words = [
        *who.sandrun,
        "-q",
        "-p",
        "server",
        "--",
        nginx,
        "-e",
        "stderr",
        "-p",
        str(box),
        "-c",
        str(box / "nginx.conf"),
    ]
    with who.popen(words, cwd=box, stderr=subprocess.PIPE, text=True) as process:
        try:
            answer = _fetch(port, process)
        finally:
            process.terminate()
            _, said = process.communicate(timeout=60)
    assert answer == b"from nginx", said


def _fetch(port: int, process: subprocess.Popen[str]) -> bytes:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
            return answer.partition(b"\r\n\r\n")[2]
        time.sleep(0.05)
    return b""


def test_server_cannot_call_out(who: Who, server: int, box: Path) -> None:
    """server: accepting does not bring connecting with it."""
    code = f"import socket; socket.create_connection(('127.0.0.1', {server}), 60)"
    done = quiet("server", "/usr/bin/python3", "-c", code, who=who, cwd=box)
    assert done.returncode == 1
    assert "PermissionError" in done.stderr


def test_ci_test_runs_a_suite_without_tokens(who: Who, box: Path) -> None:
    """ci-test: the job's variables pass, its token does not."""
    env = {**who.env, "CI": "true", "GITHUB_TOKEN": "hush", "GITHUB_SHA": "abc"}
    shown = ok("ci-test", "/usr/bin/env", who=who, cwd=box, env=env)
    assert "CI=true" in shown
    assert "GITHUB_SHA=abc" in shown
    assert "hush" not in shown


def test_blocks_add_up(who: Who, box: Path, server: int) -> None:
    """The pledge-like blocks do nothing alone and combine: stdio, rpath, exec, proc, cpath and wpath, inet."""
    (box / "file").write_text("content\n")
    who.own(box / "file")
    blocks = ["-q", "-p", "stdio"]
    assert sandrun(*blocks, "--", "cat", "file", who=who, cwd=box).returncode == 1
    assert sandrun(*blocks, "-p", "rpath", "--", "cat", "file", who=who, cwd=box).stdout == "content\n"
    shell = [*blocks, "-p", "rpath", "-p", "proc", "-p", "exec"]
    assert sandrun(*shell, "--", "sh", "-c", "cat file | sort", who=who, cwd=box).stdout == "content\n"
    assert sandrun(*shell, "--", "sh", "-c", "echo x > new", who=who, cwd=box).returncode != 0
    made = sandrun(*shell, "-p", "cpath", "-p", "wpath", "--", "sh", "-c", "echo x > new && rm file", who=who, cwd=box)
    assert made.returncode == 0, made.stderr
    assert os.listdir(box) == ["new"]


def test_inet_block(who: Who, server: int, box: Path) -> None:
    """stdio, rpath and inet are enough for a client of a TCP server."""
    need_landlock(4)
    need_program("curl")
    done = sandrun(
        "-q",
        "-p",
        "stdio",
        "-p",
        "rpath",
        "-p",
        "proc",
        "-p",
        "inet",
        "--",
        "curl",
        "-sS",
        f"http://127.0.0.1:{server}/",
        who=who,
        cwd=box,
    )
    assert done.stdout == "served\n", done.stderr


def test_tmppath_block_leaves_nothing(who: Who, box: Path) -> None:
    """tmppath: a temporary directory of its own that is gone afterwards."""
    blocks = ["-q", "-p", "stdio", "-p", "rpath", "-p", "proc", "-p", "exec", "-p", "tmppath"]
    done = sandrun(*blocks, "--", "sh", "-c", 'mktemp && echo x > "$TMPDIR/y" && cat "$TMPDIR/y"', who=who, cwd=box)
    assert done.returncode == 0, done.stderr
    made, text = done.stdout.split()
    assert text == "x"
    assert not Path(made).exists()


def test_getpw_block(who: Who, box: Path) -> None:
    """getpw: names of users are known; without it they are not."""
    code = "import pwd; print(pwd.getpwnam('daemon').pw_uid)"
    blocks = ["-q", "-p", "stdio", "-p", "exec"]
    python = ["--", "/usr/bin/python3", "-c", code]
    assert sandrun(*blocks, "-p", "getpw", *python, who=who, cwd=box).stdout == "1\n"


@pytest.mark.parametrize("name", NAMES)
def test_profile_launches(name: str, who: Who, box: Path) -> None:
    """Every built-in profile, with the block that lets a program start, runs /bin/true on this kernel."""
    need_landlock(4)
    done = sandrun("-q", "-p", "stdio", "-p", name, "--", "true", who=who, cwd=box)
    assert done.returncode == 0, done.stderr


def test_the_sessions_own_python(who: Who, box: Path) -> None:
    """python: the interpreter that runs these tests works too, wherever it was installed."""
    found = who.run([sys.executable, "-c", ""])
    if found.returncode:
        pytest.skip("this user cannot execute the session's interpreter")
    assert ok("python", sys.executable, "-c", "import json, ssl; print(1)", who=who, cwd=box) == "1\n"


@pytest.mark.parametrize(
    ("profile", "program", "names"),
    [
        ("pip", (sys.executable, "-m", "pip"), ("pypi.org", "files.pythonhosted.org")),
        ("npm", ("npm",), ("registry.npmjs.org",)),
        ("cargo", ("cargo",), ("index.crates.io", "static.crates.io")),
        ("git-https", ("git",), ("github.com", "gitlab.com", "codeberg.org", "bitbucket.org")),
    ],
)
def test_installers_know_their_hosts_only(
    who: Who, box: Path, profile: str, program: tuple[str, ...], names: tuple[str, ...]
) -> None:
    """pip, npm, cargo, git-https: the program starts, its hosts have names, no other has, and one key names others."""
    need_namespaces(who)
    box.chmod(0o755)
    lookup = "import socket, sys; print(*(socket.gethostbyname(name) for name in sys.argv[1:]))"
    python = [sys.executable, "-c", lookup]
    found = ok(profile, *python, *names, who=who, cwd=box).split()
    assert found == [f"127.64.1.{number}" for number in range(1, len(names) + 1)]
    other = quiet(profile, *python, "other.example", who=who, cwd=box)
    assert other.returncode == 1
    assert "gaierror" in other.stderr
    words = ("-q", "-p", profile, "--replace", "network.connect", "--connect", "other.example:443", "--")
    assert sandrun(*words, *python, "other.example", who=who, cwd=box).stdout == "127.64.1.1\n"
    assert sandrun(*words, *python, names[0], who=who, cwd=box).returncode == 1
    if profile == "pip" or who.run(["sh", "-c", f"command -v {program[0]}"]).returncode == 0:
        assert ok(profile, *program, "--version", who=who, cwd=box)
