// Random words on the GPU: xoshiro256** as in rng.py, so that a stream gives the same numbers on
// both, and SplitMix64 as a function of a counter, where threads share a stream.
#pragma once
#include "portable.cuh"

// The finaliser of SplitMix64.
DEVICE uint64 mix(uint64 word) {
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ULL;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBULL;
    return word ^ (word >> 31);
}

struct Generator {
    uint64 s0, s1, s2, s3;
};

// States are (N, 4): a thread's 32 bytes are one memory sector.
DEVICE Generator load_generator(const uint64 *states, int64 item) {
    const uint64 *state = states + 4 * item;
    return {state[0], state[1], state[2], state[3]};
}

DEVICE void store_generator(uint64 *states, int64 item, const Generator &generator) {
    uint64 *state = states + 4 * item;
    state[0] = generator.s0;
    state[1] = generator.s1;
    state[2] = generator.s2;
    state[3] = generator.s3;
}

DEVICE uint64 next_u64(Generator &g) {
    const uint64 product = g.s1 * 5;
    const uint64 result = ((product << 7) | (product >> 57)) * 9;
    const uint64 shifted = g.s1 << 17;
    g.s2 ^= g.s0;
    g.s3 ^= g.s1;
    g.s1 ^= g.s2;
    g.s0 ^= g.s3;
    g.s2 ^= shifted;
    g.s3 = (g.s3 << 45) | (g.s3 >> 19);
    return result;
}

// A uniform integer below n, without bias (Lemire, 2019).
DEVICE uint32 bounded(Generator &generator, uint32 n) {
    uint64 product = (next_u64(generator) >> 32) * n;
    if ((uint32)product < n) {
        const uint32 threshold = (0u - n) % n;
        while ((uint32)product < threshold) product = (next_u64(generator) >> 32) * n;
    }
    return (uint32)(product >> 32);
}
