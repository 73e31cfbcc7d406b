/* The Landlock ruleset, made in the parent. Twin of sandrun/primitives/landlock.py. */
#include "sandrun.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* struct landlock_ruleset_attr of the newest ABI; the header that we are built with may be older. */
struct attributes { uint64_t fs, net, scoped, quiet[3]; };
struct landlock_abi { uint64_t fs, net, scoped; size_t fields; };

static const struct landlock_abi abis[] = {
#define ROW(fs, net, scoped, fields) {fs, net, scoped, fields},
    LANDLOCK_ABIS(ROW)
#undef ROW
};
_Static_assert(sizeof abis / sizeof *abis == LANDLOCK_NEWEST_ABI, "one row for each ABI");

/* With the size that the ABI has: a kernel takes a larger one where the rest is zero, but this needs no such trust. */
static int create_ruleset(struct attributes attributes, const struct landlock_abi *abi)
{
    const uint64_t values[] = {attributes.fs, attributes.net, attributes.scoped};
    for (size_t at = abi->fields; at < 3; at++) {
        if (values[at] != 0) {
            errno = EINVAL; /* a right that this ABI does not have */
            return -1;
        }
    }
    return (int)syscall(SYS_landlock_create_ruleset, &attributes, abi->fields * sizeof(uint64_t), 0);
}

int rules_create_empty(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return -1;
    const struct landlock_abi *row = &abis[(abi < LANDLOCK_NEWEST_ABI ? abi : LANDLOCK_NEWEST_ABI) - 1];
    int fd = create_ruleset((struct attributes){row->fs, row->net, row->scoped, {0}}, row);
    return fd >= 0 ? fd : -2;
}

/* What openat2(2) does with RESOLVE_NO_SYMLINKS, a name at a time. */
static int open_by_names(const char *path)
{
    int at = open("/", O_PATH | O_CLOEXEC);
    while (at >= 0 && *(path += strspn(path, "/"))) {
        char name[NAME_MAX + 1];
        size_t size = strcspn(path, "/");
        int below = -1;
        struct stat status;
        errno = ENAMETOOLONG;
        if (size < sizeof name) {
            memcpy(name, path, size);
            name[size] = '\0';
            below = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        }
        int number = errno;
        close(at);
        if (below >= 0 && (fstat(below, &status) < 0 || S_ISLNK(status.st_mode))) {
            number = ELOOP;
            close(below);
            below = -1;
        }
        errno = number;
        at = below;
        path += size;
    }
    return at;
}

int open_path(const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    /* An outer filter cannot see the flags of openat2(2) and may refuse all of it so; ours does. */
    return fd < 0 && errno == ENOSYS ? open_by_names(path) : fd;
}

/* --- holes: what no rule may turn out to be --- */

struct identity { dev_t device; ino_t inode; };
struct identities { struct identity *at; size_t count; };

static int compare(const void *one, const void *other)
{
    const struct identity *a = one, *b = other;
    if (a->device != b->device)
        return a->device < b->device ? -1 : 1;
    return (a->inode > b->inode) - (a->inode < b->inode);
}

/* The identity of each path that exists, sorted. `skip_unreachable`: where we may not look and the command runs as the
 * same user, it may not look either. */
static bool identify(const struct strings *paths, bool skip_unreachable, struct identities *holes)
{
    holes->at = must_alloc(paths->count, sizeof *holes->at);
    holes->count = 0;
    for (size_t at = 0; at < paths->count; at++) {
        int fd = open_path(paths->at[at].data);
        if (fd < 0) {
            if (errno == ENOENT || errno == ENOTDIR || (errno == EACCES && skip_unreachable))
                continue;
            return false;
        }
        struct stat status;
        int result = fstat(fd, &status);
        close(fd);
        if (result < 0)
            return false;
        holes->at[holes->count++] = (struct identity){status.st_dev, status.st_ino};
    }
    qsort(holes->at, holes->count, sizeof *holes->at, compare);
    return true;
}

/* --- rules --- */

static bool grant_path(int ruleset_fd, uint64_t access, int fd)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    return syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

/* Grant what is open as `fd`, if it still is of the planned kind; something that may vanish is left out otherwise. */
static bool grant_opened(int ruleset_fd, const struct rule *rule, int fd, const struct identities *holes)
{
    bool may_vanish = (rule->kind & MAY_VANISH) != 0;
    bool is_directory = (rule->kind & ~MAY_VANISH) == KIND_DIRECTORY;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return false;
    if (S_ISDIR(status.st_mode) != is_directory)
        return may_vanish;
    struct identity identity = {status.st_dev, status.st_ino};
    if (bsearch(&identity, holes->at, holes->count, sizeof identity, compare))
        return false; /* a hard link or a bind mount of what is denied */
    uint64_t access = is_directory ? rule->access : rule->access & LANDLOCK_FILE_RIGHTS;
    return access == 0 || grant_path(ruleset_fd, access, fd);
}

static bool add_path(int ruleset_fd, const struct rule *rule, const struct identities *holes)
{
    /* The plan's paths are canonical: what was exchanged for a link after planning is refused, not followed. */
    int fd = open_path(rule->path.data);
    if (fd < 0)
        return (rule->kind & MAY_VANISH) && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP);
    bool is_granted = grant_opened(ruleset_fd, rule, fd, holes);
    close(fd);
    return is_granted;
}

bool rules_fill(int ruleset_fd, const struct plan *plan, const struct strings *private, enum share share)
{
    const size_t count = plan->path_rules.count, half = count / 2;
    struct identities holes;
    bool same_user = plan->uid == KEEP || plan->uid == (int64_t)geteuid() || plan->id_helpers.count;
    if (!identify(&plan->holes, same_user, &holes))
        return false;
    for (size_t at = share == SECOND_HALF ? half : 0; at < (share == FIRST_HALF ? half : count); at++) {
        if (!add_path(ruleset_fd, &plan->path_rules.at[at], &holes))
            return false;
    }
    for (size_t at = 0; at < private->count && share != FIRST_HALF; at++) {
        if (!add_path(ruleset_fd, &(struct rule){plan->private_access, KIND_DIRECTORY, private->at[at]}, &holes))
            return false;
    }
    for (size_t at = 0; at < plan->port_rules.count && share != FIRST_HALF; at++) {
        const uint64_t rule[] = {plan->port_rules.at[at].first, plan->port_rules.at[at].second};
        const int net_port = 2; /* LANDLOCK_RULE_NET_PORT */
        if (syscall(SYS_landlock_add_rule, ruleset_fd, net_port, rule, 0) != 0)
            return false;
    }
    free(holes.at);
    return true;
}

int rules_begin(const struct plan *plan)
{
    if (plan->landlock_abi == 0)
        return -1;
    if (plan->landlock_abi < 0)
        return -2;
    size_t abi = plan->landlock_abi < LANDLOCK_NEWEST_ABI ? (size_t)plan->landlock_abi : LANDLOCK_NEWEST_ABI;
    struct attributes handled = {plan->landlock_fs, plan->landlock_net, plan->landlock_scoped, {0}};
    int ruleset_fd = create_ruleset(handled, &abis[abi - 1]);
    return ruleset_fd < 0 ? -2 : ruleset_fd;
}

int rules_create(const struct plan *plan, const struct strings *private)
{
    int ruleset_fd = rules_begin(plan);
    if (ruleset_fd >= 0 && !rules_fill(ruleset_fd, plan, private, ALL)) {
        close(ruleset_fd);
        return -2;
    }
    return ruleset_fd;
}

bool rules_grant_view(int ruleset_fd, const struct rules *rules)
{
    for (size_t at = 0; at < rules->count; at++) {
        int fd = open_path(rules->at[at].path.data);
        if (fd < 0) {
            if (errno == ENOENT && rules->at[at].kind & MAY_VANISH)
                continue; /* a name of the host's, in a place that hides it */
            return false;
        }
        bool is_granted = grant_path(ruleset_fd, rules->at[at].access, fd);
        int number = errno;
        close(fd);
        errno = number;
        if (!is_granted)
            return false;
    }
    return true;
}
