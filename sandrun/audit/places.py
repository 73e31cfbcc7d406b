"""Where state lies that others act on: by kind, paths on Linux systems. Data.

`~` is the command's home, `{runtime}` the user's XDG_RUNTIME_DIR. `$NAME` stands for what the caller's environment says.
"""

from __future__ import annotations

RUN_LATER: dict[str, tuple[str, ...]] = {
    # what somebody else runs, loads or believes later: kind -> places
    "cron and at": (
        *(
            "/etc/crontab",
            "/etc/cron.d",
            "/etc/cron.hourly",
            "/etc/cron.daily",
            "/etc/cron.weekly",
            "/etc/cron.monthly",
        ),
        *("/etc/anacrontab", "/var/spool/cron", "/var/spool/cron/crontabs", "/var/spool/cron/atjobs", "/var/spool/at"),
        "/var/spool/anacron",
    ),
    "systemd units": (
        *("/etc/systemd", "/run/systemd", "/usr/lib/systemd", "/lib/systemd", "/etc/init.d", "/etc/rc.local"),
        *("~/.config/systemd", "~/.local/share/systemd", "{runtime}/systemd"),
    ),
    "autostart of desktops": (
        *("/etc/xdg", "~/.config/autostart", "~/.config/environment.d", "~/.local/share/applications"),
        *("~/.local/share/dbus-1/services", "/usr/share/dbus-1/services", "~/.xprofile", "~/.xsession", "~/.xinitrc"),
        *("~/.config/plasma-workspace", "~/.config/sway", "~/.config/i3", "~/.config/hypr"),
    ),
    "start files of shells": (
        *("/etc/profile", "/etc/profile.d", "/etc/bash.bashrc", "/etc/zsh", "/etc/environment", "/etc/skel"),
        *("~/.profile", "~/.bashrc", "~/.bash_profile", "~/.bash_login", "~/.bash_logout", "~/.bash_aliases"),
        *("~/.zshenv", "~/.zprofile", "~/.zshrc", "~/.zlogin", "~/.config/fish", "~/.inputrc", "~/.tmux.conf"),
    ),
    "ssh": ("~/.ssh", "~/.ssh/authorized_keys", "~/.ssh/rc", "~/.ssh/config", "/etc/ssh", "/root/.ssh"),
    "settings of other programs": (
        *("~/.gitconfig", "~/.config/git", "~/.npmrc", "~/.config/pip", "~/.vimrc", "~/.config/nvim", "~/.emacs.d"),
        *(
            "~/.gdbinit",
            "~/.cargo/config.toml",
            "~/.config/Code",
            "~/.vscode",
            "~/.mozilla",
            "~/.gnupg",
            "~/.pam_environment",
        ),
    ),
    "programs and libraries": (
        *(
            "/usr",
            "/bin",
            "/sbin",
            "/lib",
            "/lib64",
            "/opt",
            "/usr/local/bin",
            "/etc/ld.so.preload",
            "/etc/ld.so.conf.d",
        ),
        *("~/bin", "~/.local/bin", "~/.local/lib", "~/.cargo/bin", "~/go/bin", "/etc/alternatives"),
    ),
    "accounts": (
        *(
            "/etc/passwd",
            "/etc/shadow",
            "/etc/group",
            "/etc/gshadow",
            "/etc/sudoers",
            "/etc/sudoers.d",
            "/etc/doas.conf",
        ),
        *("/etc/pam.d", "/etc/security", "/etc/subuid", "/etc/polkit-1", "/etc/nsswitch.conf"),
    ),
    "the system's settings": (
        *(
            "/etc",
            "/boot",
            "/etc/modprobe.d",
            "/etc/udev",
            "/etc/sysctl.d",
            "/etc/apparmor.d",
            "/etc/hosts",
            "/etc/resolv.conf",
        ),
        *("/var/lib", "/var/cache", "/etc/apt", "/etc/fstab", "/etc/crypttab"),
    ),
    "spools and logs": ("/var/mail", "/var/spool/mail", "/var/spool/cups", "/var/log", "/var/crash", "/var/spool"),
}
SHARED: dict[str, tuple[str, ...]] = {
    # where anybody leaves things for others, or finds theirs
    "temporary directories": ("/tmp", "/var/tmp"),  # noqa: S108 (names to ask about, nothing is made there)
    "POSIX shared memory and semaphores": ("/dev/shm",),  # noqa: S108
    "files of message queues and huge pages": ("/dev/mqueue", "/dev/hugepages"),
    "the user's runtime directory": ("{runtime}",),
    "lock and state files of services": ("/run", "/run/lock", "/var/lock"),
}
KNOBS: dict[str, tuple[str, ...]] = {
    # files by which the kernel is told something
    "/proc knobs": (
        "/proc/sys",
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/1/oom_score_adj",
        "/proc/irq",
    ),
    "/sys knobs": (
        "/sys",
        "/sys/kernel",
        "/sys/power/state",
        "/sys/module",
        "/sys/kernel/debug",
        "/sys/kernel/tracing",
    ),
    "control groups": ("/sys/fs/cgroup",),
    "pinned BPF objects and security modules": ("/sys/fs/bpf", "/sys/kernel/security", "/sys/fs/selinux"),
}
DEVICES = (
    *(
        "/dev/mem",
        "/dev/port",
        "/dev/kmsg",
        "/dev/kvm",
        "/dev/fuse",
        "/dev/uinput",
        "/dev/input",
        "/dev/snd",
        "/dev/dri",
    ),
    *(
        "/dev/video0",
        "/dev/rtc0",
        "/dev/loop-control",
        "/dev/net/tun",
        "/dev/vhost-net",
        "/dev/mapper/control",
        "/dev/sda",
    ),
    *("/dev/vda", "/dev/nvme0n1", "/dev/ttyS0", "/dev/bus/usb", "/dev/watchdog", "/dev/console"),
)
TERMINALS = ("/dev/pts", "/dev/tty0", "/dev/tty1")
SOCKETS: dict[str, tuple[str, ...]] = {
    # servers that act for whoever connects to their unix socket
    "D-Bus": ("/run/dbus/system_bus_socket", "{runtime}/bus", "$DBUS_SESSION_BUS_ADDRESS"),
    "systemd": ("/run/systemd/private", "/run/systemd/notify", "{runtime}/systemd/private", "/run/systemd/userdb"),
    "X11": ("/tmp/.X11-unix/X0", "/tmp/.X11-unix"),  # noqa: S108
    "Wayland": ("{runtime}/wayland-0", "$WAYLAND_DISPLAY"),
    "sound": ("{runtime}/pulse/native", "{runtime}/pipewire-0"),
    "ssh and gpg agents": (
        *("$SSH_AUTH_SOCK", "{runtime}/keyring/ssh", "{runtime}/gnupg/S.gpg-agent", "{runtime}/gnupg/S.gpg-agent.ssh"),
        "~/.gnupg/S.gpg-agent",
    ),
    "containers and virtual machines": (
        *("/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock"),
        *("{runtime}/docker.sock", "{runtime}/podman/podman.sock", "/run/libvirt/libvirt-sock", "/run/snapd.socket"),
        *(
            "/var/lib/lxd/unix.socket",
            "/var/snap/lxd/common/lxd/unix.socket",
            "/var/lib/incus/unix.socket",
            "$DOCKER_HOST",
        ),
    ),
    "logs, printing, names": ("/dev/log", "/run/systemd/journal/socket", "/run/cups/cups.sock", "/run/nscd/socket"),
}
IN_PROJECTS = (
    *(".git/hooks", ".git/config", ".envrc", ".vscode", ".idea", ".devcontainer", ".pre-commit-config.yaml", ".github"),
    *(
        "Makefile",
        "package.json",
        "pyproject.toml",
        ".venv",
        "node_modules",
        ".husky",
        ".mcp.json",
        ".claude",
        "CLAUDE.md",
    ),
)
"""What people and programs run of a directory that they think is theirs."""
