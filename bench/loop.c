/* Do nothing but syscalls, and print what one of each took: NAME NANOSECONDS a line, of the fastest of CHUNKS chunks, since
 * whatever else the machine does only adds. Usage: loop FILE, a file that may be opened. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CHUNKS = 25, CALLS = 4000 };

static int source, sink;
static const char *file;
static char byte;

static void do_getppid(void)
{
    if (syscall(SYS_getppid) < 0)
        _exit(1);
}

static void do_read(void)
{
    if (read(source, &byte, 1) != 1)
        _exit(1);
}

static void do_write(void)
{
    if (write(sink, &byte, 1) != 1)
        _exit(1);
}

static void do_fstat(void)
{
    struct stat found;
    if (fstat(sink, &found))
        _exit(1);
}

static void do_openat(void)
{
    int fd = openat(AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || close(fd))
        _exit(1);
}

static void do_byte(void)
{
    do_read();
    do_write();
}

static double once(void (*call)(void))
{
    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (int left = CALLS; left > 0; left--)
        call();
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return ((double)(ended.tv_sec - begun.tv_sec) * 1e9 + (double)(ended.tv_nsec - begun.tv_nsec)) / CALLS;
}

int main(int argc, char *argv[])
{
    static const struct {
        const char *name;
        void (*call)(void);
    } all[] = {{"getppid", do_getppid}, {"read a byte", do_read},   {"write a byte", do_write},
               {"fstat", do_fstat},     {"openat, close", do_openat}, {"a byte through", do_byte}};
    if (argc != 2)
        return 2;
    file = argv[1];
    source = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (source < 0 || sink < 0)
        return 2;
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) {
        double least = 0;
        for (int chunk = 0; chunk < CHUNKS; chunk++) {
            double took = once(all[at].call);
            if (!chunk || took < least)
                least = took;
        }
        printf("%s\t%.1f\n", all[at].name, least);
    }
    return 0;
}
