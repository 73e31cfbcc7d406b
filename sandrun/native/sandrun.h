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
void *must_alloc(size_t count, size_t size);            /* zeroed; or else: */
_Noreturn void out_of_memory(void);                     /* says so and ends the process (125) */

/* --- a launch ------------------------------------------------------------------------------------------------------ */

enum { LAUNCH_EXEC = 1, LAUNCH_FOOTER = 2, LAUNCH_TOLD = 4, LAUNCH_PYTHON = 8 };
/* No supervisor; Python explains a failure on a terminal; Python has said already what there is to say before a launch, and
 * the sum of that stands in the upper 32 bits; the supervisor is Python's. */

enum { REPORT_PIECES = 14 };

struct launch {
    struct plan plan;
    struct strings values;      /* of plan.env_set, in its order */
    uint64_t flags;
    int status_fd;              /* -1: none */
    int report_directory;       /* -1: no report */
    struct bytes report_name, report_temporary;
    struct strings report;      /* the JSON text around what is known at the end; see report.c */
    struct reader facts;        /* of a plan from the plan cache: they hold before anything is made or executed for it */
    struct bytes salt;
    struct bytes records;       /* of such a plan, from itself on, as they stand in the entry */
    size_t first_word;          /* which word of the command line is the command's name */
    struct bytes planned;       /* the event of that name, where the plan cache has it and nobody has told it */
    bool is_stale;              /* out: they do not hold */
    int end_code, end_status;   /* out: how a child ended without a word before the command (waitid(2)); or 0 */
};

/* --- child.c, view.c, rules.c --------------------------------------------------------------------------------------- */

/* What the supervisor decided before the fork; as class Watch in sandrun/watch.py. */
struct watch {
    int terminal;               /* the controlling terminal among 0 to 2, or -1 */
    bool new_session, own_group, foreground;
    uint64_t ignored;           /* the signals that the command goes on ignoring, bit N-1 for signal N */
    bool scoped;                /* kill(-1) reaches only what is below this process */
    int signal_fd;
    int go;                     /* the child reads a byte from it before it opens or executes anything; 0: no need */
    bool alone;                 /* there is no supervisor: this process itself becomes the command (--exec) */
};

struct job; /* what the child works with; made in the parent */

/* What a supervisor in Python has opened for the child, by the numbers of the descriptors (-1: none), and told it; see
 * sandrun/native/child.py. All of it comes from a document, as the plan does. */
struct given {
    struct watch watch;
    int error_fd, supervisor;   /* where the child tells; a pidfd of the supervisor */
    int held;                   /* stays open in the init process as long as that lives */
    int relay, calls;           /* sockets for the sockets of the network namespace, and for the listener of calls */
    int answer;                 /* is read once ids have been asked for */
    uint64_t place;             /* where the calls behind the listener come from, as its filter knows them; 0: anywhere */
    uint64_t permitted, effective; /* the capabilities of the supervisor */
    struct plan plan;
    struct strings environment, private, overlays; /* two directories for each overlay: upper and work */
    struct integers groups;     /* of each control group cgroup.procs, open for writing */
};

/* Be the child of a supervisor in Python, by the document in this memfd. Twin of what sandrun/launch.py forks. */
_Noreturn void be_child(const char *number);
bool given_read(const uint8_t *data, size_t size, struct given *given);
/* Map a sealed memfd, and close it: should the command be promised its number, it must not be there. NULL: it is none. */
void *sealed_document(const char *number, size_t *size);

enum share { ALL, FIRST_HALF, SECOND_HALF }; /* of the rules, where parent and child fill a ruleset together */

/* Prepare in the parent all that the child needs: descriptors, ruleset, vectors. `private` are the directories of
 * plan.private_dirs. NULL if anything is not as the plan says (a path gone, a hole, no such right): then nothing is left.
 * Where the child waits for a byte, it has yet to fill half of the ruleset, and so has the parent. */
struct job *job_prepare(const struct plan *plan, const struct watch *watch, char **environment,
                        const struct strings *private, int error_fd);
bool job_finish(const struct job *job, enum share share);
/* The same by what a supervisor in Python gave, in the child itself. */
struct job *job_of(const struct given *given);
/* Whether execve(2) closes the descriptors of plan.hold; false if they are not there. */
bool hold_close_on_exec(const struct plan *plan, bool on);
/* The descriptors that the parent closes after the fork. */
void job_close(struct job *job);
/* Walk the steps of the child and execute the command. A failure is a `struct told` on error_fd and _exit(125). */
_Noreturn void child_walk(struct job *job);

struct told { int32_t step, number, argument; }; /* RECORD of sandrun/steps.py: an index in CHILD_STEPS; step may be: */
enum { TOLD_INIT = -1, TOLD_COMMAND = -2, TOLD_IDS = -3, TOLD_NOT_SERVED = -4 };
/* The same in this process, if the watch says `alone` (then no pidfd of a supervisor, nor to die with one): what failed.
 * The error_fd of the job is -1 then. */
struct told child_become(struct job *job);
const char *step_name(int step);

/* `overlays`: two directories for each. errno is set. */
bool view_make(const struct plan *plan, const struct strings *private, const struct strings *overlays, int ruleset_fd,
               int *at);
bool view_makes_files(const struct plan *plan); /* which may be the host's, unlike mounts */
int rules_create(const struct plan *plan, const struct strings *private); /* ruleset fd; -1 none; -2 cannot */
int rules_begin(const struct plan *plan);    /* the same without a rule, to be filled */
bool rules_fill(int ruleset_fd, const struct plan *plan, const struct strings *private, enum share share);
int rules_create_empty(void);                /* handles all this kernel knows, grants nothing; -1 no Landlock; -2 cannot */
bool rules_grant_view(int ruleset_fd, const struct rules *rules); /* on what is in the view now; errno is set */
int open_path(const char *path);             /* O_PATH, no symbolic link followed anywhere; -1 and errno */

/* --- supervise.c, tree.c, private.c, report.c ------------------------------------------------------------------------ */

/* Launch and supervise. The exit status of sandrun; or -1 if the command did not run and nothing is left of the attempt. */
int run(struct launch *launch);
/* The same. -1: Python is to go on, in this process and with `environ`, which says what has been done, if anything. */
int run_or_tell(struct launch *launch);
/* Whether a plan from the plan cache would be made again now: no answer was another one, of those that it was made from. */
bool is_current(struct launch *launch);

/* Among each other. */
uint64_t now_ns(void);                      /* of the monotonic clock */
bool process_executed(pid_t pid);           /* whether a child that is not yet reaped got past execve(2) */
bool process_stopped(pid_t pid);
bool scope_signals(bool refer);             /* see scope_signals in sandrun/primitives/tree.py */
void signal_tree(bool scoped, pid_t init, int first, int second); /* the second may be 0 */
int reap(pid_t but, bool *any_left);        /* how many of them SIGKILL had ended */
int inside(pid_t init);                     /* how many live in a pid namespace, but init and our own children */
void tree_times(double *user, double *system);
int kill_tree(bool scoped, int signal_fd, pid_t init, int init_fd, struct integers *survivors);
bool private_make(const struct plan *plan, struct strings *made);
int private_remove(const char *path);       /* 0, or the errno of what could not be removed */

struct outcome {                            /* as class Outcome in sandrun/supervise.py */
    int status, signal, killed, status_of_sandrun;
    bool timed_out;
    double wall, user, system;
    uint64_t max_rss;
    struct integers survivors;
    struct strings left;                    /* private directories that could not be removed, and why */
    struct integers why;
};

void report_event_started(const struct launch *launch, pid_t pid);
int report_ended(const struct launch *launch, const struct outcome *outcome); /* the exit status of sandrun */
int write_all(int fd, const char *data, size_t size); /* all of it: 0; or an errno */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));      /* a line on stderr */
const char *printable(const char *name);    /* with all escaped that a terminal could act on; ours to keep */
const char *reason(int number, char room[128]);                              /* strerror and the name of the error */

/* --- front.c, cache.c, facts.c, sha256.c, launch.c ----------------------------------------------------------------------------------------- */

/* Read the document of sandrun/native/handoff.py. */
bool launch_read(const uint8_t *data, size_t size, struct launch *launch);
/* A launch without status fd and report, which the cache gives a plan and values. */
void launch_empty(struct launch *launch);

/* The program as `sandrun WORDS` (argv[1] and on): run what the cache has for them, else hand over to Python. */
_Noreturn void front(char *argv[]);
/* The same as `[--only=FD,...] PYTHON WORDS... -- WORDS` (argv[0] and on), for a program that knows its Python:
 * sandrun/library. With --only it keeps no other descriptors but 0 to 2. */
_Noreturn void front_of(char *argv[]);
/* A launch for these words, if there is a plan for them in the cache; would it be made again now? Its facts tell.
 * `program`: who would plan it otherwise. */
bool cache_find(const char *program, char *const words[], struct launch *launch);
/* Whether all of these facts of an entry of the cache hold now; see sandrun/plancache/facts.py. */
bool facts_hold(struct reader *facts, struct bytes salt);
const char *environment_get(const char *name, size_t size); /* the first of that name, as Python takes it; NULL: none */

enum { SHA256_SIZE = 32 };
struct sha256 { uint32_t state[8]; uint64_t size; uint8_t block[64]; };
void sha256_begin(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t size);
void sha256_end(struct sha256 hash, uint8_t digest[SHA256_SIZE]); /* of a copy, so that more can be added to the other */

/* --- said.c ----------------------------------------------------------------------------------------------------------- */

/* Have Python know these words of sandrun/native/__init__.py once this process executes it; errno is set. */
bool leave_words(const char *words);
/* Have Python execute this launch from the plan cache, by the executor of this name. False: it makes a plan of its own. */
bool leave_launch(const struct launch *launch, const char *executor);

/* --- interpreter.c ---------------------------------------------------------------------------------------------------- */

/* End this process with a message if one of the standard descriptors is a directory. */
void refuse_directories(void);
/* Execute the Python half with these words (without argv[0]; NULL ends them). Ends the process (125) where it is not there. */
_Noreturn void python_exec(char *const words[], char *const environment[]);
enum { PATH_SIZE = 4096 }; /* PATH_MAX */
bool python_script(char path[PATH_SIZE]); /* what it executes for that, by its path without links: sandrun-python */

#endif
