/* The private directories of a launch: made before it, and removed after it whatever the command filled them with.
 *
 * Twin of sandrun/places.py and sandrun/primitives/private.py. Nothing is reached by a path of more than one name, no
 * symbolic link is followed, and neither depth, length of path nor closed permissions stop the removal. The removing
 * process may be root and the content another user's.
 */
#include "sandrun.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* --- made ----------------------------------------------------------------------------------------------------------------- */

/* To the command's user, and for nobody else. */
static bool give(const char *path, const struct plan *plan)
{
    struct stat found;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool given = fstat(fd, &found) == 0 && found.st_uid == geteuid() && /* not exchanged by another user */
                 ((plan->uid == KEEP && plan->gid == KEEP) || fchown(fd, (uid_t)plan->uid, (gid_t)plan->gid) == 0) &&
                 fchmod(fd, 0700) == 0;
    (void)close(fd);
    return given;
}

static bool make_one(const char *base, const struct plan *plan, struct bytes *made)
{
    uint64_t number;
    char path[PATH_MAX + 64];
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return false;
    int size = snprintf(path, sizeof path, "%s/sandrun-%016llx", base, (unsigned long long)number);
    if (size < 0 || mkdir(path, 0700) != 0)
        return false;
    char *name = must_alloc((size_t)size + 1, 1);
    memcpy(name, path, (size_t)size);
    *made = (struct bytes){name, (size_t)size};
    if (give(path, plan))
        return true;
    (void)rmdir(path); /* the failure on the way here is the one that counts */
    return false;
}

bool private_make(const struct plan *plan, struct strings *made)
{
    struct stat found;
    char base[PATH_MAX];
    const char *asked = getenv("TMPDIR");
    if (!asked || asked[0] != '/' || stat(asked, &found) != 0 || !S_ISDIR(found.st_mode))
        asked = "/tmp";
    *made = (struct strings){must_alloc(plan->private_dirs.count, sizeof *made->at), 0};
    if (plan->private_dirs.count > 0 && !realpath(asked, base))
        return false;
    for (; made->count < plan->private_dirs.count; made->count++) {
        if (!make_one(base, plan, &made->at[made->count])) {
            while (made->count > 0)
                (void)rmdir(made->at[--made->count].data);
            return false;
        }
    }
    return true;
}

/* --- removed ---------------------------------------------------------------------------------------------------------------- */

/* A directory to be listed, whatever its mode; a symbolic link in its place is an error. */
static int open_folder(const char *name, int at)
{
    struct stat found;
    int pinned = openat(at, name, FOLDER);
    if (pinned < 0)
        return -1;
    if (fstat(pinned, &found) == 0 && (found.st_mode & S_IRWXU) != S_IRWXU) {
        /* chmod(2) has no way to refuse links but by a descriptor, and fchmod(2) does not take this kind of one. If it
         * is another user's, root may enter all the same, unless it lacks CAP_DAC_OVERRIDE; then opening tells. */
        char path[64];
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", pinned);
        if (chmod(path, S_IRWXU) != 0 && errno != EPERM && errno != EACCES) {
            int number = errno;
            (void)close(pinned);
            errno = number;
            return -1;
        }
    }
    int fd = openat(pinned, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int number = errno;
    (void)close(pinned);
    errno = number;
    return fd;
}

/* Names, each with its NUL, one behind the other. */
struct names {
    char *text;
    size_t size, room;
};

static bool add_name(struct names *names, const char *name)
{
    size_t size = strlen(name) + 1;
    while (names->size + size > names->room) {
        size_t room = names->room ? names->room * 2 : 4096;
        char *text = realloc(names->text, room);
        if (!text)
            return false;
        names->text = text;
        names->room = room;
    }
    memcpy(names->text + names->size, name, size);
    names->size += size;
    return true;
}

/* All names of a directory, before anything of it is removed. */
static bool list(int folder, struct names *names)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    bool added = true;
    struct dirent *entry;
    errno = 0;
    while (added && (entry = readdir(entries)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            added = add_name(names, entry->d_name);
        errno = added ? 0 : ENOMEM;
    }
    int number = errno;
    (void)closedir(entries);
    errno = number;
    return number == 0;
}

/* Unlink all that is no directory; the names of the directories, which the caller frees. */
static bool remove_files(int folder, struct names *folders)
{
    struct names names = {NULL, 0, 0};
    bool done = list(folder, &names);
    for (size_t at = 0; done && at < names.size; at += strlen(names.text + at) + 1) {
        if (unlinkat(folder, names.text + at, 0) != 0)
            done = errno == EISDIR && add_name(folders, names.text + at);
    }
    int number = errno;
    free(names.text);
    errno = number;
    return done;
}

/* Rename into `top` under the next number that is free there. */
static bool move_up(const char *name, int source, int top, unsigned long *number)
{
    struct stat found;
    char target[32];
    int below = open_folder(name, source); /* moving a directory takes the right to write it */
    if (below < 0)
        return false;
    (void)close(below);
    do
        (void)snprintf(target, sizeof target, "%lu", (*number)++);
    while (fstatat(top, target, &found, AT_SYMLINK_NOFOLLOW) == 0);
    return errno == ENOENT && renameat(source, name, top, target) == 0;
}

/* One directory of `top`: its files go, its directories go up. */
static bool flatten(const char *folder, int top, dev_t device, unsigned long *number)
{
    struct stat found;
    struct names folders = {NULL, 0, 0};
    int below = open_folder(folder, top);
    if (below < 0)
        return false;
    bool done = fstat(below, &found) == 0;
    if (done && found.st_dev != device) {
        done = false;
        errno = EXDEV; /* a mount point */
    }
    done = done && remove_files(below, &folders);
    for (size_t at = 0; done && at < folders.size; at += strlen(folders.text + at) + 1)
        done = move_up(folders.text + at, below, top, number);
    int failed = errno;
    free(folders.text);
    (void)close(below);
    errno = failed;
    return done && unlinkat(top, folder, AT_REMOVEDIR) == 0;
}

/* Remove all in an open directory.
 *
 * The directories of a directory are not descended into but moved up into `top`, so the depth is always one: no
 * recursion, two descriptors, and no way back up by "..", which could lead elsewhere by then. */
static bool empty(int top)
{
    struct stat found;
    unsigned long number = 0;
    if (fstat(top, &found) != 0)
        return false;
    for (;;) {
        struct names folders = {NULL, 0, 0};
        bool done = remove_files(top, &folders);
        for (size_t at = 0; done && at < folders.size; at += strlen(folders.text + at) + 1)
            done = flatten(folders.text + at, top, found.st_dev, &number);
        bool any = folders.size > 0;
        int failed = errno;
        free(folders.text);
        errno = failed;
        if (!done || !any)
            return done;
    }
}

int private_remove(const char *path)
{
    const char *name = strrchr(path, '/') + 1; /* it is absolute: private_make made it */
    size_t size = (size_t)(name - path);
    char *parent = strndup(path, size > 1 ? size - 1 : size); /* with a final "/" a link would be followed */
    int at = parent ? open(parent, FOLDER) : -1;
    int number = at < 0 ? errno : 0;
    free(parent);
    if (at < 0)
        return number;
    int top = open_folder(name, at);
    if (top < 0 || !empty(top) || unlinkat(at, name, AT_REMOVEDIR) != 0)
        number = errno;
    if (top >= 0)
        (void)close(top);
    (void)close(at);
    return number == ENOENT ? 0 : number;
}
