/* SHA-256 of FIPS 180-4, for the names of the cache's entries and for values that must not stand in them. */
#include "sandrun.h"

#include <string.h>

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t value, int by)
{
    return value >> by | value << (32 - by);
}

static void mix(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[64];
    for (int at = 0; at < 16; at++)
        w[at] = (uint32_t)block[4 * at] << 24 | (uint32_t)block[4 * at + 1] << 16 | (uint32_t)block[4 * at + 2] << 8 |
                block[4 * at + 3];
    for (int at = 16; at < 64; at++) {
        uint32_t first = turn(w[at - 15], 7) ^ turn(w[at - 15], 18) ^ w[at - 15] >> 3;
        uint32_t second = turn(w[at - 2], 17) ^ turn(w[at - 2], 19) ^ w[at - 2] >> 10;
        w[at] = w[at - 16] + first + w[at - 7] + second;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int at = 0; at < 64; at++) {
        uint32_t first = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[at] + w[at];
        uint32_t second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first;
        d = c, c = b, b = a, a = first + second;
    }
    const uint32_t more[8] = {a, b, c, d, e, f, g, h};
    for (int at = 0; at < 8; at++)
        state[at] += more[at];
}

void sha256_begin(struct sha256 *hash)
{
    *hash = (struct sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
    };
}

void sha256_add(struct sha256 *hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        size_t used = hash->size % sizeof hash->block;
        size_t part = sizeof hash->block - used < size ? sizeof hash->block - used : size;
        memcpy(hash->block + used, bytes, part);
        bytes += part;
        size -= part;
        hash->size += part;
        if (hash->size % sizeof hash->block == 0)
            mix(hash->state, hash->block);
    }
}

void sha256_end(struct sha256 hash, uint8_t digest[SHA256_SIZE])
{
    static const uint8_t padding[64] = {0x80};
    uint64_t bits = hash.size * 8;
    uint8_t length[8];
    for (int at = 0; at < 8; at++)
        length[at] = (uint8_t)(bits >> (56 - 8 * at));
    size_t used = hash.size % sizeof hash.block;
    sha256_add(&hash, padding, (used < 56 ? 56 : 120) - used);
    sha256_add(&hash, length, sizeof length);
    for (int at = 0; at < SHA256_SIZE; at++)
        digest[at] = (uint8_t)(hash.state[at / 4] >> (24 - 8 * (at % 4)));
}
