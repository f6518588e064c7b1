// The official module hash of NASBench-101, one thread per cell (see md5.py for the rules).
//
// A thread keeps the digests of its 7 vertices, before and after a round, in a column of shared
// memory of its own: they are indexed by data, which registers can't be, and a column per thread
// has no bank conflicts and needs no barrier. The blocks of MD5 stay in registers: a digest's hex
// text is exactly half a block, so every word has a fixed place.
#include "cells.cuh"
#include "md5.cuh"

#define HASH_THREADS 128
#define HASH_WORDS (4 * MAX_VERTICES)

typedef uint32 Column[HASH_WORDS][HASH_THREADS];

DEVICE bool digest_before(const Column &digests, uint32 lane, int u, int v, uint32 top_u,
                          uint32 top_v) {
    if (top_u != top_v) return top_u < top_v;
#pragma unroll 1
    for (int word = 1; word < 4; word++) {
        const uint32 x = swap_bytes(digests[4 * u + word][lane]);
        const uint32 y = swap_bytes(digests[4 * v + word][lane]);
        if (x != y) return x < y;
    }
    return true;
}

// The vertices in the order of their digests' text, as the nibbles of a word.
DEVICE uint32 sorted_vertices(const Column &digests, uint32 lane, int size) {
    uint32 top[MAX_VERTICES];
#pragma unroll
    for (int v = 0; v < MAX_VERTICES; v++) top[v] = swap_bytes(digests[4 * v][lane]);
    uint32 ranks = 0;
#pragma unroll
    for (int v = 1; v < MAX_VERTICES; v++)
#pragma unroll
        for (int u = 0; u < v; u++)
            if (v < size)
                ranks += 1u << (4 * (digest_before(digests, lane, u, v, top[u], top[v]) ? v : u));
    uint32 order = 0;
#pragma unroll
    for (int v = 0; v < MAX_VERTICES; v++)
        if (v < size) order |= (uint32)v << (4 * ((ranks >> (4 * v)) & 7));
    return order;
}

// Appends the vertices of `mask`, in the given order, to the nibbles of `sequence`.
DEVICE void append_sorted(uint32 order, int size, uint32 mask, uint32 &sequence, int &length) {
#pragma unroll
    for (int place = 0; place < MAX_VERTICES; place++) {
        const uint32 vertex = (order >> (4 * place)) & 7;
        if (place < size && ((mask >> vertex) & 1)) {
            sequence |= vertex << (4 * length);
            length++;
        }
    }
}

// A message being written: what does not fill a word yet waits in `carry`, `shift` bits of it.
struct Text {
    uint32 carry;
    int shift;
};

// Fills half a block with the hex text of a digest.
DEVICE void write_digest(uint32 (&m)[16], int half, Text &text, const Column &digests,
                         uint32 lane, uint32 vertex) {
#pragma unroll
    for (int word = 0; word < 8; word++) {
        const uint64 hex = hex_word(digests[4 * vertex + word / 2][lane], word & 1);
        const uint64 shifted = hex << text.shift;
        m[8 * half + word] = (uint32)shifted | text.carry;
        text.carry = (uint32)(shifted >> 32);
    }
}

// Fills half a block of a vertex's message: a digest, or what follows the last one.
DEVICE void write_half(uint32 (&m)[16], int half, Text &text, int item, int incoming, int items,
                       uint32 sequence, const Column &digests, uint32 lane) {
    // A bar stands after the ingoing and after the outgoing neighbours, either of which may be none.
    if (item == incoming) {
        text.carry |= 0x7Cu << text.shift;
        text.shift += 8;
    }
    if (item == items - 1) {
        text.carry |= 0x7Cu << text.shift;
        text.shift += 8;
    }
    if (item < items) {
        write_digest(m, half, text, digests, lane, (sequence >> (4 * item)) & 7);
        return;
    }
#pragma unroll
    for (int word = 0; word < 8; word++) m[8 * half + word] = 0;
    if (item == items) m[8 * half] = text.carry | (0x80u << 16);
}

// The digest of a vertex after a round: in-neighbours | out-neighbours | own, each side sorted.
DEVICE Digest vertex_digest(uint32 bits, int vertex, int size, uint32 order, const Column &digests,
                            uint32 lane) {
    uint32 sequence = 0;
    int length = 0;
    append_sorted(order, size, in_mask(bits, vertex), sequence, length);
    const int incoming = length;
    append_sorted(order, size, out_mask(bits, vertex), sequence, length);
    sequence |= (uint32)vertex << (4 * length);
    const int items = length + 1;
    const int blocks = items / 2 + 1;
    Digest state = md5_start();
    Text text = {0, 0};
#pragma unroll 1
    for (int block = 0; block < blocks; block++) {
        uint32 m[16];
        write_half(m, 0, text, 2 * block, incoming, items, sequence, digests, lane);
        write_half(m, 1, text, 2 * block + 1, incoming, items, sequence, digests, lane);
        if (block == blocks - 1) m[14] = 256 * items + 16;
        md5_block(state, m);
    }
    return state;
}

// Word `place` of Python's text of the sorted list of digests, ['..', '..'], with MD5's padding.
// An element takes 9 words: 2 bytes that end what stands before it, 32 of text, 2 of what follows.
DEVICE uint32 list_word(int place, int size, int last, uint32 order, const Column &digests,
                        uint32 lane) {
    const int element = place / 9, part = place - 9 * element;
    if (element >= size) return place == 9 * size ? 0x80u : place == last ? 288u * size : 0;
    const uint32 vertex = (order >> (4 * element)) & 7;
    uint32 before = element == 0 ? 0x275Bu : 0x2720u;
    if (part > 0) before = hex_word(digests[4 * vertex + (part - 1) / 2][lane], (part - 1) & 1) >> 16;
    uint32 after = element + 1 < size ? 0x2C27u : 0x5D27u;
    if (part < 8) after = hex_word(digests[4 * vertex + part / 2][lane], part & 1) & 0xFFFFu;
    return before | (after << 16);
}

// Digests (N, 4) uint32, whose bytes in order are the hash; `first`, (245, 4), holds the digests
// that vertices start with, at (outgoing * 7 + ingoing) * 5 + operation.
extern "C" __global__ void __launch_bounds__(HASH_THREADS)
    module_hashes(int64 count, const uint32 *first, const uint32 *bits, const uint8 *operations,
                  const uint8 *sizes, uint32 *hashes) {
    __shared__ Column buffers[2];
    const uint32 lane = threadIdx.x;
    FOR_EACH(i, count) {
        const uint32 edges = bits[i];
        const int size = sizes[i];
#pragma unroll 1
        for (int vertex = 0; vertex < MAX_VERTICES; vertex++) {
            // Places beyond the cell are filled too, so that no unwritten word is ever read.
            const bool used = vertex < size;
            const uint32 out = used ? count_bits(out_mask(edges, vertex)) : 0;
            const uint32 in = used ? count_bits(in_mask(edges, vertex)) : 0;
            const uint32 operation = used ? operations[i * MAX_VERTICES + vertex] : 0;
            const uint32 *words = first + 4 * ((out * 7 + in) * 5 + operation);
#pragma unroll
            for (int word = 0; word < 4; word++) buffers[0][4 * vertex + word][lane] = words[word];
        }
        uint32 order = 0;
#pragma unroll 1
        for (int round = 0; round <= size; round++) {
            const Column &digests = buffers[round & 1];
            Column &next = buffers[(round + 1) & 1];
            order = sorted_vertices(digests, lane, size);
            if (round == size) break;
#pragma unroll 1
            for (int vertex = 0; vertex < size; vertex++) {
                const Digest digest = vertex_digest(edges, vertex, size, order, digests, lane);
                next[4 * vertex][lane] = digest.a;
                next[4 * vertex + 1][lane] = digest.b;
                next[4 * vertex + 2][lane] = digest.c;
                next[4 * vertex + 3][lane] = digest.d;
            }
            if (round == 0)
#pragma unroll 1
                for (int word = 4 * size; word < HASH_WORDS; word++) next[word][lane] = 0;
        }
        const int blocks = (36 * size + 9 + 63) >> 6;
        Digest state = md5_start();
#pragma unroll 1
        for (int block = 0; block < blocks; block++) {
            uint32 m[16];
#pragma unroll
            for (int word = 0; word < 16; word++)
                m[word] = list_word(16 * block + word, size, 16 * blocks - 2, order,
                                    buffers[size & 1], lane);
            md5_block(state, m);
        }
        hashes[4 * i] = state.a;
        hashes[4 * i + 1] = state.b;
        hashes[4 * i + 2] = state.c;
        hashes[4 * i + 3] = state.d;
    }
}
