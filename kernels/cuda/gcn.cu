// Whole-space inference of GCN predictors: all that is not a matrix product.
//
// Layer l + 1 of a predictor is 1/2 ReLU(A S W+ + b+) + 1/2 ReLU(A' S W- + b-) for states S. The
// products P = S [W+ | W-] are cuBLAS's, on the distinct states alone; the kernels here gather rows
// of P by lists that the plan of the space holds: row u sums weights[e] * P[sources[e]] over its
// entries e from starts[u] to starts[u + 1], with a list for each direction.
//
// Columns come in quads (widths are padded with zeros to a multiple of 4), a thread has one quad of
// one row of one predictor, and neighbouring threads neighbouring quads. Arrays of several
// predictors are stacked along their first axis.
#include "vector.cuh"

struct Lists {
    const int32 *__restrict__ starts;
    const int32 *__restrict__ sources;
    const float *__restrict__ weights;
};

DEVICE float4 gather(const Lists &lists, int64 row, const float4 *__restrict__ products,
                     int64 stride) {
    float4 sum = zero4();
    const int32 stop = lists.starts[row + 1];
    for (int32 entry = lists.starts[row]; entry < stop; entry++)
        sum = add4(sum, scale4(lists.weights[entry], products[lists.sources[entry] * stride]));
    return sum;
}

// Twice the state of a row: ReLU of both directions, added.
DEVICE float4 double_state(const Lists &along, const Lists &against, int64 row,
                           const float4 *__restrict__ products, const float4 *__restrict__ bias,
                           int32 quads, int32 quad) {
    const float4 left = gather(along, row, products + quad, 2 * quads);
    const float4 right = gather(against, row, products + quads + quad, 2 * quads);
    return add4(positive4(add4(left, bias[quad])), positive4(add4(right, bias[quads + quad])));
}

// States (T, rows, 4 quads) of a layer from products (T, sources, 8 quads), biases (T, 8 quads).
KERNEL gather_states(int32 predictors, int64 rows, int64 sources, int32 quads,
                     const int32 *out_starts, const int32 *out_sources, const float *out_weights,
                     const int32 *in_starts, const int32 *in_sources, const float *in_weights,
                     const float4 *products, const float4 *bias, float4 *states) {
    const Lists along = {out_starts, out_sources, out_weights};
    const Lists against = {in_starts, in_sources, in_weights};
    FOR_EACH(i, predictors * rows * quads) {
        const int64 place = i / quads, predictor = place / rows;
        const int32 quad = (int32)(i - place * quads);
        states[i] = scale4(0.5f, double_state(along, against, place - predictor * rows,
                                              products + predictor * sources * 2 * quads,
                                              bias + predictor * 2 * quads, quads, quad));
    }
}

struct __align__(8) Bfloat16Quad {
    uint16 x, y, z, w;
};

// The same with states in bfloat16, for products on tensor cores; sums stay float32.
KERNEL gather_states_bfloat16(int32 predictors, int64 rows, int64 sources, int32 quads,
                              const int32 *out_starts, const int32 *out_sources,
                              const float *out_weights, const int32 *in_starts,
                              const int32 *in_sources, const float *in_weights,
                              const float4 *products, const float4 *bias, Bfloat16Quad *states) {
    const Lists along = {out_starts, out_sources, out_weights};
    const Lists against = {in_starts, in_sources, in_weights};
    FOR_EACH(i, predictors * rows * quads) {
        const int64 place = i / quads, predictor = place / rows;
        const int32 quad = (int32)(i - place * quads);
        const float4 state = scale4(0.5f, double_state(along, against, place - predictor * rows,
                                                       products + predictor * sources * 2 * quads,
                                                       bias + predictor * 2 * quads, quads, quad));
        states[i] = {to_bfloat16(state.x), to_bfloat16(state.y), to_bfloat16(state.z),
                     to_bfloat16(state.w)};
    }
}

// The last layer and the mean over a cell's vertices at once: readouts (T, cells, 4 quads). The
// lists have a row per vertex; cell c has the vertices cell_starts[c] to cell_starts[c + 1].
KERNEL gather_means(int32 predictors, int64 cells, int64 sources, int32 quads,
                    const int32 *cell_starts, const int32 *out_starts, const int32 *out_sources,
                    const float *out_weights, const int32 *in_starts, const int32 *in_sources,
                    const float *in_weights, const float4 *products, const float4 *bias,
                    float4 *readouts) {
    const Lists along = {out_starts, out_sources, out_weights};
    const Lists against = {in_starts, in_sources, in_weights};
    FOR_EACH(i, predictors * cells * quads) {
        const int64 place = i / quads, predictor = place / cells;
        const int64 cell = place - predictor * cells;
        const int32 quad = (int32)(i - place * quads);
        const int32 begin = cell_starts[cell], end = cell_starts[cell + 1];
        float4 sum = zero4();
        for (int32 row = begin; row < end; row++)
            sum = add4(sum, double_state(along, against, row,
                                         products + predictor * sources * 2 * quads,
                                         bias + predictor * 2 * quads, quads, quad));
        readouts[i] = scale4(0.5f / (float)(end - begin), sum);
    }
}

// Adds biases (T, units) to hidden units (T, units, cells), then ReLU if asked for, in place.
KERNEL finish_hidden(int32 predictors, int32 units, int64 cells, int32 rectify, const float *bias,
                     float *hidden) {
    FOR_EACH(i, predictors * units * cells) {
        const float value = hidden[i] + bias[i / cells];
        hidden[i] = rectify ? positive(value) : value;
    }
}

// The last hidden layer and the output at once. Units are rows, (T, units, cells), so that threads
// of neighbouring cells read neighbouring numbers. `weights` is (T, units), `output_bias` (T,).
KERNEL head_outputs(int32 predictors, int32 units, int64 cells, int32 rectify, const float *bias,
                    const float *weights, const float *output_bias, const float *hidden,
                    float *outputs) {
    FOR_EACH(i, predictors * cells) {
        const int64 predictor = i / cells, cell = i - predictor * cells;
        const float *column = hidden + predictor * units * cells + cell;
        float sum = output_bias[predictor];
        for (int32 unit = 0; unit < units; unit++) {
            float value = column[unit * cells] + bias[predictor * units + unit];
            if (rectify) value = positive(value);
            sum += weights[predictor * units + unit] * value;
        }
        outputs[i] = sum;
    }
}
