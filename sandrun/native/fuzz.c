/* The fuzz target of what reads documents: plan_decode, launch_read, given_read, read_entry. It is no part of the program.
 *
 * LLVMFuzzerTestOneInput is for libFuzzer and AFL++; with -DSANDRUN_LIBFUZZER there is no main(). Otherwise main()
 * mutates seeds by itself, for compilers without a fuzzer: `fuzz SECONDS FILE...`, to be built with sanitizers, which
 * end it on the first error. What it prints first repeats the run: `SEED=N fuzz ...`.
 */
#include "cache.c" /* what reads an entry is nobody else's */

#include <stdio.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- memory that is freed after each input --- */

struct block { struct block *next; max_align_t room[]; };
static struct block *blocks;

static unsigned long plans, launches, entries, children; /* inputs that were read as such */

void __real_free(void *room);
void __wrap_free(void *room);

void *must_alloc(size_t count, size_t size)
{
    size_t whole;
    if (__builtin_mul_overflow(count, size, &whole) || whole > SIZE_MAX - sizeof(struct block))
        abort();
    struct block *block = calloc(1, sizeof *block + whole);
    if (!block)
        abort();
    block->next = blocks;
    blocks = block;
    return block->room;
}

/* The linker has all calls of free() come here (--wrap): of a block, it is that of the allocation around it. */
void __wrap_free(void *room)
{
    for (struct block **at = &blocks; *at; at = &(*at)->next) {
        struct block *found = *at;
        if (found->room == room) {
            *at = found->next;
            __real_free(found);
            return;
        }
    }
    __real_free(room);
}

static void free_all(void)
{
    while (blocks) {
        struct block *next = blocks->next;
        __real_free(blocks);
        blocks = next;
    }
}

/* --- every byte of what was read can be read, and is followed by its NUL --- */

static void use_binary(const struct bytes *value)
{
    volatile char last = '\0'; /* so that each byte is looked at */
    for (size_t at = 0; at <= value->size; at++)
        last = value->data[at];
    if (last != '\0')
        abort();
}

static void use_text(const struct bytes *value)
{
    if (strlen(value->data) != value->size)
        abort();
}

static void use_binaries(const struct strings *value)
{
    for (size_t at = 0; at < value->count; at++)
        use_binary(&value->at[at]);
}

static void use_texts(const struct strings *value)
{
    for (size_t at = 0; at < value->count; at++)
        use_text(&value->at[at]);
}

static void use_rules(const struct rules *value)
{
    for (size_t at = 0; at < value->count; at++)
        use_text(&value->at[at].path);
}

static void use_records(const struct records *value)
{
    for (size_t at = 0; at < value->count; at++) {
        use_binary(&value->at[at].path);
        use_binary(&value->at[at].source);
    }
}

static void use_plan(const struct plan *plan)
{
#define use_integer(value) (void)*(value)
#define use_mask(value) (void)*(value)
#define use_integers(value) (void)((value)->count && (value)->at[(value)->count - 1])
#define use_pairs(value) (void)((value)->count && (value)->at[(value)->count - 1].second)
#define use_triples(value) (void)((value)->count && (value)->at[(value)->count - 1].third)
#define USE(kind, name) use_##kind(&plan->name);
    PLAN_FIELDS(USE)
#undef USE
}

/* An entry under the name that it has itself, with the sum that it should have: those two keep everything else out. */
static void use_entry(const uint8_t *data, size_t size)
{
    enum { SUM = sizeof MAGIC + 4, BODY = SUM + 8, NAME = BODY + 6 };
    struct launch launch;
    if (size < NAME + SHA256_SIZE || memcmp(data, MAGIC, sizeof MAGIC) != 0)
        return;
    uint8_t *entry = must_alloc(size, 1);
    memcpy(entry, data, size);
    uint64_t sum = checksum(entry + BODY, size - BODY);
    memcpy(entry + SUM, &sum, sizeof sum);
    if (read_entry(entry, size, data + NAME, &launch)) {
        entries++;
        use_plan(&launch.plan);
        use_binaries(&launch.values);
        (void)facts_hold(&launch.facts, launch.salt);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    use_entry(data, size);
    struct plan plan;
    struct launch launch;
    if (plan_decode(data, size, &plan)) {
        plans++;
        use_plan(&plan);
    }
    if (launch_read(data, size, &launch)) {
        launches++;
        use_plan(&launch.plan);
    }
    struct given given;
    if (given_read(data, size, &given)) {
        children++;
        use_plan(&given.plan);
        use_texts(&given.environment);
        use_texts(&given.private);
        use_texts(&given.overlays);
        use_integers(&given.groups);
    }
    free_all();
    return 0;
}

#ifndef SANDRUN_LIBFUZZER

enum { LONGEST = 1 << 16, SEEDS = 64 };

struct seed { uint8_t data[LONGEST]; size_t size; };

static uint64_t state;

/* xorshift64*, below `limit`. */
static size_t any(size_t limit)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return limit ? (size_t)((state * UINT64_C(2685821657736338717)) >> 16) % limit : 0;
}

/* Bytes, lengths, holes, repetitions and ends. */
static void mutate(struct seed *input)
{
    static const uint32_t numbers[] = {0, 1, 2, 3, 4, 8, 255, 65535, 65536, INT32_MAX, UINT32_MAX - 1, UINT32_MAX};
    size_t at = any(input->size), length = any(64);
    switch (any(6)) {
    case 0:
        input->data[at] = (uint8_t)any(256);
        break;
    case 1:
        input->data[at] ^= (uint8_t)(1 << any(8));
        break;
    case 2:
        if (at + 4 <= input->size)
            memcpy(&input->data[at], &numbers[any(sizeof numbers / sizeof *numbers)], 4);
        break;
    case 3:
        if (at + length < input->size) {
            memmove(&input->data[at], &input->data[at + length], input->size - at - length);
            input->size -= length;
        }
        break;
    case 4:
        if (at + length <= input->size && input->size + length <= LONGEST) {
            memmove(&input->data[at + length], &input->data[at], input->size - at);
            input->size += length;
        }
        break;
    default:
        if (any(8) == 0)
            input->size = at + 1;
        break;
    }
}

static size_t read_seeds(char **names, struct seed *seeds)
{
    size_t count = 0;
    for (; *names && count < SEEDS; names++) {
        int fd = open(*names, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, seeds[count].data, LONGEST);
        if (fd >= 0)
            close(fd);
        if (size > 0)
            seeds[count++].size = (size_t)size;
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    struct seed *seeds = calloc(SEEDS, sizeof *seeds);
    struct seed *input = calloc(1, sizeof *input);
    size_t count = seeds && input ? read_seeds(argv + 2, seeds) : 0;
    if (count == 0)
        return 2;
    const char *given = getenv("SEED");
    uint64_t start = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 4096 + (uint64_t)getpid();
    state = start | 1;
    printf("SEED=%llu\n", (unsigned long long)start);
    fflush(stdout);
    time_t end = time(NULL) + strtol(argv[1], NULL, 10);
    unsigned long runs = 0;
    for (; runs % 256 != 0 || time(NULL) < end; runs++) {
        const struct seed *seed = &seeds[any(count)];
        memcpy(input->data, seed->data, seed->size);
        input->size = seed->size;
        for (size_t times = any(4); times > 0; times--)
            mutate(input);
        /* In memory of just its size, so that the sanitizer sees a read behind its end. */
        uint8_t *exact = malloc(input->size);
        if (!exact)
            return 2;
        memcpy(exact, input->data, input->size);
        LLVMFuzzerTestOneInput(exact, input->size);
        free(exact);
    }
    printf("%lu inputs, %lu plans, %lu launches, %lu entries, %lu children\n", runs, plans, launches, entries, children);
    free(seeds);
    free(input);
    return 0;
}

#endif
