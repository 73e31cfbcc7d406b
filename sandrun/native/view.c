/* What the command sees of the file system, made in its mount namespace. Twin of sandrun/primitives/view.py.
 *
 * What is to stay as it is (a writable directory, a device) is cloned first; then the whole tree gets its attributes,
 * read-only as a rule; then everything is attached in the order of the plan, by descriptors that no symbolic link could
 * bend. All mounts are private, so that nothing of it is ever seen outside. This process ends where anything fails, so
 * descriptors are not tidied up then.
 */
#include "sandrun.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of headers that do not go together with those above. */
enum { DETACH = 2 /* MNT_DETACH */, RECURSIVE = 0x8000 /* AT_RECURSIVE */ };
enum { FOLDER = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
enum { NEW = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };

struct option { const char *key, *value; };

/* --- mounts that are attached nowhere yet --- */

static bool set_attributes(int fd, const char *path, unsigned flags, uint64_t attributes, uint64_t propagation)
{
    struct mount_attr set = {.attr_set = attributes, .propagation = propagation};
    return syscall(SYS_mount_setattr, fd, path, *path ? flags : flags | AT_EMPTY_PATH, &set, sizeof set) == 0;
}

static uint64_t attributes_of(uint64_t flags)
{
    uint64_t attributes = flags & VIEW_SET_ID ? 0 : MOUNT_ATTR_NOSUID;
    if (!(flags & VIEW_DEVICES))
        attributes |= MOUNT_ATTR_NODEV;
    if (flags & VIEW_READ_ONLY)
        attributes |= MOUNT_ATTR_RDONLY;
    if (flags & VIEW_NO_EXECUTE)
        attributes |= MOUNT_ATTR_NOEXEC;
    return attributes;
}

/* A new filesystem. The options end where there is no key; one without a value is a flag. */
static int new_filesystem(const char *type, const struct option *options, uint64_t attributes)
{
    int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0)
        return -1;
    for (; options->key; options++) {
        int command = options->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (syscall(SYS_fsconfig, context, command, options->key, options->value, 0) != 0)
            return -1;
    }
    if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        return -1;
    int mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
    close(context);
    return mount;
}

static int new_tmpfs(const struct plan *plan, uint64_t flags, const char *size)
{
    char mode[8], uid[24], gid[24];
    snprintf(mode, sizeof mode, "%o", (unsigned)(flags & VIEW_MODE));
    snprintf(uid, sizeof uid, "%lld", (long long)plan->uid);
    snprintf(gid, sizeof gid, "%lld", (long long)plan->gid);
    struct option options[5] = {{"mode", mode}};
    size_t count = 1;
    if (flags & VIEW_OWNED && plan->uid != KEEP) {
        options[count++] = (struct option){"uid", uid};
        options[count++] = (struct option){"gid", gid};
    }
    if (*size)
        options[count++] = (struct option){"size", size};
    return new_filesystem("tmpfs", options, attributes_of(flags));
}

/* Changes of what is at `lower` go to the overlay directories of this number. */
static int new_overlay(const char *lower, const char *number, const struct strings *overlays)
{
    const char *keys[] = {"lowerdir", "upperdir", "workdir"};
    size_t first = 2 * strtoul(number, NULL, 10);
    errno = EINVAL;
    if (first + 1 >= overlays->count)
        return -1;
    const char *paths[] = {lower, overlays->at[first].data, overlays->at[first + 1].data};
    struct option options[5] = {{0}};
    char places[3][32];
    int fds[3];
    for (size_t at = 0; at < 3; at++) {
        if ((fds[at] = open_path(paths[at])) < 0)
            return -1;
        snprintf(places[at], sizeof places[at], "/proc/self/fd/%d", fds[at]);
        options[at] = (struct option){keys[at], places[at]};
    }
    options[3].key = "userxattr";
    int mount = new_filesystem("overlay", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    int failed = errno;
    for (size_t at = 0; at < 3; at++)
        close(fds[at]);
    errno = failed;
    return mount;
}

/* A copy of the mounts at and below an O_PATH descriptor. */
static int open_tree(int fd)
{
    return (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/* A copy of what is mounted at and below a canonical path, with its attributes. */
static int clone_tree(const char *source, uint64_t flags)
{
    int fd = open_path(source);
    if (fd < 0)
        return -1;
    int mount = open_tree(fd);
    close(fd);
    return mount >= 0 && set_attributes(mount, "", RECURSIVE, attributes_of(flags), 0) ? mount : -1;
}

static bool attach(int mount, const char *path)
{
    int target = open_path(path);
    if (target < 0)
        return false;
    unsigned both_empty = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    if (syscall(SYS_move_mount, mount, "", target, "", both_empty) != 0)
        return false;
    close(target);
    return true;
}

/* Let go of the mount that is this process's working directory, and leave it. */
static bool leave_here(void)
{
    return syscall(SYS_umount2, ".", DETACH) == 0 && chdir("/") == 0;
}

/* A mount that is one file with this content. Only what is attached can be cloned (before Linux 6.15), so its
 * filesystem lies on the root for a moment. */
static int content(struct bytes source, uint64_t flags)
{
    int mount = new_filesystem("tmpfs", (struct option[]){{"mode", "0755"}, {NULL, NULL}}, 0);
    if (mount < 0 || !attach(mount, "/"))
        return -1;
    int fd = openat(mount, "file", NEW, 0644);
    if (fd < 0 || fchmod(fd, 0644) < 0 || write_all(fd, source.data, source.size) != 0)
        return -1;
    close(fd);
    int file = openat(mount, "file", O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
        return -1;
    int clone = open_tree(file);
    close(file);
    if (clone < 0 || fchdir(mount) < 0 || !leave_here())
        return -1;
    close(mount);
    return set_attributes(clone, "", 0, attributes_of(flags), 0) ? clone : -1;
}

/* The mount of a record, before anything of the tree changes: a user namespace may mount proc(5) only while one can be
 * seen that hides nothing, so before the root goes. */
static int detached(const struct plan *plan, const struct record *record, const struct strings *overlays)
{
    const struct option devpts[] = {{"ptmxmode", "0666"}, {"mode", "0620"}, {NULL, NULL}};
    uint64_t flags = record->flags;
    switch (record->operation) {
    case VIEW_BIND:
    case VIEW_ROOT:
        return clone_tree(record->source.data, flags);
    case VIEW_TMPFS:
        return new_tmpfs(plan, flags, record->source.data);
    case VIEW_OVERLAY:
        return new_overlay(record->path.data, record->source.data, overlays);
    case VIEW_PROC:
        return new_filesystem("proc", &devpts[2], attributes_of(flags | VIEW_NO_EXECUTE));
    case VIEW_DEVPTS:
        return new_filesystem("devpts", devpts, attributes_of(flags | VIEW_NO_EXECUTE | VIEW_DEVICES));
    case VIEW_CONTENT:
        return content(record->source, flags);
    default:
        errno = EINVAL;
        return -1;
    }
}

/* --- files, links and directories in the filesystems of the view --- */

static bool own(const struct plan *plan, int fd, uint64_t flags)
{
    return !(flags & VIEW_OWNED) || plan->uid == KEEP || fchown(fd, (uid_t)plan->uid, (gid_t)plan->gid) == 0;
}

/* The directory `name`, made if it is absent. */
static int enter(const struct plan *plan, int at, const char *name, mode_t mode, uint64_t flags)
{
    int fd = openat(at, name, FOLDER);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdirat(at, name, mode) < 0)
        return -1;
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && fchmod(fd, mode) == 0 && own(plan, fd, flags) ? fd : -1;
}

static bool make_last(const struct plan *plan, int at, const char *name, const struct record *record)
{
    if (record->operation == VIEW_SYMLINK)
        return symlinkat(record->source.data, at, name) == 0;
    int fd = openat(at, name, NEW, (mode_t)(record->flags & VIEW_MODE));
    if (fd < 0 || write_all(fd, record->source.data, record->source.size) != 0 || !own(plan, fd, record->flags))
        return false;
    close(fd);
    return true;
}

/* Make a file, link or directory with the directories above it; what is there already stays. */
static bool make_entry(const struct plan *plan, const struct record *record)
{
    bool is_directory = record->operation == VIEW_DIRECTORY;
    const char *rest = record->path.data;
    bool is_done = false;
    int at = open("/", FOLDER);
    errno = EINVAL; /* a path that is not absolute; open("/") cannot fail */
    while (at >= 0 && !is_done && *rest == '/') {
        char name[NAME_MAX + 1];
        size_t size = strcspn(++rest, "/");
        if (size >= sizeof name) {
            errno = ENAMETOOLONG;
            break;
        }
        memcpy(name, rest, size);
        name[size] = '\0';
        rest += size;
        bool is_last = !*rest;
        if (is_last && !is_directory) {
            is_done = make_last(plan, at, name, record) || errno == EEXIST;
            break;
        }
        int below = enter(plan, at, name, is_last ? (mode_t)(record->flags & VIEW_MODE) : 0755, record->flags);
        if (below < 0)
            break;
        close(at);
        at = below;
        is_done = is_last;
    }
    if (is_done)
        close(at);
    return is_done;
}

/* --- the view --- */

/* Make a detached copy of what is at `path` the root, and let go of all that was there before. */
static bool change_root(int mount, const char *path)
{
    /* The old root is then on top of the new one, where nothing but "." still means what is below (pivot_root(2)). */
    return attach(mount, path) && fchdir(mount) == 0 && syscall(SYS_pivot_root, ".", ".") == 0 && leave_here();
}

static bool needs_no_mount(uint64_t operation)
{
    return operation == VIEW_TREE || operation == VIEW_DIRECTORY || operation == VIEW_FILE || operation == VIEW_SYMLINK;
}

bool view_makes_files(const struct plan *plan)
{
    for (size_t at = 0; at < plan->view.count; at++) {
        uint64_t operation = plan->view.at[at].operation;
        if (operation == VIEW_DIRECTORY || operation == VIEW_FILE || operation == VIEW_SYMLINK)
            return true;
    }
    return plan->private_dirs.count > 0;
}

/* A path of the host as it is in the view's root. */
static const char *inside_view(const struct plan *plan, const char *path)
{
    if (plan->view.at[0].operation != VIEW_ROOT)
        return path;
    const struct bytes *top = &plan->view.at[0].source;
    size_t size = top->size;
    while (size > 0 && top->data[size - 1] == '/')
        size--;
    return strncmp(path, top->data, size) == 0 ? path + size : path;
}

static bool carry_out(const struct plan *plan, const struct record *record, int mount)
{
    switch (record->operation) {
    case VIEW_TREE:
        return set_attributes(AT_FDCWD, record->path.data, RECURSIVE, attributes_of(record->flags), 0);
    case VIEW_DIRECTORY:
    case VIEW_FILE:
    case VIEW_SYMLINK:
        return make_entry(plan, record);
    case VIEW_ROOT:
        return change_root(mount, record->source.data);
    case VIEW_OVERLAY:
        return attach(mount, inside_view(plan, record->path.data));
    default:
        return attach(mount, record->path.data);
    }
}

/* The mount of a private directory. Where the command's ids are mapped by helpers, it is a filesystem of its own: the
 * caller could not give it, nor clear, one of the caller's. */
static int private_mount(const struct plan *plan, const char *path)
{
    return plan->id_helpers.count ? new_tmpfs(plan, 0700 | VIEW_OWNED, "15%") : clone_tree(path, 0);
}

static bool mount_all(const struct plan *plan, const struct strings *private, const struct strings *overlays, int *at)
{
    int records = (int)plan->view.count;
    int *mounts = must_alloc(plan->view.count, sizeof *mounts);
    int *shown = must_alloc(private->count, sizeof *shown);
    if (!set_attributes(AT_FDCWD, "/", RECURSIVE, 0, MS_PRIVATE))
        return false;
    for (*at = 0; *at < records; ++*at) {
        const struct record *record = &plan->view.at[*at];
        if (!needs_no_mount(record->operation) && (mounts[*at] = detached(plan, record, overlays)) < 0)
            return false;
    }
    for (size_t number = 0; number < private->count; number++) {
        if ((shown[number] = private_mount(plan, private->at[number].data)) < 0)
            return false;
    }
    for (*at = 0; *at < records; ++*at) {
        if (!carry_out(plan, &plan->view.at[*at], mounts[*at]))
            return false;
    }
    for (size_t number = 0; number < private->count; number++) {
        struct record folder = {VIEW_DIRECTORY, 0755, private->at[number], {"", 0}};
        if (!make_entry(plan, &folder) || !attach(shown[number], private->at[number].data))
            return false;
    }
    for (*at = 0; *at < records; ++*at) {
        const struct record *record = &plan->view.at[*at];
        bool is_sealed = (record->flags & VIEW_SEALED) && !needs_no_mount(record->operation);
        if (is_sealed && record->operation != VIEW_ROOT && !set_attributes(mounts[*at], "", 0, MOUNT_ATTR_RDONLY, 0))
            return false;
    }
    return true;
}

static bool grant_private(const struct plan *plan, const struct strings *private, int ruleset_fd)
{
    struct rules rules = {must_alloc(private->count, sizeof *rules.at), private->count};
    for (size_t at = 0; at < private->count; at++)
        rules.at[at] = (struct rule){plan->private_access, KIND_DIRECTORY, private->at[at]};
    return rules_grant_view(ruleset_fd, &rules);
}

bool view_make(const struct plan *plan, const struct strings *private, const struct strings *overlays, int ruleset_fd,
               int *at)
{
    *at = 0;
    const struct record *first = plan->view.at;
    bool is_made;
    if (first->operation == VIEW_CHROOT)
        is_made = chroot(first->source.data) == 0 && chdir("/") == 0;
    else
        is_made = mount_all(plan, private, overlays, at);
    if (!is_made || ruleset_fd < 0)
        return is_made;
    return rules_grant_view(ruleset_fd, &plan->view_rules) &&
           (!plan->id_helpers.count || grant_private(plan, private, ruleset_fd));
}
