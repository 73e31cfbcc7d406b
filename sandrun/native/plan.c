/* The bytes of a plan, read. Twin of sandrun/plan/format.py, which describes them.
 *
 * The bytes come from a descriptor or a file that has been checked, and are read as if they had not been: every length
 * is compared with what is left before it is used, and what fails once stays failed.
 */
#include "sandrun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint8_t *take(struct reader *in, size_t size)
{
    if (in->failed || size > (size_t)(in->end - in->at)) {
        in->failed = true;
        return NULL;
    }
    const uint8_t *taken = in->at;
    in->at += size;
    return taken;
}

static size_t left(const struct reader *in)
{
    return in->failed ? 0 : (size_t)(in->end - in->at);
}

/* A little-endian number of so many bytes; 0 if there are none. */
static uint64_t number(struct reader *in, size_t size)
{
    const uint8_t *data = take(in, size);
    uint64_t value = 0;
    for (size_t at = size; data && at > 0; at--)
        value = value << 8 | data[at - 1];
    return value;
}

uint64_t reader_u64(struct reader *in)
{
    return number(in, 8);
}

static struct bytes copy(struct reader *in, size_t size)
{
    const uint8_t *data = take(in, size);
    struct bytes made = {"", 0};
    if (data && size > 0) {
        char *room = must_alloc(size + 1, 1);
        memcpy(room, data, size);
        made = (struct bytes){room, size};
    }
    return made;
}

struct bytes reader_bytes(struct reader *in)
{
    return copy(in, left(in));
}

struct reader reader_record(struct reader *in, unsigned tag)
{
    struct reader record = {in->end, in->end, true};
    uint64_t found = number(in, 2);
    size_t size = number(in, 4);
    const uint8_t *data = take(in, size);
    if (data && found == tag)
        record = (struct reader){data, data + size, false};
    else
        in->failed = true;
    return record;
}

void out_of_memory(void)
{
    (void)dprintf(STDERR_FILENO, "sandrun: out of memory\n"); /* it takes none for this */
    _exit(125);
}

/* Weak: the fuzz target has one that frees what it read. */
__attribute__((weak)) void *must_alloc(size_t count, size_t size)
{
    void *room = calloc(count ? count : 1, size ? size : 1);
    if (!room)
        out_of_memory();
    return room;
}

/* How many records of a fixed head, the last four bytes of which are the length of what follows, are left. */
static size_t count_strings(struct reader in, size_t head)
{
    size_t count = 0;
    while (left(&in) > 0) {
        take(&in, head);
        take(&in, number(&in, 4));
        count++;
    }
    return count;
}

struct strings reader_strings(struct reader *in)
{
    struct strings strings = {NULL, count_strings(*in, 0)};
    strings.at = must_alloc(strings.count, sizeof *strings.at);
    for (size_t at = 0; at < strings.count; at++)
        strings.at[at] = copy(in, number(in, 4));
    return strings;
}

/* The number of records of a fixed size; what does not come out even fails. */
static size_t rows(struct reader *in, size_t size)
{
    if (left(in) % size != 0)
        in->failed = true;
    return left(in) / size;
}

/* A string that the kernel gets ends at its first NUL there, so it would be another than the one that was checked. */
static void refuse_nul(struct reader *in, struct bytes text)
{
    if (memchr(text.data, 0, text.size))
        in->failed = true;
}

/* --- a function for each kind of PLAN_FIELDS --- */

static void read_integer(struct reader *in, int64_t *value)
{
    *value = (int64_t)number(in, 8);
}

static void read_mask(struct reader *in, uint64_t *value)
{
    *value = number(in, 8);
}

static void read_binary(struct reader *in, struct bytes *value)
{
    *value = reader_bytes(in);
}

static void read_text(struct reader *in, struct bytes *value)
{
    *value = reader_bytes(in);
    refuse_nul(in, *value);
}

static void read_binaries(struct reader *in, struct strings *value)
{
    *value = reader_strings(in);
}

static void read_texts(struct reader *in, struct strings *value)
{
    *value = reader_strings(in);
    for (size_t at = 0; at < value->count; at++)
        refuse_nul(in, value->at[at]);
}

static void read_integers(struct reader *in, struct integers *value)
{
    value->count = rows(in, 8);
    value->at = must_alloc(value->count, sizeof *value->at);
    for (size_t at = 0; at < value->count; at++)
        read_integer(in, &value->at[at]);
}

static void read_pairs(struct reader *in, struct pairs *value)
{
    value->count = rows(in, 16);
    value->at = must_alloc(value->count, sizeof *value->at);
    for (size_t at = 0; at < value->count; at++) {
        value->at[at].first = number(in, 8);
        value->at[at].second = number(in, 8);
    }
}

static void read_triples(struct reader *in, struct triples *value)
{
    value->count = rows(in, 24);
    value->at = must_alloc(value->count, sizeof *value->at);
    for (size_t at = 0; at < value->count; at++) {
        value->at[at].first = number(in, 8);
        value->at[at].second = number(in, 8);
        value->at[at].third = number(in, 8);
    }
}

static void read_rules(struct reader *in, struct rules *value)
{
    value->count = count_strings(*in, 9);
    value->at = must_alloc(value->count, sizeof *value->at);
    for (size_t at = 0; at < value->count; at++) {
        value->at[at].access = number(in, 8);
        value->at[at].kind = (int)number(in, 1);
        value->at[at].path = copy(in, number(in, 4));
        refuse_nul(in, value->at[at].path);
    }
}

static void read_records(struct reader *in, struct records *value)
{
    struct reader again = *in;
    for (; left(&again) > 0; value->count++) {
        take(&again, 16);
        take(&again, number(&again, 4));
        take(&again, number(&again, 4));
    }
    value->at = must_alloc(value->count, sizeof *value->at);
    for (size_t at = 0; at < value->count; at++) {
        value->at[at].operation = number(in, 8);
        value->at[at].flags = number(in, 8);
        value->at[at].path = copy(in, number(in, 4));
        value->at[at].source = copy(in, number(in, 4));
    }
}

/* The records of a view name paths and options, but for the content of files. */
static void check_view(struct reader *in, const struct records *view)
{
    for (size_t at = 0; at < view->count; at++) {
        const struct record *record = &view->at[at];
        refuse_nul(in, record->path);
        if (record->operation != VIEW_FILE && record->operation != VIEW_CONTENT)
            refuse_nul(in, record->source);
    }
}

bool plan_decode(const uint8_t *data, size_t size, struct plan *plan)
{
    struct reader in = {data, data + size, false};
    const uint8_t *magic = take(&in, sizeof PLAN_MAGIC - 1);
    if (!magic || memcmp(magic, PLAN_MAGIC, sizeof PLAN_MAGIC - 1) != 0 || number(&in, 4) != PLAN_VERSION)
        return false;
    memset(plan, 0, sizeof *plan);
    unsigned tag = 0;
    struct reader record;
#define READ(kind, name)                      \
    record = reader_record(&in, tag++);       \
    read_##kind(&record, &plan->name);        \
    in.failed |= record.failed || left(&record) > 0;
    PLAN_FIELDS(READ)
#undef READ
    check_view(&in, &plan->view);
    return !in.failed && in.at == in.end;
}
