/* What a run leaves word of: lines on stderr, the JSON lines of --status-fd, the file of --report.
 *
 * Twin of sandrun/report.py and sandrun/cli/record.py. The report comes from Python as text with gaps, and only numbers
 * and words of this file go into the gaps. Nothing here shows what the command chose.
 */
#include "sandrun.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_LATER_CHECK = 123 };
enum { SCHEMA = 1 };

int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0)
            return errno;
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

/* A line for stderr. If it takes none there is nobody left to tell. */
void say(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size < 0)
        return;
    char *line = must_alloc((size_t)size + 16, 1);
    char *end = stpcpy(stpcpy(stpcpy(line, "sandrun: "), text), "\n");
    (void)write_all(STDERR_FILENO, line, (size_t)(end - line));
    free(line);
    free(text);
}

const char *printable(const char *name)
{
    char *text = must_alloc(strlen(name) + 1, 4);
    char *end = text;
    for (; *name; name++)
        end += sprintf(end, *name >= ' ' && *name < 0x7f ? "%c" : "\\x%02x", (unsigned char)*name);
    return text;
}

const char *reason(int number, char room[128])
{
#ifdef __GLIBC__
    const char *name = strerrorname_np(number);
    if (name) {
        (void)snprintf(room, 128, "%s (%s)", strerrordesc_np(number), name);
        return room;
    }
#endif
    (void)snprintf(room, 128, "%s (%d)", strerror(number), number);
    return room;
}

/* --- --status-fd -------------------------------------------------------------------------------------------------------------- */

/* One or two events at once: a reader in a program with busy threads waits for its turn each time. A reader that went away
 * is warned of, once; the command is not harmed by it. */
static void send_event(const struct launch *launch, struct bytes before, const char *event, const char *values)
{
    static bool warned;
    char room[128];
    char *lines = NULL;
    if (launch->status_fd < 0)
        return;
    int size = asprintf(&lines, "%s{\"sandrun\": %d, \"event\": \"%s\", %s}\n", before.size ? before.data : "", SCHEMA,
                        event, values);
    if (size < 0)
        out_of_memory();
    int number = write_all(launch->status_fd, lines, (size_t)size);
    free(lines);
    if (number != 0 && !warned) {
        say("warning: cannot write: --status-fd %d: %s", launch->status_fd, reason(number, room));
        warned = true;
    }
}

void report_event_started(const struct launch *launch, pid_t pid)
{
    char values[32];
    (void)snprintf(values, sizeof values, "\"pid\": %d", pid);
    send_event(launch, launch->planned, "exec", values);
}

/* --- --report ------------------------------------------------------------------------------------------------------------------- */

static const char *how(const struct outcome *outcome)
{
    return outcome->timed_out ? "timeout" : outcome->signal ? "signal" : "exit";
}

static void put_survivors(FILE *file, const struct outcome *outcome)
{
    (void)fputc('[', file);
    for (size_t at = 0; at < outcome->survivors.count; at++)
        (void)fprintf(file, "%s%" PRId64, at ? ", " : "", outcome->survivors.at[at]);
    (void)fputc(']', file);
}

/* The directories as JSON: `place` is the text before the part of a name that was made up here. */
static void put_left(FILE *file, const struct outcome *outcome, const char *place)
{
    char room[128];
    (void)fputc('[', file);
    for (size_t at = 0; at < outcome->left.count; at++) {
        const char *path = outcome->left.at[at].data;
        (void)fprintf(file, "%s{\"path\": %s%s\", \"reason\": \"%s\"}", at ? ", " : "", place, strrchr(path, '-'),
                      reason((int)outcome->why.at[at], room));
    }
    (void)fputc(']', file);
}

/* The text of the report: the pieces of Python, and between them what is known now. Two more are the place of private
 * directories, and the path of the report for a message. */
static void put_report(FILE *file, const struct launch *launch, const struct outcome *outcome)
{
    const struct bytes *piece = launch->report.at;
    (void)fprintf(file, "%s%d", piece[0].data, outcome->status_of_sandrun);
    (void)fprintf(file, "%s\"%s\"", piece[1].data, how(outcome));
    (void)fprintf(file, "%s%d", piece[2].data, outcome->status);
    (void)fprintf(file, "%s%d", piece[3].data, outcome->signal);
    (void)fprintf(file, "%s%.6f", piece[4].data, outcome->wall);
    (void)fprintf(file, "%s%.6f", piece[5].data, outcome->user);
    (void)fprintf(file, "%s%.6f", piece[6].data, outcome->system);
    (void)fprintf(file, "%s%" PRIu64, piece[7].data, outcome->max_rss);
    (void)fprintf(file, "%s%d", piece[8].data, outcome->killed);
    (void)fputs(piece[9].data, file);
    put_survivors(file, outcome);
    (void)fputs(piece[10].data, file);
    put_left(file, outcome, piece[12].data);
    (void)fputs(piece[11].data, file);
}

/* Write the file under a name that nobody can guess, and put it in place. 0 or an errno. */
static int write_report(const struct launch *launch, const struct outcome *outcome)
{
    int directory = launch->report_directory;
    const char *temporary = launch->report_temporary.data;
    int fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        int failed = errno;
        if (fd >= 0)
            (void)unlinkat(directory, temporary, 0);
        return failed;
    }
    put_report(file, launch, outcome);
    bool failed = ferror(file) != 0; /* of what was too much for the buffer; fclose tells of the rest */
    int number = failed ? ENOSPC : 0;
    if (fclose(file) != 0)
        number = errno;
    if (number == 0 && renameat(directory, temporary, directory, launch->report_name.data) != 0)
        number = errno;
    if (number != 0)
        (void)unlinkat(directory, temporary, 0);
    return number;
}

/* --- the end ------------------------------------------------------------------------------------------------------------------------ */

/* The lines about how the command ended, where its status alone would leave the user guessing. */
static void say_ending(const struct outcome *outcome)
{
    char room[128];
    if (outcome->timed_out) {
        say("the command was ended by the timeout");
    } else if (outcome->signal == SIGSYS) {
        say("the command died of SIGSYS: it made a syscall that the profile refuses with kill-process");
        say("hint: the kernel log names it (journalctl -k -g type=1326, \"syscall=\")");
    }
    if (outcome->survivors.count > 0) {
        char *text = must_alloc(outcome->survivors.count, 24);
        char *end = text;
        for (size_t at = 0; at < outcome->survivors.count; at++)
            end += sprintf(end, "%s%" PRId64, at ? ", " : "", outcome->survivors.at[at]);
        say("cannot end processes of the command: %s", text);
        free(text);
    }
    for (size_t at = 0; at < outcome->left.count; at++)
        say("cannot remove: %s: %s", printable(outcome->left.at[at].data), reason((int)outcome->why.at[at], room));
}

int report_ended(const struct launch *launch, const struct outcome *outcome)
{
    char values[320];
    char room[128];
    int status = outcome->status_of_sandrun;
    say_ending(outcome);
    (void)snprintf(values, sizeof values,
                   "\"status\": %d, \"signal\": %d, \"how\": \"%s\", \"wall\": %.6f, \"user\": %.6f, \"system\": %.6f, "
                   "\"max_rss\": %" PRIu64 ", \"killed\": %d, \"resources\": null",
                   status, outcome->signal, how(outcome), outcome->wall, outcome->user, outcome->system,
                   outcome->max_rss, outcome->killed);
    send_event(launch, (struct bytes){0}, "exit", values);
    if (launch->report_directory < 0)
        return status;
    int number = write_report(launch, outcome);
    send_event(launch, (struct bytes){0}, "report", number == 0 ? "\"written\": true" : "\"written\": false");
    if (number == 0)
        return status;
    say("cannot write the report: %s: %s", launch->report.at[13].data, reason(number, room));
    return status ? status : EXIT_LATER_CHECK;
}
