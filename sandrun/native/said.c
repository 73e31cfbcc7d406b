/* What this program says to Python before that takes its place. Twin of sandrun/native/said.py. */
#include "sandrun.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

/* A limit on the size of files holds for this one as well: then the write is to fail, not the process. */
static bool write_within_limits(int fd, const char *data, size_t size)
{
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    bool is_whole = write_all(fd, data, size) == 0;
    (void)signal(SIGXFSZ, before);
    return is_whole;
}

/* In a sealed memfd with the id of this process, since a variable alone could be the caller's. Python closes it. */
static bool leave(const char *kind, const char *words, struct bytes more)
{
    char text[128];
    int size = snprintf(text, sizeof text, "%d:%s", (int)getpid(), words);
    int fd = memfd_create("sandrun-said", MFD_ALLOW_SEALING);
    bool is_told = fd >= 0 && size > 0 && (size_t)size < sizeof text &&
                   write_within_limits(fd, text, (size_t)size) &&
                   write_within_limits(fd, more.data, more.size) && fcntl(fd, F_ADD_SEALS, SEALS) == 0 &&
                   snprintf(text, sizeof text, "%s:%d", kind, fd) > 0 && setenv("SANDRUN_EXECUTOR", text, 1) == 0;
    if (fd >= 0 && !is_told)
        (void)close(fd);
    return is_told;
}

bool leave_words(const char *words)
{
    return leave("python", words, (struct bytes){"", 0});
}

bool leave_launch(const struct launch *launch, const char *executor)
{
    char words[96];
    int size = snprintf(words, sizeof words, "%s:%zu:%d\n", executor, launch->first_word, launch->status_fd);
    return size > 0 && (size_t)size < sizeof words && leave("kept", words, launch->records);
}
