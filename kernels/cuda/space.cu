// The space on the GPU: prune, key, look up, count, encode, draw and mutate, one thread per cell.
//
// Inputs are the arrays of a CellBatch: bits (N,) uint32, operations (N, 7) uint8, sizes (N,) uint8.
// The functions that compute are in the headers, beside the rules that they follow.
#include "cells.cuh"
#include "parameters.cuh"

KERNEL prune_specs(int64 count, const uint32 *bits, const uint8 *operations, const uint8 *sizes,
                   uint8 *codes, uint32 *pruned_bits, uint8 *pruned_operations,
                   uint8 *pruned_sizes) {
    FOR_EACH(i, count) {
        uint32 edges = bits[i];
        uint64 packed = load_operations(operations, i);
        int size = sizes[i];
        codes[i] = (uint8)prune(edges, packed, size);
        pruned_bits[i] = edges;
        store_operations(pruned_operations, i, packed);
        pruned_sizes[i] = (uint8)size;
    }
}

// The keys of pruned cells.
KERNEL cell_keys(int64 count, const uint32 *bits, const uint8 *operations, const uint8 *sizes,
                 uint64 *keys) {
    FOR_EACH(i, count)
    keys[i] = graph_key(bits[i], load_operations(operations, i), (1u << sizes[i]) - 1);
}

// Validity codes and keys of unpruned specs.
KERNEL spec_keys(int64 count, const uint32 *bits, const uint8 *operations, const uint8 *sizes,
                 uint8 *codes, uint64 *keys) {
    FOR_EACH(i, count) {
        uint64 key;
        codes[i] = (uint8)spec_key(bits[i], load_operations(operations, i), sizes[i], key);
        keys[i] = key;
    }
}

KERNEL find_keys(int64 count, uint64 slot_mask, const uint64 *slot_keys, const int32 *slot_rows,
                 const uint64 *keys, int32 *rows) {
    FOR_EACH(i, count) rows[i] = find_key(slot_keys, slot_rows, slot_mask, keys[i]);
}

// From unpruned specs straight to rows; -1 for an invalid or unknown spec.
KERNEL find_specs(int64 count, uint64 slot_mask, const uint64 *slot_keys, const int32 *slot_rows,
                  const uint32 *bits, const uint8 *operations, const uint8 *sizes, int32 *rows) {
    FOR_EACH(i, count) {
        uint64 key;
        spec_key(bits[i], load_operations(operations, i), sizes[i], key);
        rows[i] = find_key(slot_keys, slot_rows, slot_mask, key);
    }
}

// Draws from the official sampler; each spec has a generator of its own in `states`, (N, 4).
KERNEL random_specs(int64 count, uint64 *states, uint32 *bits, uint8 *operations) {
    FOR_EACH(i, count) {
        Generator generator = load_generator(states, i);
        const uint32 all = (1u << 21) - 1;
        uint32 edges;
        while (true) {
            const uint64 word = next_u64(generator);
            edges = (uint32)word & all;
            if (connects(edges)) break;
            edges = (uint32)(word >> 21) & all;
            if (connects(edges)) break;
        }
        uint32 labels = bounded(generator, 243);
        uint64 packed = INPUT | ((uint64)OUTPUT << 48);
#pragma unroll
        for (int vertex = 1; vertex < 6; vertex++) {
            packed |= (uint64)(labels % NUM_OPERATIONS) << (8 * vertex);
            labels /= NUM_OPERATIONS;
        }
        bits[i] = edges;
        store_operations(operations, i, packed);
        store_generator(states, i, generator);
    }
}

DEVICE uint64 other_operation(Generator &generator, uint32 operation) {
    return (operation + 1 + bounded(generator, NUM_OPERATIONS - 1)) % NUM_OPERATIONS;
}

// The official notebook's mutation of 7-vertex genotypes, until valid. The thresholds are the
// probabilities of an edge flip and of another operation, times 2^32.
KERNEL mutate_notebook(int64 count, uint64 edge_threshold, uint64 operation_threshold,
                       uint64 *states, const uint32 *bits, const uint8 *operations,
                       uint32 *child_bits, uint8 *child_operations) {
    FOR_EACH(i, count) {
        Generator generator = load_generator(states, i);
        uint32 mutated;
        do {
            uint32 flips = 0;
#pragma unroll 1
            for (int draw = 0; draw < 11; draw++) {
                const uint64 word = next_u64(generator);
                const uint32 low = (word & 0xFFFFFFFFULL) < edge_threshold;
                const uint32 high = (word >> 32) < edge_threshold;
                flips |= (low | (high << 1)) << (2 * draw);
            }
            mutated = bits[i] ^ (flips & ((1u << 21) - 1));
        } while (!connects(mutated));
        const uint64 parent = load_operations(operations, i);
        uint64 child = INPUT | ((uint64)OUTPUT << 48);
#pragma unroll 1
        for (int vertex = 1; vertex < 6; vertex++) {
            uint64 operation = operation_of(parent, vertex);
            if ((next_u64(generator) >> 32) < operation_threshold)
                operation = other_operation(generator, (uint32)operation);
            child |= operation << (8 * vertex);
        }
        child_bits[i] = mutated;
        store_operations(child_operations, i, child);
        store_generator(states, i, generator);
    }
}

// Changes exactly one of the 21 pairs and 5 operations; repeated until valid if asked for.
KERNEL mutate_one(int64 count, int32 until_valid, uint64 *states, const uint32 *bits,
                  const uint8 *operations, uint32 *child_bits, uint8 *child_operations) {
    FOR_EACH(i, count) {
        Generator generator = load_generator(states, i);
        const uint64 parent = load_operations(operations, i);
        uint32 mutated;
        uint64 child;
        do {
            mutated = bits[i];
            child = parent;
            const uint32 place = bounded(generator, 26);
            if (place < 21) {
                mutated ^= 1u << place;
            } else {
                const int vertex = (int)place - 20;
                const uint32 before = operation_of(parent, vertex);
                child &= ~(0xFFULL << (8 * vertex));
                child |= other_operation(generator, before) << (8 * vertex);
            }
        } while (until_valid && !connects(mutated));
        child_bits[i] = mutated;
        store_operations(child_operations, i, child);
        store_generator(states, i, generator);
    }
}

// Trainable parameters of the networks of pruned cells.
KERNEL parameter_counts(int64 count, const uint32 *bits, const uint8 *operations,
                        const uint8 *sizes, int32 *counts) {
    FOR_EACH(i, count)
    counts[i] = network_parameters(bits[i], load_operations(operations, i), sizes[i]);
}

// Averaging matrices with self-loops, (N, 7, 7), along and against the edges (see encode.py): rows
// divided by their sums, or entries by the root of their row's and column's. One thread per
// element, so that writes are coalesced.
KERNEL encode_adjacency(int64 count, int32 symmetric, const uint32 *bits, const uint8 *sizes,
                        float *along, float *against) {
    FOR_EACH(i, count * 49) {
        const int64 cell = i / 49;
        const int row = (int)(i - cell * 49) / 7, column = (int)(i - cell * 49) % 7;
        const uint32 edges = bits[cell];
        float forward = 0.0f, backward = 0.0f;
        if (row < sizes[cell] && column < sizes[cell]) {
            const uint32 out = out_mask(edges, row) | (1u << row);
            const uint32 in = in_mask(edges, row) | (1u << row);
            const float out_sum = (float)count_bits(out), in_sum = (float)count_bits(in);
            if (!symmetric) {
                if ((out >> column) & 1) forward = 1.0f / out_sum;
                if ((in >> column) & 1) backward = 1.0f / in_sum;
            } else {
                const float other_in = (float)(count_bits(in_mask(edges, column)) + 1);
                const float other_out = (float)(count_bits(out_mask(edges, column)) + 1);
                if ((out >> column) & 1) forward = 1.0f / sqrtf(out_sum * other_in);
                if ((in >> column) & 1) backward = 1.0f / sqrtf(in_sum * other_out);
            }
        }
        along[i] = forward;
        against[i] = backward;
    }
}

// One-hot operations, (N, 7, 5); columns input, conv1x1, conv3x3, max-pool, output.
KERNEL encode_operations(int64 count, const uint8 *operations, const uint8 *sizes, float *out) {
    FOR_EACH(i, count * 35) {
        const int64 cell = i / 35;
        const int vertex = (int)(i - cell * 35) / 5, column = (int)(i - cell * 35) % 5;
        // The columns of codes 0 to 4, a nibble each.
        const bool hot = vertex < sizes[cell] &&
                         ((0x40312 >> (4 * operations[cell * 7 + vertex])) & 7) == column;
        out[i] = hot ? 1.0f : 0.0f;
    }
}
