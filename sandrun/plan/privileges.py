"""Who the command runs as: uid, gid, groups, capability sets, securebits, no_new_privs.

Absent means none: a command keeps no capability, also as root, unless the profile names it.
"""

from __future__ import annotations

from sandrun.plan.account import is_dynamic, resolve_dynamic
from sandrun.plan.draft import accept
from sandrun.primitives import caps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandrun.host import Account, Host
    from sandrun.kernel import Kernel
    from sandrun.plan.draft import Draft

APPARMOR_PROFILES = "/sys/kernel/security/apparmor/profiles"
"""Which profiles are loaded; for root only."""
MOST_PROFILES = 1 << 22


def resolve_privileges(draft: Draft, kernel: Kernel, host: Host) -> Account | None:
    """Set the id and capability fields. Returns the account the command runs as."""
    account = _resolve_user(draft, kernel, host)
    _resolve_capabilities(draft, kernel, account.uid if account else host.uid)
    _resolve_labels(draft, kernel, host)
    return account


def _resolve_labels(draft: Draft, kernel: Kernel, host: Host) -> None:
    """The AppArmor profile and the SELinux context that the command gets at execve."""
    for module, name in (("apparmor", "AppArmor"), ("selinux", "SELinux")):
        key = f"privileges.{module}"
        value = draft.profile.scalar(key)
        if value is None:
            continue
        text = str(value.value)
        if module not in kernel.labels:
            lost = f"{key} cannot be applied: {name} is not in force on this kernel"
            draft.lose(key, lost, f"boot with {module} in the list of lsm=, remove it, or {accept(key)}")
        elif not text or any(character in text for character in "\0\n"):
            draft.refuse(value.origin, f"not a label of {name}: {text!r}")
        elif module == "apparmor" and _is_known_absent(text, host):
            hint = f"load it first: apparmor_parser --replace FILE; {APPARMOR_PROFILES} lists those that are"
            draft.refuse(value.origin, f"this AppArmor profile is not loaded: {text}", hint)
        else:
            draft.fields[module] = text.encode("utf-8", "surrogateescape")
            draft.record(key, module)


def _is_known_absent(profile: str, host: Host) -> bool:
    """Whether the list of profiles can be read and lacks this one; names with a namespace or several parts are tried."""
    listed = host.read(APPARMOR_PROFILES, MOST_PROFILES)
    if listed is None or len(listed) == MOST_PROFILES or profile == "unconfined" or ":" in profile or "//&" in profile:
        return False
    loaded = {line.rpartition(b" (")[0] for line in listed.splitlines()}
    return profile.encode("utf-8", "surrogateescape") not in loaded


def _resolve_user(draft: Draft, kernel: Kernel, host: Host) -> Account | None:
    profile = draft.profile
    user = profile.scalar("privileges.user")
    group = profile.scalar("privileges.group")
    groups = profile.items("privileges.groups")
    account = host.account(host.uid)
    if user is not None:
        if is_dynamic(user):
            return resolve_dynamic(draft, kernel, user)
        found = host.account(user.value if isinstance(user.value, int) else str(user.value))
        if found is None:
            draft.refuse(user.origin, f"no such user: {user.value}")
            return account
        account = found
    gid = account.gid if account and user is not None else host.gid
    if group is not None:
        number = host.group(group.value if isinstance(group.value, int) else str(group.value))
        if number is None:
            draft.refuse(group.origin, f"no such group: {group.value}")
        else:
            gid = number
    numbers = []
    for value in groups:
        number = host.group(value.value if isinstance(value.value, int) else str(value.value))
        if number is None:
            draft.refuse(value.origin, f"no such group: {value.value}")
        else:
            numbers.append(number)
    uid = account.uid if account and user is not None else host.uid
    if (uid, gid) == (host.uid, host.gid) and not groups and (user is None or not _has(kernel, "CAP_SETGID")):
        return account
    unique = tuple(dict.fromkeys(numbers))
    if not (_has(kernel, "CAP_SETUID") and _has(kernel, "CAP_SETGID")):
        from sandrun.plan.subids import resolve_mapped  # noqa: PLC0415 (few launches need it)

        resolve_mapped(draft, kernel, host, user or group or groups[0], (uid, gid, unique))
        return account
    draft.fields.update(uid=uid, gid=gid, set_groups=1, groups=unique)
    draft.record(
        "privileges.user",
        "setresuid",
        "setresgid",
        "setgroups",
        requested=profile.origins("privileges.user") or profile.origins("privileges.group"),
    )
    return account


def _resolve_capabilities(draft: Draft, kernel: Kernel, uid: int) -> None:
    profile = draft.profile
    ambient = _mask(draft, "privileges.ambient", kernel)
    permitted = _mask(draft, "privileges.capabilities", kernel) | ambient
    missing = permitted & ~kernel.capabilities
    if missing:
        origins = profile.origins("privileges.ambient") + profile.origins("privileges.capabilities")
        names = ", ".join(caps.names(missing))
        draft.refuse(
            origins[0], f"capabilities cannot be kept that sandrun does not hold: {names}", "run sandrun as root"
        )
    if uid != 0 and permitted & ~ambient:
        lost = ", ".join(caps.names(permitted & ~ambient))
        draft.warnings.append(
            f"{lost}: lost at execve, since the command is not root: use privileges.ambient to keep it"
        )
    draft.fields.update(bounding=permitted, permitted=permitted, inheritable=ambient, ambient=ambient)
    kept = ", ".join(caps.names(permitted)) or "none"
    draft.record("privileges.capabilities", "capset", "bounding set", notes=(f"kept: {kept}",))
    bits = 0
    for value in profile.items("privileges.securebits"):
        bits |= caps.SECUREBITS[str(value.value)]
    draft.fields["securebits"] = bits
    if bits:
        draft.record("privileges.securebits", "prctl")
        if not _has(kernel, "CAP_SETPCAP"):
            draft.refuse(
                profile.items("privileges.securebits")[0].origin, "securebits need CAP_SETPCAP", "run sandrun as root"
            )
    no_new_privs = profile.scalar("privileges.no_new_privs")
    draft.fields["no_new_privs"] = 0 if no_new_privs is not None and no_new_privs.value is False else 1
    if draft.fields["no_new_privs"]:
        draft.record("privileges.no_new_privs", "prctl")


def check_no_new_privs(draft: Draft, kernel: Kernel) -> None:
    """Landlock and seccomp may only be applied with no_new_privs or by CAP_SYS_ADMIN (landlock(7), seccomp(2)).

    Called when the other fields are known. The capability must be one that the command keeps: the sets are already
    reduced when these two are applied.
    """
    asked = draft.profile.scalar("privileges.no_new_privs")
    if draft.fields["no_new_privs"] or asked is None:
        return
    if not _has(kernel, "CAP_SETPCAP"):
        draft.refuse(
            asked.origin,
            "no_new_privs = false needs CAP_SETPCAP: the bounding set could not be dropped before set-user-ID programs",
            "remove it, or run sandrun as root",
        )
    elif not draft.fields["permitted"] & caps.mask(("CAP_SYS_ADMIN",)) and (
        draft.fields.get("landlock_abi") or draft.fields.get("seccomp")
    ):
        draft.refuse(
            asked.origin,
            "no_new_privs = false cannot go together with Landlock or seccomp",
            "remove it, or keep CAP_SYS_ADMIN (which lets the command undo much else)",
        )


def _mask(draft: Draft, key: str, kernel: Kernel) -> int:
    names = [str(value.value) for value in draft.profile.items(key)]
    if "@all" in names:
        return kernel.capabilities
    return caps.mask(names)


def _has(kernel: Kernel, name: str) -> bool:
    return bool(kernel.capabilities & caps.mask((name,)))
