/* The child of a supervisor in Python, which has made ready what a plan takes beside it: the relay, the observer, the
 * directories of an overlay, a control group. Twin of the fork in sandrun/launch.py; sandrun/native/child.py writes the
 * document.
 *
 * What is not as the document says is told as TOLD_NOT_SERVED before anything has been done, and Python's own fork takes
 * over, which has the words for what is wrong.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXIT_SANDRUN = 125, CHILD_VERSION = 1 };
enum { NEW_SESSION = 1, OWN_GROUP = 2, FOREGROUND = 4 };
enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };
#define CHILD_MAGIC "SRCHILD\0"

void *sealed_document(const char *number, size_t *size)
{
    struct stat found;
    char *end;
    long fd = strtol(number, &end, 10);
    if (*end != 0 || fd < 3 || fd > INT_MAX || fstat((int)fd, &found) != 0 || found.st_size <= 0)
        return NULL;
    int seals = fcntl((int)fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS)
        return NULL;
    *size = (size_t)found.st_size;
    void *data = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, (int)fd, 0);
    return close((int)fd) == 0 && data != MAP_FAILED ? data : NULL;
}

static int read_fd(struct reader *in)
{
    uint64_t number = reader_u64(in);
    return number <= INT_MAX ? (int)number : -1;
}

static void read_numbers(struct reader *in, struct given *given)
{
    uint64_t flags = reader_u64(in);
    given->watch = (struct watch){.new_session = flags & NEW_SESSION, .own_group = flags & OWN_GROUP,
                                  .foreground = flags & FOREGROUND, .signal_fd = -1};
    given->watch.ignored = reader_u64(in);
    given->watch.terminal = read_fd(in);
    given->error_fd = read_fd(in);
    given->supervisor = read_fd(in);
    given->held = read_fd(in);
    given->relay = read_fd(in);
    given->calls = read_fd(in);
    given->answer = read_fd(in);
    given->place = reader_u64(in);
    given->permitted = reader_u64(in);
    given->effective = reader_u64(in);
    in->failed |= in->at != in->end;
}

static struct strings read_texts(struct reader *in, unsigned tag)
{
    struct reader record = reader_record(in, tag);
    struct strings texts = reader_strings(&record);
    for (size_t at = 0; at < texts.count; at++)
        record.failed |= memchr(texts.at[at].data, 0, texts.at[at].size) != NULL;
    in->failed |= record.failed;
    return texts;
}

bool given_read(const uint8_t *data, size_t size, struct given *given)
{
    const size_t head = sizeof CHILD_MAGIC - 1;
    *given = (struct given){.error_fd = -1};
    if (size < head || memcmp(data, CHILD_MAGIC, head) != 0)
        return false;
    struct reader in = {data + head, data + size, false};
    struct reader numbers = reader_record(&in, 0);
    bool known = reader_u64(&numbers) == CHILD_VERSION;
    read_numbers(&numbers, given);
    struct reader plan = reader_record(&in, 1);
    given->environment = read_texts(&in, 2);
    given->private = read_texts(&in, 3);
    given->overlays = read_texts(&in, 4);
    struct reader groups = reader_record(&in, 5);
    given->groups.count = (size_t)(groups.end - groups.at) / sizeof(uint64_t);
    given->groups.at = must_alloc(given->groups.count, sizeof *given->groups.at);
    for (size_t at = 0; at < given->groups.count; at++)
        given->groups.at[at] = read_fd(&groups);
    in.failed |= numbers.failed || groups.failed || groups.at != groups.end || in.at != in.end;
    return known && !in.failed && given->error_fd >= 0 && given->supervisor >= 0 &&
           plan_decode(plan.at, (size_t)(plan.end - plan.at), &given->plan);
}

/* Nothing of this survives execve(2). They came without close-on-exec, or they would not have survived ours. */
static bool close_on_exec(const struct given *given)
{
    const int fds[] = {given->error_fd, given->supervisor, given->held, given->relay, given->calls, given->answer};
    for (size_t at = 0; at < sizeof fds / sizeof *fds; at++) {
        if (fds[at] >= 0 && (fds[at] < 3 || fcntl(fds[at], F_SETFD, FD_CLOEXEC) != 0))
            return false;
    }
    if (given->watch.terminal > 2 && fcntl(given->watch.terminal, F_SETFD, FD_CLOEXEC) != 0)
        return false;
    for (size_t at = 0; at < given->groups.count; at++) {
        int fd = (int)given->groups.at[at];
        if (fd < 3 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
            return false;
    }
    return true;
}

/* Whether execve(2), by which we came to be, left the capabilities as a fork does (capabilities(7)). */
static bool holds_the_same(const struct given *given)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        return false;
    return (data[0].permitted | (uint64_t)data[1].permitted << 32) == given->permitted &&
           (data[0].effective | (uint64_t)data[1].effective << 32) == given->effective;
}

void be_child(const char *number)
{
    struct given given;
    size_t size;
    /* Before anything is read: what the document holds is not the business of others of this user. */
    void *data = control(PR_SET_DUMPABLE, 0, 0) == 0 ? sealed_document(number, &size) : NULL;
    if (!data || !given_read(data, size, &given))
        _exit(EXIT_SANDRUN);
    struct job *job = close_on_exec(&given) && holds_the_same(&given) ? job_of(&given) : NULL;
    /* Whatever was read from it has been copied. */
    if (munmap(data, size) == 0 && job)
        child_walk(job);
    struct told told = {TOLD_NOT_SERVED, 0, 0};
    _exit(write(given.error_fd, &told, sizeof told) == sizeof told ? 0 : EXIT_SANDRUN);
}
