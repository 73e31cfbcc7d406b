"""Sensitive tiers: what no rule of a learned profile covers by the way, and no cage shows. Data, and pure questions.

A place is sensitive because reading it gives power elsewhere: keys, tokens, stored passwords, what other people keep.
Such a place becomes an entry of a profile only by its exact path, with a warning, never as part of a directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SYSTEM: dict[str, tuple[str, ...]] = {
    # tier -> paths
    "passwords of the system": (
        *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/security/opasswd", "/etc/sudoers"),
        *("/etc/sudoers.d", "/etc/krb5.keytab", "/etc/ppp", "/etc/wpa_supplicant", "/etc/openvpn", "/etc/wireguard"),
        *("/etc/NetworkManager/system-connections", "/var/lib/NetworkManager", "/etc/ipsec.secrets", "/etc/crypttab"),
    ),
    "private keys of the system": (
        *("/etc/ssl/private", "/etc/pki/tls/private", "/etc/letsencrypt", "/etc/ssh/ssh_host_rsa_key"),
        *("/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key", "/var/lib/sss", "/var/lib/private"),
    ),
    "memory and disks": (
        *("/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore", "/dev/disk", "/dev/mapper", "/dev/sda", "/dev/vda"),
        *("/dev/nvme0n1", "/dev/kvm", "/dev/uinput", "/dev/input"),
    ),
    "servers that act for root": (
        *("/run/docker.sock", "/var/run/docker.sock", "/run/podman", "/run/containerd", "/run/crio", "/run/secrets"),
        *("/run/libvirt", "/run/systemd/private", "/var/lib/docker", "/var/lib/containers", "/run/credentials"),
    ),
    "mail and crontabs": ("/var/mail", "/var/spool/mail", "/var/spool/cron"),
}
HOME: dict[str, tuple[str, ...]] = {
    # tier -> paths below a home
    "keys": (".ssh", ".gnupg", ".pki", ".password-store", ".config/sops", ".config/age", ".age"),
    "tokens": (
        *(
            ".aws",
            ".azure",
            ".config/gcloud",
            ".kube",
            ".docker",
            ".netrc",
            ".git-credentials",
            ".config/git/credentials",
        ),
        *(".npmrc", ".yarnrc", ".pypirc", ".config/pip", ".cargo/credentials", ".cargo/credentials.toml", ".m2"),
        *(".gem/credentials", ".config/gh", ".config/hub", ".config/glab-cli", ".terraform.d", ".vault-token", ".oci"),
        *(".config/rclone", ".s3cfg", ".boto", ".pgpass", ".my.cnf", ".mylogin.cnf", ".config/doctl", ".claude"),
        *(
            ".config/op",
            ".config/containers",
            ".fly",
            ".databrickscfg",
            ".config/huggingface",
            ".cache/huggingface/token",
        ),
    ),
    "keyrings": (".local/share/keyrings", ".local/share/kwalletd", ".kde/share/apps/kwallet", ".config/KeePass"),
    "browsers and mail": (
        *(
            ".mozilla",
            ".thunderbird",
            ".config/google-chrome",
            ".config/chromium",
            ".config/BraveSoftware",
            ".config/vivaldi",
        ),
        *(".config/microsoft-edge", ".config/opera", ".cache/mozilla", ".cache/google-chrome", ".var/app", "snap"),
        *(".config/Signal", ".config/Slack", ".config/discord", ".local/share/evolution", "Mail"),
    ),
    "wallets": (".bitcoin", ".ethereum", ".electrum", ".monero"),
    "histories": (".bash_history", ".zsh_history", ".python_history", ".psql_history", ".mysql_history", ".lesshst"),
}
WIDE = (
    *("/", "/bin", "/sbin", "/usr", "/usr/local", "/etc", "/var", "/var/lib", "/var/cache", "/var/log", "/var/spool"),
    *("/home", "/opt", "/srv", "/mnt", "/media", "/run", "/var/run", "/sys", "/dev", "/proc", "/boot", "/root"),
    *("/tmp", "/var/tmp", "/dev/shm", "/run/user", "/usr/bin", "/usr/sbin", "/sys/devices", "/sys/class", "/sys/fs"),  # noqa: S108
)
"""Directories that hold things of everybody: an entry is never as wide as one of these because of a few files in it."""
WIDE_IN_HOME = ("", ".config", ".local", ".local/share", ".local/state", ".local/bin", ".cache", ".var")


def is_below(path: str, top: str) -> bool:
    """Whether a path is `top` or lies below it; both are canonical."""
    return top in (path, "/") or path.startswith(top + "/")


class Tiers(NamedTuple):
    """The tiers as they lie on one host, for one user."""

    places: tuple[tuple[str, str], ...]
    """(path, tier), the paths canonical."""
    wide: frozenset[str]

    def of(self, path: str) -> str:
        """The tier that a path lies in, "" if in none."""
        return next((tier for place, tier in self.places if is_below(path, place)), "")

    def may_cover(self, directory: str) -> bool:
        """Whether one entry may stand for all that is in a directory: no tier lies in it, nor it in one."""
        if directory in self.wide:
            return False
        return not any(is_below(place, directory) or is_below(directory, place) for place, _ in self.places)


def tiers(home: str, others: Iterable[str], cwd: str = "") -> Tiers:
    """The tiers for a user with this home ("" if there is none). `others` are the homes of other people.

    Where the command starts is no tier because somebody else's home is above it: that is where the user sent it.
    """
    homes = ({home: None} if home.startswith("/") and home != "/" else {}) | dict.fromkeys(others)
    places = [(path, tier) for tier, paths in SYSTEM.items() for path in paths]
    for one in homes:
        places += [(f"{one}/{path}", tier) for tier, paths in HOME.items() for path in paths]
        if one != home and not is_below(cwd, one) and not is_below(home, one):
            places.append((one, "the home of somebody else"))
    wide = {*WIDE, *(f"{one}/{path}".rstrip("/") for one in homes for path in WIDE_IN_HOME)}
    wide |= {_up(one) for one in homes}
    return Tiers(tuple(places), frozenset(wide))


def _up(path: str) -> str:
    return path.rpartition("/")[0] or "/"
