// Cells as machine words on the GPU: the twin of cells.py, bit for bit.
//
// A cell is 21 adjacency bits (bit k is the k-th pair of (0,1),(0,2),..,(0,6),(1,2),..,(5,6)) and 7
// operation codes, here as the bytes of one 64-bit word, so that all of it stays in registers.
#pragma once
#include "portable.cuh"
#include "random.cuh"

#define MAX_VERTICES 7
#define MAX_EDGES 9
#define INPUT 3
#define OUTPUT 4
#define UNUSED 255
#define NUM_OPERATIONS 3

#define VALID 0
#define DISCONNECTED 1
#define TOO_MANY_EDGES 3
#define NO_INPUT 4
#define NO_OUTPUT 5
#define UNKNOWN_OPERATION 6

#define ALL_UNUSED 0x00FFFFFFFFFFFFFFULL

// The place of vertex v's first pair in the adjacency bits.
DEVICE int pair_start(int vertex) { return vertex * (13 - vertex) / 2; }

DEVICE uint32 count_bits(uint32 word) {
    word -= (word >> 1) & 0x55555555u;
    word = (word & 0x33333333u) + ((word >> 2) & 0x33333333u);
    word = (word + (word >> 4)) & 0x0F0F0F0Fu;
    return (word * 0x01010101u) >> 24;
}

// The vertices that `vertex` has edges to, and those that have edges to it, as bit masks.
DEVICE uint32 out_mask(uint32 bits, int vertex) {
    return ((bits >> pair_start(vertex)) & ((1u << (6 - vertex)) - 1)) << (vertex + 1);
}

DEVICE uint32 in_mask(uint32 bits, int vertex) {
    uint32 mask = 0;
#pragma unroll
    for (int source = 0; source < 6; source++)
        if (source < vertex) mask |= ((bits >> (pair_start(source) + vertex - source - 1)) & 1u) << source;
    return mask;
}

DEVICE uint64 load_operations(const uint8 *operations, int64 cell) {
    uint64 packed = 0;
#pragma unroll
    for (int vertex = 0; vertex < MAX_VERTICES; vertex++)
        packed |= (uint64)operations[cell * MAX_VERTICES + vertex] << (8 * vertex);
    return packed;
}

DEVICE void store_operations(uint8 *operations, int64 cell, uint64 packed) {
#pragma unroll
    for (int vertex = 0; vertex < MAX_VERTICES; vertex++)
        operations[cell * MAX_VERTICES + vertex] = (uint8)(packed >> (8 * vertex));
}

DEVICE uint32 operation_of(uint64 operations, int vertex) {
    return (uint32)(operations >> (8 * vertex)) & 0xFFu;
}

// The vertices on a path from the first to the last of `size`; 0 if the last can't be reached.
DEVICE uint32 keep_mask(uint32 bits, int size) {
    const int last = size - 1;
    uint32 forward = 1;
#pragma unroll
    for (int vertex = 0; vertex < 6; vertex++)
        if (vertex < last && ((forward >> vertex) & 1)) forward |= out_mask(bits, vertex);
    uint32 backward = 1u << last;
#pragma unroll
    for (int vertex = 5; vertex >= 0; vertex--)
        if (vertex < last && (out_mask(bits, vertex) & backward)) backward |= 1u << vertex;
    return ((forward >> last) & 1) ? forward & backward : 0;
}

// The edges both of whose ends are in `keep`.
DEVICE uint32 kept_edges(uint32 bits, uint32 keep) {
    uint32 kept = 0;
#pragma unroll
    for (int vertex = 0; vertex < 6; vertex++)
        if ((keep >> vertex) & 1)
            kept |= ((out_mask(bits, vertex) & keep) >> (vertex + 1)) << pair_start(vertex);
    return kept;
}

DEVICE int check_operations(uint64 operations, int size, uint32 keep) {
    if (operation_of(operations, 0) != INPUT) return NO_INPUT;
    if (operation_of(operations, size - 1) != OUTPUT) return NO_OUTPUT;
    int code = VALID;
#pragma unroll
    for (int vertex = 1; vertex < 6; vertex++)
        if (vertex < size - 1 && ((keep >> vertex) & 1) &&
            operation_of(operations, vertex) >= NUM_OPERATIONS)
            code = UNKNOWN_OPERATION;
    return code;
}

// Whether a 7-vertex spec whose operations are known to be valid is a cell.
DEVICE bool connects(uint32 bits) {
    const uint32 keep = keep_mask(bits, MAX_VERTICES);
    return keep != 0 && count_bits(kept_edges(bits, keep)) <= MAX_EDGES;
}

// Prunes in place; returns the validity code. A disconnected spec becomes empty.
DEVICE int prune(uint32 &bits, uint64 &operations, int &size) {
    const uint32 keep = keep_mask(bits, size);
    if (keep == 0) {
        bits = 0;
        operations = ALL_UNUSED;
        size = 0;
        return DISCONNECTED;
    }
    int code = check_operations(operations, size, keep);
    const uint32 edges = kept_edges(bits, keep);
    if (count_bits(edges) > MAX_EDGES) code = TOO_MANY_EDGES;
    uint32 pruned = 0;
    uint64 kept_operations = ALL_UNUSED;
    int count = 0;
#pragma unroll
    for (int vertex = 0; vertex < MAX_VERTICES; vertex++) {
        if (!((keep >> vertex) & 1)) continue;
        const uint64 operation = operation_of(operations, vertex);
        kept_operations ^= (operation ^ 0xFFu) << (8 * count);
        // The targets are compacted in the same order as the vertices.
        uint32 targets = 0;
        int place = 0;
#pragma unroll
        for (int other = vertex + 1; other < MAX_VERTICES; other++) {
            if (!((keep >> other) & 1)) continue;
            targets |= ((out_mask(edges, vertex) >> other) & 1u) << place;
            place++;
        }
        pruned |= targets << pair_start(count);
        count++;
    }
    bits = pruned;
    operations = kept_operations;
    size = count;
    return code;
}

// The isomorphism-invariant key of the graph of the vertices in `keep`; never 0.
DEVICE uint64 graph_key(uint32 bits, uint64 operations, uint32 keep) {
    uint64 forward[MAX_VERTICES];
#pragma unroll
    for (int vertex = 0; vertex < MAX_VERTICES; vertex++) {
        const uint64 operation = ((keep >> vertex) & 1) ? operation_of(operations, vertex) : UNUSED;
        uint64 word = (operation + 1) * 0x9E3779B97F4A7C15ULL;
#pragma unroll
        for (int source = 0; source < vertex; source++)
            if ((bits >> (pair_start(source) + vertex - source - 1)) & 1) word += forward[source];
        forward[vertex] = mix(word);
    }
    // Backward, each vertex's word is replaced in place: it is not needed by lower vertices.
    uint64 total = 0;
#pragma unroll
    for (int vertex = MAX_VERTICES - 1; vertex >= 0; vertex--) {
        uint64 word = forward[vertex];
#pragma unroll
        for (int target = vertex + 1; target < MAX_VERTICES; target++)
            if ((bits >> (pair_start(vertex) + target - vertex - 1)) & 1) word += forward[target];
        forward[vertex] = mix(word);
        total += forward[vertex];
    }
    const uint64 key = mix(total);
    return key != 0 ? key : 1;
}

// Validity and key of an unpruned spec; the key is 0 unless it is valid.
DEVICE int spec_key(uint32 bits, uint64 operations, int size, uint64 &key) {
    key = 0;
    const uint32 keep = keep_mask(bits, size);
    if (keep == 0) return DISCONNECTED;
    const uint32 edges = kept_edges(bits, keep);
    if (count_bits(edges) > MAX_EDGES) return TOO_MANY_EDGES;
    const int code = check_operations(operations, size, keep);
    if (code == VALID) key = graph_key(edges, operations, keep);
    return code;
}

// The row of a key in an open-addressing table of slot_mask + 1 slots, or -1.
DEVICE int32 find_key(const uint64 *slot_keys, const int32 *slot_rows, uint64 slot_mask, uint64 key) {
    uint64 slot = key & slot_mask;
    uint64 found = slot_keys[slot];
    while (found != key && found != 0) {
        slot = (slot + 1) & slot_mask;
        found = slot_keys[slot];
    }
    // An absent key ends at an empty slot, whose row is -1; so does key 0.
    return found == 0 ? -1 : slot_rows[slot];
}
