/* Reads a plan from standard input and writes its bytes again from what plan_decode made of them.
 *
 * Status 1: no plan. What the test compares is then the work of two programs that know the format: this one writes as
 * Python's Plan.to_bytes does, from the members of struct plan.
 */
#include "sandrun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct buffer { uint8_t *at; size_t size; };

static void put(struct buffer *out, const void *data, size_t size)
{
    out->at = realloc(out->at, out->size + size + 1);
    if (!out->at)
        exit(2);
    memcpy(out->at + out->size, data, size);
    out->size += size;
}

static void put_number(struct buffer *out, uint64_t value, size_t size)
{
    for (; size > 0; size--, value >>= 8)
        put(out, &(uint8_t){(uint8_t)value}, 1);
}

static void put_string(struct buffer *out, struct bytes value)
{
    put_number(out, value.size, 4);
    put(out, value.data, value.size);
}

static void write_integer(struct buffer *out, const int64_t *value)
{
    put_number(out, (uint64_t)*value, 8);
}

static void write_mask(struct buffer *out, const uint64_t *value)
{
    put_number(out, *value, 8);
}

static void write_binary(struct buffer *out, const struct bytes *value)
{
    put(out, value->data, value->size);
}
#define write_text write_binary

static void write_binaries(struct buffer *out, const struct strings *value)
{
    for (size_t at = 0; at < value->count; at++)
        put_string(out, value->at[at]);
}
#define write_texts write_binaries

static void write_integers(struct buffer *out, const struct integers *value)
{
    for (size_t at = 0; at < value->count; at++)
        write_integer(out, &value->at[at]);
}

static void write_pairs(struct buffer *out, const struct pairs *value)
{
    for (size_t at = 0; at < value->count; at++) {
        put_number(out, value->at[at].first, 8);
        put_number(out, value->at[at].second, 8);
    }
}

static void write_triples(struct buffer *out, const struct triples *value)
{
    for (size_t at = 0; at < value->count; at++) {
        put_number(out, value->at[at].first, 8);
        put_number(out, value->at[at].second, 8);
        put_number(out, value->at[at].third, 8);
    }
}

static void write_rules(struct buffer *out, const struct rules *value)
{
    for (size_t at = 0; at < value->count; at++) {
        put_number(out, value->at[at].access, 8);
        put_number(out, (uint64_t)value->at[at].kind, 1);
        put_string(out, value->at[at].path);
    }
}

static void write_records(struct buffer *out, const struct records *value)
{
    for (size_t at = 0; at < value->count; at++) {
        put_number(out, value->at[at].operation, 8);
        put_number(out, value->at[at].flags, 8);
        put_string(out, value->at[at].path);
        put_string(out, value->at[at].source);
    }
}

int main(void)
{
    struct buffer in = {NULL, 0}, out = {NULL, 0}, record;
    uint8_t data[4096];
    for (size_t size; (size = fread(data, 1, sizeof data, stdin)) > 0;)
        put(&in, data, size);
    struct plan plan;
    if (!plan_decode(in.at, in.size, &plan))
        return 1;
    put(&out, PLAN_MAGIC, sizeof PLAN_MAGIC - 1);
    put_number(&out, PLAN_VERSION, 4);
    unsigned tag = 0;
#define WRITE(kind, name)                   \
    record = (struct buffer){NULL, 0};      \
    write_##kind(&record, &plan.name);      \
    put_number(&out, tag++, 2);             \
    put_number(&out, record.size, 4);       \
    if (record.size)                        \
        put(&out, record.at, record.size);
    PLAN_FIELDS(WRITE)
    return fwrite(out.at, 1, out.size, stdout) == out.size ? 0 : 2;
}
