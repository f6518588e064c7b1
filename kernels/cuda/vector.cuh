// Four float32 columns at a time: one 16-byte access per thread.
#pragma once
#include "portable.cuh"

DEVICE float4 zero4() { return {0.0f, 0.0f, 0.0f, 0.0f}; }

DEVICE float4 add4(float4 x, float4 y) { return {x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w}; }

DEVICE float4 scale4(float weight, float4 x) {
    return {weight * x.x, weight * x.y, weight * x.z, weight * x.w};
}

DEVICE float4 multiply4(float4 x, float4 y) {
    return {x.x * y.x, x.y * y.y, x.z * y.z, x.w * y.w};
}

DEVICE float positive(float x) { return x > 0.0f ? x : 0.0f; }

DEVICE float4 positive4(float4 x) {
    return {positive(x.x), positive(x.y), positive(x.z), positive(x.w)};
}

// `x` where the sign of `gate` lets a ReLU pass, else 0.
DEVICE float4 gate4(float4 gate, float4 x) {
    return {gate.x > 0.0f ? x.x : 0.0f, gate.y > 0.0f ? x.y : 0.0f, gate.z > 0.0f ? x.z : 0.0f,
            gate.w > 0.0f ? x.w : 0.0f};
}

// bfloat16 of a float32 that is no NaN, rounded to nearest even.
DEVICE uint16 to_bfloat16(float value) {
    union {
        float number;
        uint32 bits;
    } word = {value};
    return (uint16)((word.bits + 0x7FFFu + ((word.bits >> 16) & 1u)) >> 16);
}
