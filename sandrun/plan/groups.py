"""Path groups: what `@system`, `@runtime`, `@dns`, `@tls`, `@devices`, `@tmp`, `@tty` and `@all` stand for on a host.

Members that are absent are left out. A group gives its members the rights of the list that names it, but `@devices`
and `@tty` always give read, write and ioctl: they are endpoints, and `read = ["@devices"]` without `> /dev/null` would
help nobody. `/dev/pts` is in no group: it holds the user's other terminals.
"""

from __future__ import annotations

import posixpath
import stat

from sandrun import elf
from sandrun.named import NamedTuple
from sandrun.plan.siblings import ALL_RIGHTS, READ_DIR, Grant, is_below, make_hole
from sandrun.primitives.landlock import WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandrun.elf import Start
    from sandrun.host import Host
    from sandrun.plan.siblings import Hole

SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
)
LIBRARIES = (
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/local/lib",
    "/usr/local/lib64",
)
"""Where loaders look (ld.so(8)), and where distributions keep interpreters' own trees, gconv and locale archives."""
LOADER_FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
)
LOCALE = (
    "/usr/share/locale",
    "/usr/share/i18n",
    "/usr/share/zoneinfo",
    "/usr/share/terminfo",
    "/etc/terminfo",
    "/etc/locale.alias",
    "/etc/locale.conf",
    "/etc/default/locale",
    "/etc/localtime",
    "/etc/timezone",
)
NAMES = ("/etc/nsswitch.conf", "/etc/passwd", "/etc/group")
"""Account names, which are public: `ls -l`, `~` and `whoami` are lost without."""
DNS = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/networks",
    "/etc/services",
    "/etc/protocols",
)
TLS = (
    "/etc/ssl/certs",  # Debian, Alpine, Arch, SUSE (a link)
    "/etc/ssl/cert.pem",  # Alpine
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/lib/ssl",
    "/etc/pki/tls/certs",  # Fedora; not /etc/pki/tls/private
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust",
    "/usr/share/pki",
    "/var/lib/ca-certificates",  # SUSE
    "/etc/gnutls/config",
    "/etc/crypto-policies/back-ends",
)
TLS_VARIABLES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (names to plan with, nothing is made there)
SHARED_PREFIXES = ("/", "/usr", "/usr/local")
"""Prefixes that are not one interpreter's own; its tree there lies below LIBRARIES."""
SHIM_PARTS = ("shims", "libexec", "bin", "versions", "version", "plugins", "completions")
"""What a shim of pyenv, rbenv and nodenv needs: it is a script that starts another version of the same name."""
PREFIX_PARTS = ("bin", "lib", "lib64", "libexec", "include", "pyvenv.cfg")
"""What is granted of an interpreter's prefix: never all of it, since ~/.local is such a prefix too."""
TREE_NAMES = ("python2", "python3", "pypy", "node_modules", "ruby", "perl5")
SHARED_TREES = {
    "perl": ("/usr/share/perl", "/usr/share/perl5", "/etc/perl", "/usr/local/share/perl"),
    "node": ("/usr/share/nodejs", "/usr/share/node_modules", "/usr/share/npm"),
    "ruby": ("/usr/share/ruby", "/usr/share/rubygems", "/usr/share/rubygems-integration", "/var/lib/gems"),
    "python": ("/usr/share/python3", "/etc/python3"),
}
MOST_PRIVATE_LOOKUPS = 50_000
MOST_LIBRARIES = 200


class Context(NamedTuple):
    """Whom the groups are for: the host, the command's uid and home, and what its file needs to start.

    `beyond_modes`: file modes do not keep it out, since it is root or keeps CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH.
    """

    host: Host
    uid: int
    home: str
    start: Start
    beyond_modes: bool = False


def members(group: str, access: int, context: Context) -> tuple[Grant, ...]:
    """The grants that `group` stands for in a list that gives `access`; those absent are left out.

    Raises KeyError for an unknown group.
    """
    host = context.host
    if group == "@all":
        return (Grant("/", access, is_directory=True),)
    if group == "@system":
        return (*present(SYSTEM, access, host), *_public_etc(access, context), *present(DNS, access, host))
    if group == "@runtime":
        paths = (*LIBRARIES, *LOADER_FILES, *LOCALE, *NAMES, *DNS, *_tls(host), *_own_files(context))
        return present(paths, access, host)
    if group == "@tls":
        return present(_tls(host), access, host)
    if group == "@devices":
        return present(DEVICES, WRITE, host)
    if group == "@tty":
        return present(_terminals(host), WRITE, host)
    return present({"@dns": DNS, "@tmp": TEMPORARY}[group], access, host)


def present(paths: Iterable[str], access: int, host: Host) -> tuple[Grant, ...]:
    """Grants on the canonical places of those paths that exist, each place once."""
    found: dict[str, Grant] = {}
    for path in paths:
        real = host.realpath(path)
        if real in found:
            continue
        status = host.stat(real)
        if status is not None:
            found[real] = Grant(real, access, stat.S_ISDIR(status.mode))
    return tuple(found.values())


def _public_etc(access: int, context: Context) -> tuple[Grant, ...]:
    """/etc; for whom file modes do not stop, without what others may not read (shadow, host keys, ssl/private).

    Their names stay visible, so that listing needs no rule for each directory.
    """
    host = context.host
    real = host.realpath("/etc")
    if host.stat(real) is None:
        return ()
    holes = tuple(_closed_to_others(real, host)) if context.beyond_modes else ()
    return (Grant(real, access, is_directory=True, holes=holes),)


def _closed_to_others(top: str, host: Host) -> list[Hole]:
    holes = []
    directories = [top]
    left = MOST_PRIVATE_LOOKUPS
    while directories:
        directory = directories.pop()
        for name, mode in host.modes(directory) or ():
            left -= 1
            if stat.S_ISLNK(mode):
                continue
            is_directory = stat.S_ISDIR(mode)
            needed = stat.S_IROTH | stat.S_IXOTH if is_directory else stat.S_IROTH
            if mode & needed != needed or left < 0:
                holes.append(make_hole(f"{directory}/{name}", ALL_RIGHTS & ~READ_DIR, "filesystem.read", host))
            elif is_directory:
                directories.append(f"{directory}/{name}")
    return holes


def _tls(host: Host) -> tuple[str, ...]:
    """The certificate stores, with those that the caller's environment names."""
    named = ":".join(host.environ.get(name, "") for name in TLS_VARIABLES).split(":")
    return (*TLS, *(path for path in named if path.startswith("/") and host.realpath(path) != "/"))


def _terminals(host: Host) -> tuple[str, ...]:
    """/dev/tty and the terminals that the caller's descriptors 0 to 2 are."""
    found = ["/dev/tty"]
    for fd in (0, 1, 2):
        path = host.fd_device(fd)
        if path.startswith(("/dev/pts/", "/dev/tty")) or path == "/dev/console":
            found.append(path)
    return tuple(found)


def _own_files(context: Context) -> list[str]:
    """The command's file, its interpreters, loader and libraries, and its interpreters' own trees.

    The file may have been written by an earlier command in a sandbox, so its words are weak: what it names as a
    program is granted only if it is one, and of a search path only the libraries themselves. `#!/home/me/.ssh/id_rsa`
    and RUNPATH=/home/me/.ssh open nothing.
    """
    host, start = context.host, context.start
    programs = [path for path in (*start.programs, start.loader) if _is_program(path, host)]
    found = programs + _libraries(start, host)
    for program in programs:
        for path in dict.fromkeys((program, host.realpath(program))):
            for language, trees in SHARED_TREES.items():
                if posixpath.basename(path).startswith(language):
                    found += trees
            found += _prefix_parts(path, context)
    return found


def _is_program(path: str, host: Host) -> bool:
    found = host.stat(path) if path.startswith("/") else None
    return found is not None and stat.S_ISREG(found.mode) and bool(found.mode & 0o111)


def _libraries(start: Start, host: Host) -> list[str]:
    """The libraries that are found by RUNPATH or RPATH, with those that they need in turn."""
    found: list[str] = []
    work = [start.elf] if start.elf else []
    while work:
        program = work.pop()
        for name in program.needed:
            for directory in program.search:
                path = posixpath.join(directory, name)
                library = elf.parse(path, host) if path not in found and len(found) < MOST_LIBRARIES else None
                if library is not None:
                    found.append(path)
                    work.append(library)
                    break
    return found


def _prefix_parts(program: str, context: Context) -> list[str]:
    """The parts of the virtual environment, pyenv version, node or ruby prefix that `program` lies in; else nothing.

    The marks of such a prefix are asked for, and no part may lead out of it, because links and pyvenv.cfg may be the
    work of an earlier command.
    """
    host = context.host
    directory, name = posixpath.split(program)
    prefix = host.realpath(posixpath.dirname(directory))
    if prefix in SHARED_PREFIXES or is_below(context.home or "/", prefix):
        return []
    wanted: tuple[str, ...] = PREFIX_PARTS
    parts: list[str] = []
    config = host.read(prefix + "/pyvenv.cfg", 4096)
    if config is not None:
        base = posixpath.join(_venv_home(config), name)
        # A base is no virtual environment itself, so this ends.
        if _is_program(base, host) and host.stat(posixpath.dirname(posixpath.dirname(base)) + "/pyvenv.cfg") is None:
            parts = _prefix_parts(base, context)
    elif posixpath.basename(directory) == "shims" and any(
        _is_program(f"{prefix}/libexec/{manager}", host) for manager in ("pyenv", "rbenv", "nodenv")
    ):
        wanted = SHIM_PARTS
    elif not any(name.startswith(TREE_NAMES) for name in host.listdir(prefix + "/lib") or ()):
        return []
    own = (host.realpath(f"{prefix}/{part}") for part in wanted)
    return [*parts, *(part for part in own if is_below(part, prefix) and part != prefix)]


def _venv_home(config: bytes) -> str:
    """`home` of pyvenv.cfg: the directory of the interpreter that a virtual environment of copies builds on."""
    for line in config.decode("utf-8", "surrogateescape").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home":
            return value.strip()
    return ""
