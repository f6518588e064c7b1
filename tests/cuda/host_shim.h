// Makes CUDA sources compile as plain C++, so that their kernels run on the CPU, thread by thread.
//
// There is no __syncthreads here and there are no atomics or warp functions: a kernel that used one
// would not compile, since threads that run one after another can't have them. Shared memory is a
// static array, right only where every thread keeps to its own column.
#pragma once

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static thread_local
#define __align__(bytes) alignas(bytes)

struct Dimension {
    unsigned int x, y, z;
};

static thread_local Dimension gridDim = {1, 1, 1}, blockDim = {1, 1, 1};
static thread_local Dimension blockIdx = {0, 0, 0}, threadIdx = {0, 0, 0};

struct alignas(16) float4 {
    float x, y, z, w;
};

#include <cmath>

using std::exp;
using std::fabs;
using std::log1p;
