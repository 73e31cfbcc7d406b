/* Made by tools/gen_plan_fields.py from sandrun/plan/format.py, primitives/view.py and primitives/landlock.py.
 * Not to be edited; included by sandrun.h. */

enum { PLAN_VERSION = 4 };
#define PLAN_MAGIC "SRPLAN\0\0" /* 8 bytes */
enum {
    KEEP = -1,
    NICE_KEEP = -128,
};
enum {
    TTY_INHERIT = 0,
    TTY_PROTECTED = 1,
    TTY_NEW_SESSION = 2,
    TTY_PTY = 3,
};
enum {
    KIND_FILE = 0,
    KIND_DIRECTORY = 1,
    MAY_VANISH = 2,
};
enum {
    CGROUP_NONE = 0,
};

/* FIELD(kind, name) for each field of a plan, in the order of its bytes. */
#define PLAN_FIELDS(FIELD) \
    FIELD(text, executable) \
    FIELD(texts, argv) \
    FIELD(texts, env_pass) \
    FIELD(texts, env_set) \
    FIELD(text, cwd) \
    FIELD(integer, umask) \
    FIELD(integer, nice) \
    FIELD(integers, pass_fds) \
    FIELD(integers, hold) \
    FIELD(integer, tty) \
    FIELD(integer, uid) \
    FIELD(integer, gid) \
    FIELD(integer, set_groups) \
    FIELD(integers, groups) \
    FIELD(mask, bounding) \
    FIELD(mask, permitted) \
    FIELD(mask, inheritable) \
    FIELD(mask, ambient) \
    FIELD(integer, securebits) \
    FIELD(integer, no_new_privs) \
    FIELD(triples, rlimits) \
    FIELD(integer, landlock_abi) \
    FIELD(mask, landlock_fs) \
    FIELD(mask, landlock_net) \
    FIELD(mask, landlock_scoped) \
    FIELD(mask, landlock_flags) \
    FIELD(rules, path_rules) \
    FIELD(pairs, port_rules) \
    FIELD(texts, holes) \
    FIELD(texts, create) \
    FIELD(texts, private_dirs) \
    FIELD(mask, private_access) \
    FIELD(binaries, seccomp) \
    FIELD(mask, seccomp_flags) \
    FIELD(integer, deadline_ms) \
    FIELD(integer, grace_ms) \
    FIELD(mask, namespaces) \
    FIELD(text, uid_map) \
    FIELD(text, gid_map) \
    FIELD(texts, id_helpers) \
    FIELD(text, hostname) \
    FIELD(integer, loopback) \
    FIELD(binary, egress) \
    FIELD(pairs, egress_listen) \
    FIELD(pairs, publish) \
    FIELD(binary, broker_filter) \
    FIELD(records, broker_rules) \
    FIELD(records, broker_deny) \
    FIELD(binary, observe) \
    FIELD(records, view) \
    FIELD(rules, view_rules) \
    FIELD(text, apparmor) \
    FIELD(text, selinux) \
    FIELD(integer, dynamic) \
    FIELD(integer, cgroup_way) \
    FIELD(texts, cgroup_parents) \
    FIELD(texts, cgroup_controllers) \
    FIELD(records, cgroup_limits) \
    FIELD(records, relay_rules) \
    FIELD(records, relay_deny) \
    FIELD(records, relay_names) \
    FIELD(texts, relay_private)

struct plan {
    struct bytes executable;
    struct strings argv;
    struct strings env_pass;
    struct strings env_set;
    struct bytes cwd;
    int64_t umask;
    int64_t nice;
    struct integers pass_fds;
    struct integers hold;
    int64_t tty;
    int64_t uid;
    int64_t gid;
    int64_t set_groups;
    struct integers groups;
    uint64_t bounding;
    uint64_t permitted;
    uint64_t inheritable;
    uint64_t ambient;
    int64_t securebits;
    int64_t no_new_privs;
    struct triples rlimits;
    int64_t landlock_abi;
    uint64_t landlock_fs;
    uint64_t landlock_net;
    uint64_t landlock_scoped;
    uint64_t landlock_flags;
    struct rules path_rules;
    struct pairs port_rules;
    struct strings holes;
    struct strings create;
    struct strings private_dirs;
    uint64_t private_access;
    struct strings seccomp;
    uint64_t seccomp_flags;
    int64_t deadline_ms;
    int64_t grace_ms;
    uint64_t namespaces;
    struct bytes uid_map;
    struct bytes gid_map;
    struct strings id_helpers;
    struct bytes hostname;
    int64_t loopback;
    struct bytes egress;
    struct pairs egress_listen;
    struct pairs publish;
    struct bytes broker_filter;
    struct records broker_rules;
    struct records broker_deny;
    struct bytes observe;
    struct records view;
    struct rules view_rules;
    struct bytes apparmor;
    struct bytes selinux;
    int64_t dynamic;
    int64_t cgroup_way;
    struct strings cgroup_parents;
    struct strings cgroup_controllers;
    struct records cgroup_limits;
    struct records relay_rules;
    struct records relay_deny;
    struct records relay_names;
    struct strings relay_private;
};

/* The operations of `view`, and the flags of its records above the permission bits. */
enum {
    VIEW_TREE = 0,
    VIEW_BIND = 1,
    VIEW_TMPFS = 2,
    VIEW_PROC = 3,
    VIEW_DEVPTS = 4,
    VIEW_OVERLAY = 5,
    VIEW_DIRECTORY = 6,
    VIEW_FILE = 7,
    VIEW_SYMLINK = 8,
    VIEW_ROOT = 9,
    VIEW_CHROOT = 10,
    VIEW_CONTENT = 11,
};
enum {
    VIEW_MODE = 0xfff,
    VIEW_READ_ONLY = 0x1000,
    VIEW_DEVICES = 0x2000,
    VIEW_OWNED = 0x4000,
    VIEW_SEALED = 0x8000,
    VIEW_NO_EXECUTE = 0x10000,
    VIEW_SET_ID = 0x20000,
};

/* What may be granted on anything but a directory. */
#define LANDLOCK_FILE_RIGHTS UINT64_C(0x1c007)

/* ROW(file system rights, network rights, scopes, u64 fields of struct landlock_ruleset_attr) of ABI 1, 2, ... */
enum { LANDLOCK_NEWEST_ABI = 10 };
#define LANDLOCK_ABIS(ROW) \
    ROW(0x1fff, 0x0, 0x0, 1) \
    ROW(0x3fff, 0x0, 0x0, 1) \
    ROW(0x7fff, 0x0, 0x0, 1) \
    ROW(0x7fff, 0x3, 0x0, 2) \
    ROW(0xffff, 0x3, 0x0, 2) \
    ROW(0xffff, 0x3, 0x3, 3) \
    ROW(0xffff, 0x3, 0x3, 3) \
    ROW(0xffff, 0x3, 0x3, 3) \
    ROW(0x1ffff, 0x3, 0x3, 3) \
    ROW(0x1ffff, 0xf, 0x3, 6)
