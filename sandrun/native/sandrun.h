/* What the files of the native executor share: the plan as it is in memory, a launch, and who does what.
 *
 * The plan is resolved in Python (sandrun/plan); here it is only executed. Whatever cannot be done before the command
 * runs ends in `false` or in a failed step, and the caller hands over to the Python executor, which does it again and
 * has the words for what went wrong. So there are no messages about failures here.
 */
#ifndef SANDRUN_H
#define SANDRUN_H

#define _GNU_SOURCE
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* --- plan.c: the bytes of sandrun/plan/format.py ------------------------------------------------------------------ */

struct bytes { /* `data` has a NUL behind it that `size` does not count */
    const char *data;
    size_t size;
};
struct strings { struct bytes *at; size_t count; };
struct integers { int64_t *at; size_t count; };
struct pair { uint64_t first, second; };
struct pairs { struct pair *at; size_t count; };
struct triple { uint64_t first, second, third; };
struct triples { struct triple *at; size_t count; };
struct rule { uint64_t access; int kind; struct bytes path; };
struct rules { struct rule *at; size_t count; };
struct record { uint64_t operation, flags; struct bytes path, source; };
struct records { struct record *at; size_t count; };

#include "plan_fields.h" /* made from FIELDS by tools/gen_plan_fields.py: struct plan, one member a field; PLAN_VERSION */

/* Read a plan. False for anything but the bytes of a plan of PLAN_VERSION. Strings that the kernel gets hold no NUL.
 * What it allocates is never freed: one process, one plan. */
bool plan_decode(const uint8_t *data, size_t size, struct plan *plan);

/* The cursor under it, for other documents of records `tag:u16 length:u32 payload`. */
struct reader { const uint8_t *at, *end; bool failed; };
struct reader reader_record(struct reader *in, unsigned tag);
uint64_t reader_u64(struct reader *in);
struct bytes reader_bytes(struct reader *in);           /* all that is left */
struct strings reader_strings(struct reader *in);
void *must_alloc(size_t count, size_t size);            /* zeroed; ends the process (125) without memory */

/* --- a launch ------------------------------------------------------------------------------------------------------ */

enum { LAUNCH_QUIET = 1, LAUNCH_EXEC = 2, LAUNCH_FOOTER = 4 };

struct launch {
    struct plan plan;
    char **environment;         /* NAME=value; what private directories add comes when they are made */
    struct strings fallback;    /* the words that execute the Python executor instead of this one */
    struct strings footer;      /* the words that tell on a terminal why a run may have failed; the status goes first */
    uint64_t flags;
    int status_fd;              /* -1: none */
    int report_directory;       /* -1: no report */
    struct bytes report_name, report_temporary;
    struct strings report;      /* the JSON text around what is known at the end; see report.c */
};

/* --- child.c, view.c, rules.c --------------------------------------------------------------------------------------- */

/* What the supervisor decided before the fork; as class Watch in sandrun/watch.py. */
struct watch {
    int terminal;               /* the controlling terminal among 0 to 2, or -1 */
    bool new_session, own_group, foreground;
    uint64_t ignored;           /* the signals that the command goes on ignoring, bit N-1 for signal N */
    bool scoped;                /* kill(-1) reaches only what is below this process */
    int signal_fd;
};

struct job; /* what the child works with; made in the parent */

/* Prepare in the parent all that the child needs: descriptors, ruleset, vectors. `private` are the directories of
 * plan.private_dirs. NULL if anything is not as the plan says (a path gone, a hole, no such right): then nothing is left. */
struct job *job_prepare(const struct plan *plan, const struct watch *watch, char **environment,
                        const struct strings *private, int error_fd);
/* The descriptors that the parent closes after the fork. */
void job_close(struct job *job);
/* Walk the steps of the child and execute the command. A failure is a `struct told` on error_fd and _exit(125). */
_Noreturn void child_walk(struct job *job);

struct told { int32_t step, number, argument; }; /* RECORD of sandrun/steps.py; step may be: */
enum { TOLD_INIT = -1, TOLD_COMMAND = -2, TOLD_IDS = -3 };

bool view_make(const struct plan *plan, const struct strings *private, int ruleset_fd, int *at); /* errno is set */
int rules_create(const struct plan *plan, const struct strings *private); /* ruleset fd; -1 none; -2 cannot */
int rules_create_empty(void);                /* handles all this kernel knows, grants nothing; -1 no Landlock */
int open_path(const char *path);             /* O_PATH, no symbolic link followed anywhere; -1 and errno */

/* --- supervise.c, tree.c, private.c, report.c ------------------------------------------------------------------------ */

/* Launch and supervise. The exit status of sandrun; or -1 if the command did not run and nothing is left of the attempt. */
int run(struct launch *launch);

/* --- front.c, cache.c, main.c ----------------------------------------------------------------------------------------- */

/* Read the document of sandrun/native/handoff.py. */
bool launch_read(const uint8_t *data, size_t size, struct launch *launch);

/* --- interpreter.c ---------------------------------------------------------------------------------------------------- */

/* Execute the Python half with these words (without argv[0]; NULL ends them). Ends the process (125) where it is not there. */
_Noreturn void python_exec(char *const words[], char *const environment[]);

#endif
