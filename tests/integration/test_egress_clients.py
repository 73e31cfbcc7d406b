"""Ordinary clients reach an allowed name through the relay, and nothing else; none of them knows of it.

Each is told to fetch from the allowed name, and then from four other places which all would answer: another name, its
address, a service of the machine itself, and the metadata service of clouds.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import ssl
import subprocess
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import support
from tests.integration import internet

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

PROBES = Path(support.CHECKOUT) / "tests" / "probes"
GRANT = ("--replace", "network.connect", "--connect", "allowed.test:443", "--connect", "allowed.test:80")
REFUSED = {
    ("name", "other.test"),
    ("connect", "127.0.0.1:80"),
    ("connect", f"{internet.METADATA}:80"),
    ("udp", f"{internet.OTHER}:9999"),
}
SAFE_PLACES = (f"https://{internet.OTHER}", "http://127.0.0.1", f"http://{internet.METADATA}")
UDP = """
import socket
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.settimeout(5)
sock.connect(("93.184.216.35", 9999))
sock.send(b"hello")
print(sock.recv(100))
"""
NODE = """
const [,, url] = process.argv;
require(url.split(":")[0]).get(url, (reply) => {
  reply.on("data", (data) => process.stdout.write(data)).on("end", () => process.exit(0));
}).on("error", (error) => { console.error(error.message); process.exit(1); });
"""
ASYNCIO = """
import asyncio, ssl, sys
from urllib.parse import urlsplit

async def main(url):
    is_tls = url.scheme == "https"
    context = ssl.create_default_context(cafile="ca.pem") if is_tls else None
    reader, writer = await asyncio.open_connection(url.hostname, 443 if is_tls else 80, ssl=context)
    writer.write(f"GET / HTTP/1.0\\r\\nHost: {url.hostname}\\r\\n\\r\\n".encode())
    print((await reader.read()).decode())

asyncio.run(main(urlsplit(sys.argv[1])))
"""
JAVA = """
public class Fetch {
    public static void main(String[] words) throws java.io.IOException {
        for (int times = 0; times < 2; times++)
            try (java.io.InputStream page = new java.net.URL(words[0]).openStream()) {
                System.out.print(new String(page.readAllBytes()));
            }
    }
}
"""
"""Twice, the second time with the address that the virtual machine keeps."""
WHEEL = {
    "thing.py": "",
    "thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
    "thing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "thing-1.0.dist-info/RECORD": "",
}
PIP = (
    "python3 -m pip --isolated --no-cache-dir download --retries 0 --no-deps --cert ca.pem"
    f' --trusted-host {internet.METADATA} --index-url "$1/simple" thing'
)


@dataclass(frozen=True)
class Client:
    """A program that fetches `$1`, an URL without a path, from within a folder that has `ca.pem` and its `files`."""

    fetch: str
    program: str
    flags: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    got: str = "hello from allowed.test"
    """What its output has if it was served."""
    is_plain: bool = False
    """It speaks no TLS."""
    built: str = ""
    """The program that must have been built for it."""


CLIENTS = {
    "curl": Client('curl -sS "$1/"', "curl", ("-p", "net-only"), (("SSL_CERT_FILE", "ca.pem"),)),
    "pip": Client(PIP, "python3", ("-p", "pip"), got="Saved ./thing-1.0"),
    "git": Client(
        'git clone "$1/thing.git" && cat thing/README', "git", ("-p", "git-https"), (("GIT_SSL_CAINFO", "ca.pem"),)
    ),
    "static": Client('./static_client "${1#*://}"', "gcc", ("-x", "."), is_plain=True, built="static_client"),
    "java": Client('java -cp . Fetch "$1"', "java", is_plain=True, built="Fetch.class"),
    "node": Client('node fetch.js "$1"', "node", ("-p", "npm"), (("NODE_EXTRA_CA_CERTS", "ca.pem"),)),
    "asyncio": Client('python3 fetch.py "$1"', "python3"),
}


class Site(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a log."""

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each server serves: a page, a package index, and a git repository; with its key beside it."""
    base = tmp_path_factory.mktemp("site")
    make_certificates(base)
    root = base / "root"
    (root / "simple" / "thing").mkdir(parents=True)
    (root / "index.html").write_text("hello from allowed.test\n")
    name = "thing-1.0-py3-none-any.whl"
    (root / "simple" / "thing" / "index.html").write_text(f'<!DOCTYPE html><a href="{name}">{name}</a>')
    with zipfile.ZipFile(root / "simple" / "thing" / name, "w") as wheel:
        for path, text in WHEEL.items():
            wheel.writestr(path, text)
    make_repository(root)
    return base


def make_certificates(base: Path) -> None:
    """A CA (ca.pem) and a certificate of it for every server (site.pem, with its key)."""
    openssl = support.need_program("openssl")
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = f"subjectAltName=DNS:allowed.test,DNS:other.test,IP:{internet.OTHER}"
    ca = ["-subj", "/CN=test CA", "-keyout", base / "ca.key", "-out", base / "ca.pem"]
    own = ["-subj", "/CN=allowed.test", "-CA", base / "ca.pem", "-CAkey", base / "ca.key", "-keyout", base / "site.key"]
    leaf = ["-addext", names, "-addext", "basicConstraints=critical,CA:FALSE", "-out", base / "site.pem"]
    for words in (ca, own + leaf):
        subprocess.run([*new, *words], check=True, capture_output=True)


def make_repository(root: Path) -> None:
    """A repository that any web server can serve (git-update-server-info(1))."""
    git = support.need_program("git")
    env = {"PATH": support.PATH, "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
    names = {f"GIT_{who}_{what}": "test@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    work = root.parent / "work"
    work.mkdir()
    (work / "README").write_text("hello from allowed.test\n")
    for words in (
        ("-C", work, "init", "-q", "-b", "main"),
        ("-C", work, "add", "README"),
        ("-C", work, "commit", "-q", "-m", "start"),
        ("clone", "-q", "--bare", work, root / "thing.git"),
        ("-C", root / "thing.git", "update-server-info"),
    ):
        subprocess.run([git, *words], check=True, capture_output=True, env=env | names)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[internet.Internet]:
    """An internet in which every place that is tried would answer."""
    internet.need_internet()
    with internet.made(tmp_path_factory.mktemp("machine")) as net:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(site / "site.pem", site / "site.key")
        handler = partial(Site, directory=str(site / "root"))
        for address in (internet.ALLOWED, internet.OTHER):
            net.serve(address, 443, tls(context, handler))
        for address in (internet.ALLOWED, internet.OTHER, internet.METADATA, "127.0.0.1"):
            net.serve(address, 80, partial(plain, handler))
        net.echo(internet.OTHER, 9999)
        yield net


def plain(handler: Callable[..., Any], connection: socket.socket) -> None:
    handler(connection, connection.getpeername(), None)


def tls(context: ssl.SSLContext, handler: Callable[..., Any]) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as secure:
            plain(handler, secure)

    return talk


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of the clients; those that cannot be built here are not there."""
    folder = tmp_path_factory.mktemp("programs")
    for name, text in (("fetch.js", NODE), ("fetch.py", ASYNCIO), ("Fetch.java", JAVA)):
        (folder / name).write_text(text)
    static = ["-static", "-O1", "-o", folder / "static_client", PROBES / "static_client.c"]
    for words in (["gcc", *static], ["javac", "-d", folder, folder / "Fetch.java"]):
        if program := shutil.which(str(words[0]), path=support.PATH):
            subprocess.run([program, *words[1:]], capture_output=True)
    return folder


@pytest.fixture(scope="module")
def folders(site: Path, programs: Path) -> Callable[[support.Who], Path]:
    """Makes the folder where a user's clients work."""

    def make(who: support.Who) -> Path:
        folder = who.home / "project"
        shutil.copytree(programs, folder)
        shutil.copy(site / "ca.pem", folder)
        who.own(folder, *folder.iterdir())
        return folder

    return make


SCRIPT = """
fetch() { %s; }
for url; do
    if fetch "$url"; then echo "GOT $url"; else echo "NOT $url"; fi
    rm -rf thing*
done
if python3 -c '%s'; then echo GOT udp; else echo NOT udp; fi
"""
"""Fetch from each argument, and say how that went; at last, try UDP."""


def urls(client: Client) -> tuple[str, ...]:
    scheme = "http" if client.is_plain else "https"
    rest = tuple(url.replace("https:", f"{scheme}:") for url in SAFE_PLACES)
    return (f"{scheme}://allowed.test", f"{scheme}://other.test", *rest)


def need(client: Client, folder: Path) -> None:
    if client.program == "java" and not shutil.which("javac", path=support.PATH):
        pytest.skip("java is too large to be installed for one test")
    support.need_program(client.program)
    support.need((folder / client.built).exists(), f"{client.built} cannot be built here")


def fetch(
    client: Client, net: internet.Internet, who: support.Who, folder: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    user = net.who(who)
    net.met.clear()
    net.asked.clear()
    argv = [*words, "sh", "-c", SCRIPT % (client.fetch, UDP), "sh", *urls(client)]
    return user.run(argv, cwd=folder, env=user.env | dict(client.env), timeout=120)


@pytest.mark.parametrize("name", CLIENTS)
def test_client(name: str, who: support.Who, net: internet.Internet, folders: Callable[[support.Who], Path]) -> None:
    """It fetches from the allowed name; all else is refused, met by nobody, and listed in the report."""
    client, folder = CLIENTS[name], folders(who)
    need(client, folder)
    report = who.home / "report"
    words = (*net.who(who).sandrun, *client.flags, "--read", ".", *GRANT, "--report", str(report), "--")
    done = fetch(client, net, who, folder, *words)
    said = [line for line in done.stdout.splitlines() if line.startswith(("GOT", "NOT"))]
    first, *others = urls(client)
    assert said == [f"GOT {first}", *(f"NOT {url}" for url in others), "NOT udp"], done
    assert client.got in done.stdout
    port = 80 if client.is_plain else 443
    assert set(net.met) == {f"{internet.ALLOWED}:{port}"}
    assert set(net.asked) == {"allowed.test"}, "the name server hears of granted names only"
    network = json.loads(report.read_text())["outcome"]["network"]
    refused = {(row["what"], row["target"]) for row in network["refused"]}
    assert refused == {("connect", f"{internet.OTHER}:{port}"), *REFUSED}
    assert network["complete"]
    (row,) = [row for row in network["endpoints"] if row["connections"]]
    assert row["endpoint"] == f"tcp:allowed.test:{port}"
    assert row["received"] > 0 < row["sent"]


@pytest.mark.parametrize("name", CLIENTS)
def test_control(name: str, root: support.Who, net: internet.Internet, folders: Callable[[support.Who], Path]) -> None:
    """Without sandrun the same client gets an answer everywhere."""
    client, folder = CLIENTS[name], folders(root)
    need(client, folder)
    done = fetch(client, net, root, folder)
    assert len(net.met) >= 6, done
    assert {place.rpartition(":")[0] for place in net.met} - {internet.RESOLVER} == {
        internet.ALLOWED,
        internet.OTHER,
        "127.0.0.1",
        internet.METADATA,
    }, done
