"""What the command's programs read before they look up a name: hosts(5), resolv.conf(5) and nsswitch.conf(5). Pure.

Where a relay stands between the command and the network, it answers lookups on 127.0.0.1 inside. So the view has these
files with another content, each where the host has it. One that the host lacks needs nothing: a C library without
resolv.conf(5) asks 127.0.0.1, and without nsswitch.conf(5) it asks a server.
"""

from __future__ import annotations

from sandrun.plan.egress import addresses
from sandrun.plan.view import Content

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.host import Host
    from sandrun.plan.draft import Draft

HOSTNAME = "/proc/sys/kernel/hostname"
RESOLV = b"nameserver 127.0.0.1\noptions timeout:2 attempts:2\n"
MOST = 1 << 20


def lookup_files(draft: Draft, host: Host) -> tuple[Content, ...]:
    """The three files for what `draft.egress` grants, by their canonical paths; none without a relay."""
    if draft.egress is None:
        return ()
    known = host.read(HOSTNAME, 256) or b""
    asked = draft.profile.scalar("process.hostname")
    own = str(asked.value) if asked is not None else known.decode("ascii", "replace").strip()
    switch = host.read(host.realpath("/etc/nsswitch.conf"), MOST) or b""
    contents = {
        "/etc/hosts": _hosts(draft.egress.names, own),
        "/etc/resolv.conf": RESOLV,
        "/etc/nsswitch.conf": _switch(switch),
    }
    found = {host.realpath(path): content for path, content in contents.items()}
    return tuple(Content(path, content) for path, content in found.items() if host.lstat(path) is not None)


def _hosts(names: tuple[str, ...], own: str) -> bytes:
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    if own.isascii() and own.isprintable() and own and " " not in own and own.lower() not in (*names, "localhost"):
        lines.append(f"127.0.0.1 {own}")
    lines += [
        f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255} {name}"
        for number, name in addresses(names)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _switch(text: bytes) -> bytes:
    """The host's text, where names are looked up in hosts(5) and then by DNS: other ways do not lead to the relay."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith(b"hosts:")]
    return b"".join(line + b"\n" for line in (*kept, b"hosts: files dns"))
