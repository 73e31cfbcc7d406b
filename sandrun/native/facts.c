/* The facts of an entry of the plan cache, asked again. Twin of sandrun/plancache/facts.py, which records them.
 *
 * A fact is `kind:u8 name:u16 value:u32`, the bytes of the name, a NUL, the bytes of the value. The answer to the same
 * question now is made in the same form, and compared as bytes. Numbers are the machine's own: an entry is not moved.
 *
 * It is long because there is one short function for each kind of fact, and the table of them is to be read in one place.
 */
#include "sandrun.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

enum kind {
    LSTAT = 1, STAT, READLINK, LISTDIR, MODES, FILE_IDENTITY, CONTENT, ENVIRONMENT, RLIMIT,
    DESCRIPTOR, DESCRIPTOR_PATH, DEVICE, SOCKET, UNIX_FREE, KERNEL,
};

struct fact {
    enum kind kind;
    const char *name; /* with a NUL behind it */
    size_t name_size;
    const uint8_t *value;
    size_t size;
};

struct answer {
    uint8_t *data;
    size_t size, room;
};

static void add(struct answer *answer, const void *data, size_t size)
{
    if (answer->room - answer->size < size) {
        size_t room = 2 * (answer->room + size);
        uint8_t *more = must_alloc(room, 1);
        if (answer->size > 0)
            memcpy(more, answer->data, answer->size);
        free(answer->data);
        *answer = (struct answer){more, answer->size, room};
    }
    if (size > 0)
        memcpy(answer->data + answer->size, data, size);
    answer->size += size;
}

static void add_u8(struct answer *answer, bool value)
{
    add(answer, &(uint8_t){value}, 1);
}

static void add_u32(struct answer *answer, uint32_t value)
{
    add(answer, &value, sizeof value);
}

static void add_u64(struct answer *answer, uint64_t value)
{
    add(answer, &value, sizeof value);
}

/* What a system call returned, or its errno as a negative number. */
static void add_result(struct answer *answer, long result)
{
    add_u64(answer, (uint64_t)(result < 0 ? -(long)errno : result));
}

static uint64_t nanoseconds(struct timespec time)
{
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* --- lstat(2), once for each path ------------------------------------------------------------------------------------ */

/* What is at a path; mode 0 if nothing can be seen there. */
struct look {
    char *path;
    uint32_t mode, uid, gid, links;
    uint64_t device, inode, changed;
};

/* What was looked at: several facts ask about the same path, above all about directories. As many as there is room for;
 * `slots` is a hash table of their numbers, counted from 1. */
enum { SLOTS = 4096, MOST_LOOKS = SLOTS / 2 };
struct looks {
    struct look *at;
    size_t count;
    uint16_t slots[SLOTS];
};

static struct look look(int directory, const char *path, int flags)
{
    struct stat found;
    if (fstatat(directory, path, &found, flags) < 0)
        return (struct look){0};
    /* How many directories a directory has is of no interest, and changes. */
    uint32_t links = S_ISDIR(found.st_mode) ? 0 : (uint32_t)found.st_nlink;
    return (struct look){NULL, found.st_mode, found.st_uid, found.st_gid, links, found.st_dev, found.st_ino,
                         nanoseconds(found.st_ctim)};
}

/* `name` is where to look from the directory, which is what `path` is: the shorter, the faster. */
static struct look look_once_at(struct looks *looks, const char *path, int directory, const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    const char *end = path;
    for (; *end; end++)
        hash = (hash ^ (unsigned char)*end) * 16777619u;
    uint16_t *slot = &looks->slots[hash % SLOTS];
    while (*slot && strcmp(looks->at[*slot - 1].path, path) != 0)
        slot = slot + 1 < looks->slots + SLOTS ? slot + 1 : looks->slots;
    if (*slot)
        return looks->at[*slot - 1];
    struct look found = look(directory, name, AT_SYMLINK_NOFOLLOW);
    if (looks->count < MOST_LOOKS) {
        size_t size = (size_t)(end - path) + 1;
        found.path = memcpy(must_alloc(size, 1), path, size);
        looks->at[looks->count++] = found;
        *slot = (uint16_t)looks->count;
    }
    return found;
}

static struct look look_once(struct looks *looks, const char *path)
{
    return look_once_at(looks, path, AT_FDCWD, path);
}

static void forget(struct looks *looks)
{
    while (looks->count > 0)
        free(looks->at[--looks->count].path);
    free(looks->at);
    free(looks);
}

/* --- the questions ------------------------------------------------------------------------------------------------------ */

static void add_look(struct answer *answer, struct look found)
{
    if (found.mode == 0)
        return;
    add_u32(answer, found.mode);
    add_u32(answer, found.uid);
    add_u32(answer, found.gid);
    add_u32(answer, found.links);
    add_u64(answer, found.device);
    add_u64(answer, found.inode);
}

static void ask_file(struct answer *answer, const char *path)
{
    struct stat found;
    if (stat(path, &found) < 0)
        return;
    add_u32(answer, found.st_mode);
    add_u32(answer, found.st_uid);
    add_u32(answer, found.st_gid);
    add_u64(answer, found.st_dev);
    add_u64(answer, found.st_ino);
    add_u64(answer, (uint64_t)found.st_size);
    add_u64(answer, nanoseconds(found.st_mtim));
    add_u64(answer, nanoseconds(found.st_ctim));
}

static void ask_readlink(struct answer *answer, const char *path)
{
    char target[4096];
    ssize_t size = readlink(path, target, sizeof target);
    if (size > 0)
        add(answer, target, (size_t)size);
}

static int by_name(const void *left, const void *right)
{
    return strcmp(*(char *const *)left + 1, *(char *const *)right + 1);
}

/* The names in a directory, sorted; NULL if it is none that can be read. */
static char **names_in(DIR *directory, size_t *count) /* each behind its type of readdir(3) */
{
    size_t room = 64;
    char **names = must_alloc(room, sizeof *names);
    const struct dirent *entry;
    *count = 0;
    while (errno = 0, (entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (*count == room) {
            char **more = must_alloc(2 * room, sizeof *more);
            memcpy(more, names, room * sizeof *names);
            free(names);
            names = more;
            room *= 2;
        }
        size_t size = strlen(entry->d_name) + 1;
        names[*count] = must_alloc(size + 1, 1);
        names[*count][0] = (char)entry->d_type;
        memcpy(names[(*count)++] + 1, entry->d_name, size);
    }
    if (errno != 0) {
        free(names);
        return NULL;
    }
    qsort(names, *count, sizeof *names, by_name);
    return names;
}

/* The stamp of a directory follows the first byte of the value: device, inode and ctime, as of when it was recorded. */
enum { STAMP = 3 * sizeof(uint64_t), NAMES = 1 + STAMP };

/* Whether it still is the same directory with the same names. Each new name is a change of its status (inode(7)); where
 * that cannot be relied on, the recorded stamp is all zero, which is no directory's. */
static bool is_as_stamped(const struct fact *fact, struct looks *looks)
{
    if (fact->size < NAMES)
        return false;
    struct look found = look_once(looks, fact->name);
    if (S_ISLNK(found.mode))
        found = look(AT_FDCWD, fact->name, 0);
    const uint64_t stamp[3] = {found.device, found.inode, found.changed};
    return found.mode != 0 && memcmp(fact->value + 1, stamp, STAMP) == 0;
}

/* The mode of a name, which no stamp shows. */
static void add_mode(struct answer *answer, int directory, const char *name)
{
    struct stat found;
    add_u32(answer, fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : found.st_mode);
}

/* The modes of the names that were recorded, as far as that is whole. */
static void ask_same_names(struct answer *answer, const struct fact *fact, struct looks *looks)
{
    enum { MANY = 256 }; /* bytes of names for which opening and closing the directory takes less than is saved */
    char path[PATH_MAX + 1 + NAME_MAX + 1];
    const uint8_t *at = fact->value + NAMES, *end = fact->value + fact->size;
    const uint8_t *mode;
    uint32_t known;
    if (fact->name_size >= PATH_MAX)
        return;
    int directory = fact->size > MANY ? open(fact->name, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    memcpy(path, fact->name, fact->name_size);
    path[fact->name_size] = '/';
    char *name = path + fact->name_size + 1;
    while ((mode = memchr(at, 0, (size_t)(end - at))) != NULL && end - ++mode >= (ptrdiff_t)sizeof known) {
        size_t size = (size_t)(mode - at);
        if (size > NAME_MAX + 1)
            break;
        memcpy(name, at, size);
        memcpy(&known, mode, sizeof known);
        add(answer, at, size);
        /* The mode of a link is the same for ever (symlink(7)). */
        if (!S_ISLNK(known))
            known = directory < 0 ? look_once(looks, path).mode : look_once_at(looks, path, directory, name).mode;
        add_u32(answer, known);
        at = mode + sizeof known;
    }
    if (directory >= 0)
        (void)close(directory);
}

static void list_names(struct answer *answer, const struct fact *fact)
{
    static const uint8_t none[STAMP];
    DIR *directory = opendir(fact->name);
    size_t count;
    char **names = directory ? names_in(directory, &count) : NULL;
    if (names) {
        add_u8(answer, true);
        add(answer, fact->size < NAMES ? none : fact->value + 1, STAMP);
        for (size_t at = 0; at < count; at++) {
            const char *name = names[at] + 1;
            add(answer, name, strlen(name) + 1);
            if (fact->kind == MODES && names[at][0] == DT_LNK)
                add_u32(answer, S_IFLNK | 0777);
            else if (fact->kind == MODES)
                add_mode(answer, dirfd(directory), name);
            free(names[at]);
        }
        free(names);
    }
    if (directory)
        (void)closedir(directory);
}

static void ask_names(struct answer *answer, const struct fact *fact, struct looks *looks)
{
    if (!is_as_stamped(fact, looks)) {
        list_names(answer, fact);
    } else if (fact->kind == MODES) {
        add(answer, fact->value, NAMES);
        ask_same_names(answer, fact, looks);
    } else {
        add(answer, fact->value, fact->size);
    }
}

static void ask_content(struct answer *answer, const struct fact *fact)
{
    uint32_t limit;
    if (fact->size < sizeof limit)
        return;
    memcpy(&limit, fact->value, sizeof limit);
    add_u32(answer, limit);
    int fd = open(fact->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    size_t start = answer->size;
    struct stat found;
    ssize_t size = fd >= 0 && fstat(fd, &found) == 0 && S_ISREG(found.st_mode) ? 1 : -1;
    add_u8(answer, true);
    char part[16384];
    while (size > 0 && limit > 0) {
        size = read(fd, part, limit < sizeof part ? limit : sizeof part);
        if (size > 0) {
            add(answer, part, (size_t)size);
            limit -= (uint32_t)size;
        }
    }
    if (size < 0) {
        answer->size = start;
        add_u8(answer, false);
    }
    if (fd >= 0)
        (void)close(fd);
}

static void ask_environment(struct answer *answer, const struct fact *fact, struct bytes salt)
{
    const char *value = environment_get(fact->name, fact->name_size);
    if (!value)
        return;
    struct sha256 hash;
    uint8_t digest[SHA256_SIZE];
    sha256_begin(&hash);
    sha256_add(&hash, salt.data, salt.size);
    sha256_add(&hash, value, strlen(value));
    sha256_end(hash, digest);
    add(answer, digest, sizeof digest);
}

static void ask_rlimit(struct answer *answer, uint32_t resource)
{
    struct rlimit limit;
    if (getrlimit((__rlimit_resource_t)resource, &limit) < 0)
        return;
    add_u64(answer, limit.rlim_cur);
    add_u64(answer, limit.rlim_max);
}

static void ask_descriptor(struct answer *answer, int fd)
{
    struct stat found;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &found) < 0)
        return;
    bool is_both = S_ISREG(found.st_mode) && (flags & O_ACCMODE) == O_RDWR;
    /* All else is the same to a plan, and may differ in a loop: a terminal, a file, a pipe. */
    add_u32(answer, is_both || S_ISDIR(found.st_mode) || S_ISSOCK(found.st_mode) ? found.st_mode & S_IFMT : S_IFIFO);
}

static void ask_descriptor_path(struct answer *answer, int fd)
{
    static const char folder[] = "/proc/self/fd/";
    char path[sizeof folder + 10];
    char digits[10];
    size_t count = 0;
    for (unsigned left = (unsigned)fd; left > 0 || count == 0; left /= 10)
        digits[count++] = (char)('0' + left % 10);
    memcpy(path, folder, sizeof folder);
    for (size_t at = 0; at < count; at++)
        path[sizeof folder - 1 + at] = digits[count - 1 - at];
    path[sizeof folder - 1 + count] = 0;
    ask_readlink(answer, path);
}

static bool option(int fd, int name, int *value)
{
    socklen_t size = sizeof *value;
    return getsockopt(fd, SOL_SOCKET, name, value, &size) == 0;
}

static void ask_socket(struct answer *answer, int fd)
{
    int domain, protocol;
    if (!option(fd, SO_DOMAIN, &domain) || !option(fd, SO_PROTOCOL, &protocol))
        return;
    add_u32(answer, (uint32_t)domain);
    add_u32(answer, (uint32_t)protocol);
}

/* See Host.fd_unix_free in sandrun/host.py. */
static void ask_unix_free(struct answer *answer, int fd)
{
    int type, listens;
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (!option(fd, SO_TYPE, &type) || !option(fd, SO_ACCEPTCONN, &listens))
        return;
    add_u8(answer, type == SOCK_DGRAM || (!listens && getpeername(fd, (struct sockaddr *)&peer, &size) < 0));
}

static void ask_kernel(struct answer *answer)
{
    struct utsname system;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {0};
    uint32_t action = SECCOMP_RET_ERRNO;
    if (uname(&system) < 0 || syscall(SYS_capget, &header, sets) < 0)
        return;
    add(answer, system.release, strlen(system.release) + 1);
    add(answer, system.version, strlen(system.version) + 1);
    add(answer, system.machine, strlen(system.machine) + 1);
    add_result(answer, syscall(SYS_landlock_create_ruleset, NULL, 0, 1)); /* LANDLOCK_CREATE_RULESET_VERSION */
    add_result(answer, syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action));
    add_result(answer, prctl(PR_GET_SECCOMP));
    add_result(answer, prctl(PR_GET_SECUREBITS));
    add_result(answer, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    add_u64(answer, (uint64_t)sets[1].effective << 32 | sets[0].effective);
    add_u64(answer, (uint64_t)sets[1].permitted << 32 | sets[0].permitted);
    add_u64(answer, (uint64_t)sets[1].inheritable << 32 | sets[0].inheritable);
}

/* The questions about a number, which the value starts with. */
static void ask_number(struct answer *answer, const struct fact *fact)
{
    uint32_t number;
    struct stat found;
    if (fact->size < sizeof number)
        return;
    memcpy(&number, fact->value, sizeof number);
    add_u32(answer, number);
    int fd = (int)number;
    switch (fact->kind) {
    case RLIMIT:
        ask_rlimit(answer, number);
        break;
    case DESCRIPTOR:
        ask_descriptor(answer, fd);
        break;
    case DESCRIPTOR_PATH:
        ask_descriptor_path(answer, fd);
        break;
    case DEVICE:
        if (fstat(fd, &found) == 0 && S_ISCHR(found.st_mode))
            ask_descriptor_path(answer, fd);
        break;
    case SOCKET:
        ask_socket(answer, fd);
        break;
    default:
        ask_unix_free(answer, fd);
    }
}

/* False for a kind that is unknown. */
static bool ask(struct answer *answer, const struct fact *fact, struct bytes salt, struct looks *looks)
{
    switch (fact->kind) {
    case LSTAT:
        add_look(answer, look_once(looks, fact->name));
        return true;
    case STAT:
        add_look(answer, look(AT_FDCWD, fact->name, 0));
        return true;
    case READLINK:
        ask_readlink(answer, fact->name);
        return true;
    case LISTDIR:
    case MODES:
        ask_names(answer, fact, looks);
        return true;
    case FILE_IDENTITY:
        ask_file(answer, fact->name);
        return true;
    case CONTENT:
        ask_content(answer, fact);
        return true;
    case ENVIRONMENT:
        ask_environment(answer, fact, salt);
        return true;
    case RLIMIT:
    case DESCRIPTOR:
    case DESCRIPTOR_PATH:
    case DEVICE:
    case SOCKET:
    case UNIX_FREE:
        ask_number(answer, fact);
        return true;
    case KERNEL:
        ask_kernel(answer);
        return true;
    default:
        return false;
    }
}

/* The next fact; false if there is none that is whole. */
static bool next(struct reader *in, struct fact *fact)
{
    enum { HEAD = 7 };
    uint16_t name;
    uint32_t size;
    if (in->failed || in->end - in->at < HEAD)
        return false;
    fact->kind = in->at[0];
    memcpy(&name, in->at + 1, sizeof name);
    memcpy(&size, in->at + 3, sizeof size);
    in->at += HEAD;
    if ((size_t)(in->end - in->at) < (size_t)name + 1 + size || memchr(in->at, 0, (size_t)name + 1) != in->at + name)
        return false;
    fact->name = (const char *)in->at;
    fact->name_size = name;
    fact->value = in->at + name + 1;
    fact->size = size;
    in->at += (size_t)name + 1 + size;
    return true;
}

bool facts_hold(struct reader *facts, struct bytes salt)
{
    struct answer answer = {NULL, 0, 0};
    struct looks *looks = must_alloc(1, sizeof *looks);
    looks->at = must_alloc(MOST_LOOKS, sizeof *looks->at);
    bool hold = !facts->failed;
    while (hold && facts->at < facts->end) {
        struct fact fact;
        answer.size = 0;
        hold = next(facts, &fact) && ask(&answer, &fact, salt, looks) && answer.size == fact.size &&
               (fact.size == 0 || memcmp(answer.data, fact.value, fact.size) == 0);
    }
    forget(looks);
    free(answer.data);
    return hold;
}
