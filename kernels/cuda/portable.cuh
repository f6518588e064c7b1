// What every CUDA source here builds on: fixed-width types, qualifiers and the grid-stride loop.
//
// NVRTC has no standard headers, so none is included. The sources keep to plain C++ (no intrinsics,
// no barriers, no atomics): every thread works alone, which makes results independent of the launch
// shape, and lets the tests compile the very same files for the CPU.
#pragma once

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef int int32;
typedef unsigned int uint32;
typedef long long int64;
typedef unsigned long long uint64;

#define DEVICE static __device__ __forceinline__

// The launchers use at most this many threads a block, 4 blocks of which are to fit a multiprocessor:
// the compiler gives a thread at most 64 registers.
#define MAX_THREADS 256
#define KERNEL extern "C" __global__ void __launch_bounds__(MAX_THREADS, 4)

#define FOR_EACH(item, count)                                                              \
    for (int64 item = (int64)blockIdx.x * blockDim.x + threadIdx.x; item < (int64)(count); \
         item += (int64)gridDim.x * blockDim.x)
