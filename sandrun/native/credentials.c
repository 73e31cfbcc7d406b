/* Ids and capabilities: who the command runs as, with no way back. Twin of sandrun/primitives/ids.py and capset.py. */
#include "child.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct sets { uint64_t effective, permitted, inheritable; };

static uint64_t bit(unsigned number)
{
    return UINT64_C(1) << number;
}

static bool get_sets(struct sets *sets)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        return false;
    sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
    sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    sets->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    return true;
}

/* Effective = permitted, and inheritable. */
static bool set_sets(uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    for (int half = 0; half < 2; half++) {
        data[half].effective = data[half].permitted = (uint32_t)(permitted >> 32 * half);
        data[half].inheritable = (uint32_t)(inheritable >> 32 * half);
    }
    return syscall(SYS_capset, &header, data) == 0;
}

/* The bounding set, and the number of the last capability that this kernel has. */
static bool get_bounding_set(uint64_t *bounding, unsigned *last)
{
    *bounding = 0;
    for (unsigned number = 0; number < 64; number++) {
        int is_set = control(PR_CAPBSET_READ, number, 0);
        if (is_set < 0)
            return errno == EINVAL && number > 0;
        *bounding |= (uint64_t)is_set << number;
        *last = number;
    }
    return true;
}

static bool ids_prepare(const struct plan *plan)
{
    /* A plan that changes the uid and keeps the caller's groups would keep root's. */
    bool changes = plan->uid != KEEP && plan->uid != (int64_t)geteuid();
    return !changes || (plan->set_groups && plan->gid != KEEP);
}

bool credentials_prepare(const struct plan *plan, struct capabilities *capabilities)
{
    struct sets held;
    uint64_t bounding;
    unsigned last;
    int securebits = control(PR_GET_SECUREBITS, 0, 0);
    if (!ids_prepare(plan) || securebits < 0 || !get_sets(&held) || !get_bounding_set(&bounding, &last))
        return false;
    uint64_t now = (uint64_t)securebits, wanted = (uint64_t)plan->securebits;
    if (plan->namespaces & CLONE_NEWUSER) {
        /* The first process of a user namespace holds everything in it, and no securebits. */
        held.effective = held.permitted = bounding = last < 63 ? bit(last + 1) - 1 : UINT64_MAX;
        now = 0;
    }
    if (plan->permitted & ~held.permitted || plan->ambient & ~(plan->permitted & plan->inheritable))
        return false;
    bool may_drop = held.effective & bit(CAP_SETPCAP);
    /* With no_new_privs the bounding set does not matter. */
    if (bounding & ~plan->bounding && !may_drop && !plan->no_new_privs)
        return false;
    capabilities->last = last;
    capabilities->left = may_drop ? bounding & plan->bounding : bounding;
    capabilities->drop = bounding & ~capabilities->left;
    capabilities->ambient = plan->ambient & (last < 63 ? bit(last + 1) - 1 : UINT64_MAX);
    capabilities->securebits = wanted & ~now ? now | wanted : 0;
    capabilities->keepcaps = plan->permitted || capabilities->securebits;
    /* Securebits are set when the ambient set is complete, and setting them takes CAP_SETPCAP until then. */
    capabilities->holding = plan->permitted | (capabilities->securebits ? bit(CAP_SETPCAP) : 0);
    return !capabilities->securebits || may_drop;
}

bool drop_bounding_set(struct job *job)
{
    for (unsigned number = 0; number <= job->capabilities.last; number++) {
        job->argument = (int)number;
        if (job->capabilities.drop & bit(number) && control(PR_CAPBSET_DROP, number, 0) != 0)
            return false;
    }
    return true;
}

bool set_groups(struct job *job)
{
    if (!job->plan->set_groups)
        return true;
    size_t count = job->plan->groups.count;
    gid_t *groups = must_alloc(count, sizeof *groups);
    for (size_t at = 0; at < count; at++)
        groups[at] = (gid_t)job->plan->groups.at[at];
    return setgroups(count, groups) == 0;
}

bool set_gid(struct job *job)
{
    gid_t gid = (gid_t)job->plan->gid;
    return job->plan->gid == KEEP || setresgid(gid, gid, gid) == 0;
}

bool set_uid(struct job *job)
{
    uid_t uid = (uid_t)job->plan->uid;
    if (job->capabilities.keepcaps && control(PR_SET_KEEPCAPS, 1, 0) != 0)
        return false;
    return job->plan->uid == KEEP || setresuid(uid, uid, uid) == 0;
}

/* The last of capabilities, after the change of ids: ambient set, securebits, final sets. */
bool set_capabilities(struct job *job)
{
    const struct capabilities *wanted = &job->capabilities;
    if (!set_sets(wanted->holding, job->plan->inheritable))
        return false;
    if (control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0) != 0)
        return false;
    for (unsigned number = 0; number <= wanted->last; number++) {
        if (wanted->ambient & bit(number) && control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number) != 0)
            return false;
    }
    if (wanted->securebits && control(PR_SET_SECUREBITS, wanted->securebits, 0) != 0)
        return false;
    return set_sets(job->plan->permitted, job->plan->inheritable);
}

/* --- read back --- */

static bool other_than_asked(void)
{
    errno = 0;
    return false;
}

static bool verify_capabilities(const struct plan *plan, const struct capabilities *wanted)
{
    struct sets sets;
    uint64_t bounding, ambient = 0;
    unsigned last;
    if (!get_sets(&sets) || !get_bounding_set(&bounding, &last))
        return false;
    for (unsigned number = 0; number <= last; number++) {
        int is_set = control(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number);
        if (is_set < 0)
            return false;
        ambient |= (uint64_t)is_set << number;
    }
    bool as_asked = sets.effective == plan->permitted && sets.permitted == plan->permitted &&
                    sets.inheritable == plan->inheritable && ambient == wanted->ambient && bounding == wanted->left;
    if (as_asked && wanted->securebits)
        as_asked = (uint64_t)control(PR_GET_SECUREBITS, 0, 0) == wanted->securebits;
    return as_asked || other_than_asked();
}

/* Whether each of the one is among the others. */
static bool are_among(const gid_t *groups, size_t count, const struct integers *others, bool swap)
{
    for (size_t one = 0; one < (swap ? others->count : count); one++) {
        bool found = false;
        for (size_t other = 0; other < (swap ? count : others->count) && !found; other++)
            found = swap ? others->at[one] == (int64_t)groups[other] : others->at[other] == (int64_t)groups[one];
        if (!found)
            return false;
    }
    return true;
}

static bool verify_groups(const struct plan *plan)
{
    int count = getgroups(0, NULL);
    if (count < 0)
        return false;
    gid_t *groups = must_alloc((size_t)count, sizeof *groups);
    if (getgroups(count, groups) != count)
        return false;
    return (are_among(groups, (size_t)count, &plan->groups, false) &&
            are_among(groups, (size_t)count, &plan->groups, true)) ||
           other_than_asked();
}

static bool verify_ids(const struct plan *plan)
{
    uid_t uid[3];
    gid_t gid[3];
    if (getresuid(&uid[0], &uid[1], &uid[2]) != 0 || getresgid(&gid[0], &gid[1], &gid[2]) != 0)
        return false;
    for (int which = 0; which < 3; which++) {
        if ((plan->uid != KEEP && plan->uid != (int64_t)uid[which]) ||
            (plan->gid != KEEP && plan->gid != (int64_t)gid[which]))
            return other_than_asked();
    }
    if (plan->set_groups && !verify_groups(plan))
        return false;
    /* After the capabilities, which could allow it: the way back to root must be closed. Where helpers mapped the ids it was
     * not root that set this up, but the caller, who is the first of the map. */
    uid_t former = plan->id_helpers.count ? (uid_t)strtoul(plan->uid_map.data, NULL, 10) : 0;
    if (plan->uid == KEEP || plan->uid == (int64_t)former || plan->permitted & bit(CAP_SETUID))
        return true;
    if (setresuid((uid_t)-1, former, (uid_t)-1) == 0)
        return other_than_asked();
    return errno == EPERM || errno == EACCES;
}

bool verify_credentials(struct job *job)
{
    return verify_capabilities(job->plan, &job->capabilities) && verify_ids(job->plan);
}
