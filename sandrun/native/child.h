/* What the files of the child share among themselves. The job is made in the parent; after the fork nothing is opened
 * or worked out that could have been before. */
#ifndef SANDRUN_CHILD_H
#define SANDRUN_CHILD_H

#include "sandrun.h"

#include <linux/filter.h>
#include <sys/prctl.h>

/* What is done about capabilities, worked out in the parent from the plan and from what we hold. */
struct capabilities {
    unsigned last;         /* the number of the last capability that this kernel has */
    uint64_t left;         /* the bounding set that must be there afterwards */
    uint64_t drop;         /* what is dropped from it */
    uint64_t holding;      /* permitted until ambient set and securebits are set */
    uint64_t ambient;
    uint64_t securebits;   /* to be set; 0 leaves them */
    bool keepcaps;
};

struct limit { int resource; uint64_t value[2]; /* soft, hard: struct rlimit64 */ };

/* What the init process confines itself with. */
struct init {
    char *words;           /* our command line in memory */
    size_t size;
    int ruleset_fd;
    int held;              /* a descriptor that stays open in there, or -1 */
    int reader, writer;    /* who reads gets a byte once the init process is confined, or the end of the file */
};

/* A system call; the result, or minus the errno. */
typedef long calling(long number, long one, long two, long three, long four, long five, long six);

struct job {
    const struct plan *plan;
    const struct given *given; /* of a supervisor in Python; NULL: this program is the supervisor */
    const struct watch *watch;
    const struct strings *private;
    int error_fd;
    int supervisor;        /* a pidfd of the parent; -1: there is none (--exec) */
    int ruleset_fd;
    int argument;          /* the number that a failing step reports */
    bool has_init;
    bool may_go;           /* the byte from the parent has come */
    struct init init;
    struct capabilities capabilities;
    struct limit *limits;  /* as many as the plan has */
    struct sock_fprog *filters;
    int *kept;             /* the descriptors that stay open, in order */
    size_t kept_count;
    char **argv, **environment;
    struct sock_fprog shown;   /* shows calls to the supervisor */
    int label_fds[2];          /* of AppArmor and SELinux, or -1 */
    calling *call;             /* for all that is called once calls are shown */
};

/* The C library reads its variable arguments as long, so an int would leave half of each to chance. */
static inline int control(int option, unsigned long second, unsigned long third)
{
    return prctl(option, second, third, 0UL, 0UL);
}

/* --- credentials.c; a step fails with errno 0 if the kernel said yes and holds something else than asked for --- */

bool credentials_prepare(const struct plan *plan, struct capabilities *capabilities);
bool drop_bounding_set(struct job *job);
bool set_groups(struct job *job);
bool set_gid(struct job *job);
bool set_uid(struct job *job);
bool set_capabilities(struct job *job);
bool verify_credentials(struct job *job);

/* --- namespaces.c --- */

bool make_namespaces(struct job *job);
bool tell(const struct job *job, int step, int number, int argument);
bool keep_mounts(void);
bool mount_proc(void);
bool set_up_loopback(void);
bool init_prepare(struct init *init);
void init_close(struct init *init);
bool init_sleep(struct init *init); /* returns only if it cannot be confined */

/* --- netns.c --- */

bool furnish(struct job *job); /* a network namespace whose connections end at the relay */
bool send_descriptor(const struct job *job, int channel, const void *data, size_t size, int fd);

/* --- label.c --- */

bool labels_prepare(struct job *job);
bool open_labels(struct job *job);
bool set_labels(struct job *job);

/* --- shown.c --- */

calling raw_call;
bool shown_prepare(struct job *job);
bool show_calls(struct job *job);

#endif
