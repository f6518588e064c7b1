// Trainable parameters of a cell's CIFAR-10 network: the twin of parameters.py.
#pragma once
#include "cells.cuh"

// Weights of a square convolution and its batch normalisation.
DEVICE int32 convolution_size(int32 size, int32 channels_in, int32 channels_out) {
    return size * size * channels_in * channels_out + 2 * channels_out;
}

// One pruned cell within the network.
DEVICE int32 cell_parameters(uint32 bits, uint64 operations, int size, int32 given, int32 wanted) {
    const int last = size - 1;
    const uint32 feeding = in_mask(bits, last) & ~1u;
    const int32 sharing = (int32)count_bits(feeding);
    const int32 share = sharing ? wanted / sharing : 0;
    int32 remainder = sharing ? wanted - share * sharing : 0;
    int32 channels[MAX_VERTICES];
#pragma unroll
    for (int vertex = 1; vertex < 6; vertex++) {
        channels[vertex] = 0;
        if ((feeding >> vertex) & 1) {
            channels[vertex] = share + (remainder > 0);
            remainder--;
        }
    }
    // A vertex that does not feed the output is as wide as the widest that it feeds.
#pragma unroll
    for (int vertex = 4; vertex >= 1; vertex--) {
        if ((feeding >> vertex) & 1) continue;
        const uint32 targets = out_mask(bits, vertex);
#pragma unroll
        for (int target = vertex + 1; target < 6; target++)
            if (target < last && ((targets >> target) & 1) && channels[target] > channels[vertex])
                channels[vertex] = channels[target];
    }
    const uint32 from_input = out_mask(bits, 0);
    int32 total = 0;
#pragma unroll
    for (int vertex = 1; vertex < 6; vertex++) {
        if (vertex >= last) continue;
        const int32 width = channels[vertex];
        const uint32 operation = operation_of(operations, vertex);
        if ((from_input >> vertex) & 1) total += convolution_size(1, given, width);
        if (operation < 2) total += convolution_size(operation == 0 ? 3 : 1, width, width);
    }
    if ((from_input >> last) & 1) total += convolution_size(1, given, wanted);
    return total;
}

// The whole network: a stem, three stacks of three cells, a dense layer of ten outputs.
DEVICE int32 network_parameters(uint32 bits, uint64 operations, int size) {
    int32 total = convolution_size(3, 3, 128);
    int32 width = 128;
#pragma unroll 1
    for (int stack = 0; stack < 3; stack++) {
        const int32 given = width;
        if (stack > 0) width *= 2;
        total += cell_parameters(bits, operations, size, given, width);
        total += 2 * cell_parameters(bits, operations, size, width, width);
    }
    return total + width * 10 + 10;
}
