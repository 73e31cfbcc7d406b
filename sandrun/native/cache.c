/* The plan cache, read. Twin of sandrun/plancache/place.py and entry.py, which write it, and whose package says why a hit is safe.
 *
 * Nothing is told of what is wrong here: whatever it is, the plan is made anew.
 */
#include "sandrun.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { VERSION = 6, MOST_WORDS = 64, MOST_GROUPS = 4096, MOST_BYTES = 1 << 23, MOST_ACCOUNTS = 1 << 22, SALT = 16 };
enum { DIGEST_RECORD, SALT_RECORD, FACTS_RECORD, PLAN_RECORD, VALUES_RECORD, FLAGS_RECORD, PLANNED_RECORD };

static const char MAGIC[8] = "SRCACHE";
static const char STATUS_FD[] = "--status-fd";
static const char VARIABLE[] = "SANDRUN_CACHE";
static const char EXECUTOR[] = "SANDRUN_EXECUTOR=";
static const char ACCOUNTS[] = "/etc/passwd";
static const char BELOW_HOME[] = ".local/state/sandrun/plans"; /* a part of what no sandbox may write: plan/trusted.py */

const char *environment_get(const char *name, size_t size)
{
    for (char **at = environ; at && *at; at++)
        if (strncmp(*at, name, size) == 0 && (*at)[size] == '=')
            return *at + size + 1;
    return NULL;
}

/* All of a regular file of at most so many bytes, with a NUL behind it; NULL if that cannot be had. */
static char *read_all(int fd, size_t most, size_t *size)
{
    struct stat found;
    if (fstat(fd, &found) < 0 || !S_ISREG(found.st_mode) || (uintmax_t)found.st_size > most)
        return NULL;
    char *data = must_alloc((size_t)found.st_size + 1, 1);
    *size = 0;
    while (*size < (size_t)found.st_size) {
        ssize_t part = read(fd, data + *size, (size_t)found.st_size - *size);
        if (part <= 0) {
            free(data);
            return NULL;
        }
        *size += (size_t)part;
    }
    return data;
}

/* --- where it is ---------------------------------------------------------------------------------------------------- */

/* The home in a line of passwd(5), if it is this user's; it is cut out of the line. */
static char *home_in(char *line, uid_t user)
{
    char *field[7] = {line};
    for (int at = 1; at < 7; at++) {
        char *colon = strchr(field[at - 1], ':');
        if (!colon)
            return NULL;
        *colon = 0;
        field[at] = colon + 1;
    }
    char *end;
    errno = 0;
    unsigned long number = strtoul(field[2], &end, 10);
    if (errno != 0 || field[2][0] < '0' || field[2][0] > '9' || *end != 0 || number != user || field[0][0] == '+')
        return NULL;
    return field[5];
}

/* Not HOME: what an earlier command could have written must not say where the next launch looks. */
static char *home_of(uid_t user)
{
    int fd = open(ACCOUNTS, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t size;
    char *line = fd < 0 ? NULL : read_all(fd, MOST_ACCOUNTS, &size);
    if (fd >= 0)
        (void)close(fd);
    while (line && *line) {
        char *end = strchr(line, '\n');
        if (end)
            *end = 0;
        char *home = home_in(line, user);
        if (home)
            return home[0] == '/' ? home : NULL;
        line = end ? end + 1 : NULL;
    }
    return NULL;
}

static int open_without_links(int base, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, base, path, &how, sizeof how);
}

/* The directory of the entries, or -1: there is none, or it is not this user's alone. */
static int open_place(void)
{
    const char *named = environment_get(VARIABLE, sizeof VARIABLE - 1);
    int fd = -1;
    if (named) {
        fd = named[0] == '/' ? open_without_links(AT_FDCWD, named) : -1;
    } else {
        const char *home = home_of(geteuid());
        int base = home ? open(home, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        if (base >= 0) {
            fd = open_without_links(base, BELOW_HOME);
            (void)close(base);
        }
    }
    struct stat found;
    if (fd >= 0 && (fstat(fd, &found) < 0 || found.st_uid != geteuid() || (found.st_mode & 07777) != 0700)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

/* --- under which name ----------------------------------------------------------------------------------------------- */

static void add_u32(struct sha256 *hash, uint32_t number)
{
    sha256_add(hash, &number, sizeof number);
}

static void add_text(struct sha256 *hash, const char *text, size_t size)
{
    add_u32(hash, (uint32_t)size);
    sha256_add(hash, text, size);
}

static int by_variable(const void *left, const void *right)
{
    const char *one = *(char *const *)left, *other = *(char *const *)right;
    size_t first = strcspn(one, "="), second = strcspn(other, "=");
    int order = memcmp(one, other, first < second ? first : second);
    return order != 0 ? order : (first > second) - (first < second);
}

/* The names of the environment, each once: a variable may be asked for by a pattern. Not the executor's: the plan is the
 * same for both, and Python sets it. */
static void add_names(struct sha256 *hash)
{
    size_t count = 0, kept = 0;
    for (char **at = environ; at && *at; at++)
        count++;
    char **names = must_alloc(count, sizeof *names);
    for (size_t at = 0; at < count; at++)
        if (strchr(environ[at], '=') && strncmp(environ[at], EXECUTOR, sizeof EXECUTOR - 1) != 0)
            names[kept++] = environ[at];
    qsort(names, kept, sizeof *names, by_variable);
    for (size_t at = 0; at < kept; at++)
        if (at == 0 || by_variable(&names[at - 1], &names[at]) != 0)
            add_text(hash, names[at], strcspn(names[at], "="));
    add_u32(hash, UINT32_MAX);
    free(names);
}

/* All of the key but the words; see place.key in Python. */
static bool begin_digest(struct sha256 *hash, const char *program)
{
    char cwd[PATH_MAX];
    gid_t groups[MOST_GROUPS];
    int count = getgroups(MOST_GROUPS, groups);
    uid_t real, effective, saved;
    gid_t real_group, group, saved_group;
    if (!getcwd(cwd, sizeof cwd) || cwd[0] != '/' || count < 0 ||
        getresuid(&real, &effective, &saved) < 0 || getresgid(&real_group, &group, &saved_group) < 0 ||
        real != effective || saved != effective || real_group != group || saved_group != group)
        return false;
    sha256_begin(hash);
    sha256_add(hash, MAGIC, sizeof MAGIC);
    add_u32(hash, VERSION);
    add_u32(hash, PLAN_VERSION);
    add_text(hash, program, strlen(program));
    add_u32(hash, effective);
    add_u32(hash, group);
    add_u32(hash, (uint32_t)count);
    for (int at = 0; at < count; at++)
        add_u32(hash, groups[at]);
    add_text(hash, cwd, strlen(cwd));
    add_names(hash);
    return true;
}

/* --- what is there -------------------------------------------------------------------------------------------------- */

/* A sum that differs if one byte does: a disk's mistake, since nobody else writes here. It is the remainder of all bytes as
 * one number, little-endian, by the prime 2^61 - 1, which Python has in one division. Word by word from the last one,
 * 2^64 leaves 8. */
static uint64_t checksum(const uint8_t *data, size_t size)
{
    const uint64_t prime = (UINT64_C(1) << 61) - 1;
    uint64_t sum = 0;
    for (size_t left = size; left > 0;) {
        size_t length = left % 8 ? left % 8 : 8; /* the last word may be short, no other is */
        uint64_t word = 0;
        left -= length;
        memcpy(&word, data + left, length);
        uint64_t eightfold = sum << 3; /* below 2^64, as each sum is below the prime */
        sum = (eightfold & prime) + (eightfold >> 61) + (word & prime) + (word >> 61);
        sum = (sum & prime) + (sum >> 61);
        sum = sum >= prime ? sum - prime : sum;
    }
    return sum ^ size;
}

static bool read_entry(const uint8_t *data, size_t size, const uint8_t digest[SHA256_SIZE], struct launch *launch)
{
    struct reader in = {data, data + size, size < sizeof MAGIC + 12};
    uint32_t version;
    if (in.failed || memcmp(data, MAGIC, sizeof MAGIC) != 0)
        return false;
    memcpy(&version, data + sizeof MAGIC, sizeof version);
    in.at += sizeof MAGIC + sizeof version;
    uint64_t sum = reader_u64(&in);
    if (version != VERSION || checksum(in.at, (size_t)(in.end - in.at)) != sum)
        return false;
    struct reader record = reader_record(&in, DIGEST_RECORD);
    struct bytes name = reader_bytes(&record);
    record = reader_record(&in, SALT_RECORD);
    struct bytes salt = reader_bytes(&record);
    struct reader facts = reader_record(&in, FACTS_RECORD);
    struct bytes records = {(const char *)in.at, in.failed ? 0 : (size_t)(in.end - in.at)};
    struct reader plan = reader_record(&in, PLAN_RECORD);
    if (in.failed || name.size != SHA256_SIZE || memcmp(name.data, digest, SHA256_SIZE) != 0 || salt.size != SALT)
        return false;
    launch_empty(launch);
    launch->facts = facts;
    launch->salt = salt;
    launch->records = records;
    record = reader_record(&in, VALUES_RECORD);
    launch->values = reader_strings(&record);
    bool failed = record.failed;
    record = reader_record(&in, FLAGS_RECORD);
    launch->flags = reader_u64(&record);
    failed |= record.failed;
    record = reader_record(&in, PLANNED_RECORD);
    launch->planned = reader_bytes(&record);
    return !failed && !record.failed && !in.failed && in.at == in.end &&
           plan_decode(plan.at, (size_t)(plan.end - plan.at), &launch->plan) &&
           launch->values.count == launch->plan.env_set.count && launch->plan.argv.count == 1;
}

/* The entry of this name, if it is a file of this user's alone. */
static bool try_entry(int place, const uint8_t digest[SHA256_SIZE], struct launch *launch)
{
    static const char hex[] = "0123456789abcdef";
    char name[2 * SHA256_SIZE + 1] = "";
    for (int at = 0; at < 2 * SHA256_SIZE; at++)
        name[at] = hex[digest[at / 2] >> (at % 2 ? 0 : 4) & 15];
    int fd = openat(place, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    struct stat found;
    size_t size = 0;
    char *data = NULL;
    if (fstat(fd, &found) == 0 && found.st_uid == geteuid() && (found.st_mode & 07777) == 0600 && found.st_nlink == 1)
        data = read_all(fd, MOST_BYTES, &size);
    (void)close(fd);
    if (data && read_entry((uint8_t *)data, size, digest, launch))
        return true; /* the facts are where they were read */
    free(data);
    return false;
}

/* The command's words are those of this call: the entry has its name only. */
static void put_words(struct launch *launch, char *const words[])
{
    size_t count = 0;
    while (words[count])
        count++;
    struct strings argv = {must_alloc(count, sizeof *argv.at), count};
    for (size_t at = 0; at < count; at++)
        argv.at[at] = (struct bytes){words[at], strlen(words[at])};
    launch->plan.argv = argv;
}

/* The number in `--status-fd NUMBER`, if the words begin with it: there it is an option for sure. -1: they do not.
 *
 * It is no part of the key: programs have another one each time. */
static int status_fd_of(char *const words[])
{
    const size_t most = 9; /* digits, below INT_MAX */
    if (!words[0] || strcmp(words[0], STATUS_FD) != 0 || !words[1] || !words[2])
        return -1;
    size_t size = strspn(words[1], "0123456789");
    return size > 0 && size <= most && words[1][size] == 0 ? atoi(words[1]) : -1;
}

/* Take the descriptor for events. False: something is wrong with it, which is for Python to say. */
static bool take_status_fd(struct launch *launch, int fd)
{
    int mode = fd < 3 ? -1 : fcntl(fd, F_GETFL);
    if (mode < 0 || (mode & O_ACCMODE) == O_RDONLY)
        return false;
    for (size_t at = 0; at < launch->plan.pass_fds.count; at++)
        if (launch->plan.pass_fds.at[at] == fd)
            return false;
    launch->status_fd = fd;
    return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

bool cache_find(const char *program, char *const words[], struct launch *launch)
{
    struct sha256 hash;
    int place = open_place();
    int status_fd = status_fd_of(words);
    bool found = false;
    size_t at = 0;
    if (place >= 0 && begin_digest(&hash, program)) {
        if (status_fd >= 0) {
            add_text(&hash, STATUS_FD, sizeof STATUS_FD); /* with its NUL, so that no word is taken for it */
            at = 2;
        }
        for (; words[at] && at < MOST_WORDS && !found; at++) {
            add_text(&hash, words[at], strlen(words[at]));
            /* The command's name, which ends the key, starts with a dash only behind "--". */
            if (words[at][0] == '-' && (at == 0 || strcmp(words[at - 1], "--") != 0))
                continue;
            uint8_t digest[SHA256_SIZE];
            sha256_end(hash, digest);
            found = try_entry(place, digest, launch);
            if (found) {
                launch->first_word = at;
                put_words(launch, words + at);
            }
        }
    }
    if (place >= 0)
        (void)close(place);
    return found && (status_fd < 0 || take_status_fd(launch, status_fd));
}
