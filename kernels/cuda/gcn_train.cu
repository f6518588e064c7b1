// Training of many GCN predictors in step: all that is not a matrix product (see
// graphs/train.py for what a step computes, gcn_train.py for the order of the kernels).
//
// T trials advance together, each with its own cells, order, seed and number of steps. A trial's
// batch has `batch` slots of `places` rows (a row per vertex of the largest cell); unused slots and
// rows hold zeros, so shapes never change and products need no lengths. Parameters, gradients and
// moments are (T, stride), padded as in layout.py. No kernel adds into memory that another
// thread writes: gradients are gathered, so a run is the same every time.
#include "random.cuh"
#include "vector.cuh"

// The cells of a step, (T, batch), -1 in slots that stay empty; a finished trial has none.
// `orders` holds every trial's epochs one after another, from order_starts[t]; the cells of trial t
// are those from cell_offsets[t] on.
KERNEL draw_batch(int32 trials, int32 batch, int32 epochs, const int32 *step,
                  const int32 *cell_offsets, const int64 *order_starts, const int32 *orders,
                  int32 *slots, int32 *counts) {
    FOR_EACH(i, (int64)trials * batch) {
        const int32 trial = (int32)(i / batch), slot = (int32)(i % batch);
        const int32 first = cell_offsets[trial], samples = cell_offsets[trial + 1] - first;
        const int32 per_epoch = (samples + batch - 1) / batch;
        const int32 epoch = per_epoch > 0 ? step[0] / per_epoch : epochs;
        int32 cell = -1, count = 0;
        if (epoch < epochs) {
            const int32 begin = (step[0] - epoch * per_epoch) * batch;
            count = samples - begin < batch ? samples - begin : batch;
            if (slot < count)
                cell = first + orders[order_starts[trial] + (int64)epoch * samples + begin + slot];
        }
        slots[i] = cell;
        if (slot == 0) counts[trial] = count;
    }
}

// The number of a batch's row among dropout masks. It must not depend on `places`, which the largest
// graph of all trials in a block decides; no graph has more than 256 vertices.
DEVICE int64 mask_row(int64 row, int32 places) {
    return row / places * 256 + row % places;
}

// Four elements of a dropout mask: 0 with probability limit / 65,536, else `kept`. It is a function
// of the trial's seed, the step, the place in the network and the element, so that the backward pass
// makes it again instead of storing it.
DEVICE float4 dropout_mask(uint64 seed, int32 step, int32 site, int64 quad, uint32 limit,
                           float kept) {
    if (limit == 0) return {1.0f, 1.0f, 1.0f, 1.0f};
    const uint64 counter = ((uint64)(step * 64 + site) << 32) + (uint64)quad;
    const uint64 word = mix(seed + counter * 0x9E3779B97F4A7C15ULL);
    return {(word & 0xFFFF) < limit ? 0.0f : kept, ((word >> 16) & 0xFFFF) < limit ? 0.0f : kept,
            ((word >> 32) & 0xFFFF) < limit ? 0.0f : kept, (word >> 48) < limit ? 0.0f : kept};
}

// The vertex of a row of a batch, or -1; rows of one cell follow each other as its vertices do.
DEVICE int32 vertex_of(const int32 *slots, const int32 *cell_starts, int64 slot, int32 place) {
    const int32 cell = slots[slot];
    if (cell < 0 || place >= cell_starts[cell + 1] - cell_starts[cell]) return -1;
    return cell_starts[cell] + place;
}

// Sums of the weighted rows of a vertex's neighbours. Neighbour u of vertex v is u - v rows away;
// in the first layer, whose products are the weights themselves, its row is its type.
DEVICE float4 gather_neighbours(const int32 *starts, const int32 *nodes, const float *weights,
                                const uint8 *types, int32 by_type, int32 vertex, int64 row,
                                const float4 *products, int64 stride) {
    float4 sum = zero4();
    const int32 stop = starts[vertex + 1];
#pragma unroll 2
    for (int32 entry = starts[vertex]; entry < stop; entry++) {
        const int32 other = nodes[entry];
        const int64 source = by_type ? (int64)types[other] : row + other - vertex;
        sum = add4(sum, scale4(weights[entry], products[source * stride]));
    }
    return sum;
}

// A GCN layer: sums (T, rows, 8 quads) with biases, states (T, rows, 4 quads) after dropout.
// `products` and `bias` step by product_stride and bias_stride quads from trial to trial.
KERNEL layer_forward(int32 trials, int32 batch, int32 places, int32 quads, int32 by_type,
                     const int32 *slots, const int32 *cell_starts, const uint8 *types,
                     const int32 *out_starts, const int32 *out_nodes, const float *out_weights,
                     const int32 *in_starts, const int32 *in_nodes, const float *in_weights,
                     const float4 *products, int64 product_stride, const float4 *bias,
                     int64 bias_stride, const int32 *step, const uint64 *seeds, int32 site,
                     uint32 limit, float kept, float4 *sums, float4 *states) {
    const int64 rows = (int64)batch * places;
    FOR_EACH(i, trials * rows * quads) {
        const int64 place = i / quads, trial = place / rows, row = place - trial * rows;
        const int32 quad = (int32)(i - place * quads);
        const int32 vertex =
            vertex_of(slots, cell_starts, trial * batch + row / places, (int32)(row % places));
        float4 left = zero4(), right = zero4(), state = zero4();
        if (vertex >= 0) {
            const float4 *base = products + trial * product_stride + quad;
            const float4 *biases = bias + trial * bias_stride + quad;
            left = gather_neighbours(out_starts, out_nodes, out_weights, types, by_type, vertex,
                                     row, base, 2 * quads);
            right = gather_neighbours(in_starts, in_nodes, in_weights, types, by_type, vertex, row,
                                      base + quads, 2 * quads);
            left = add4(left, biases[0]);
            right = add4(right, biases[quads]);
            state = scale4(0.5f, add4(positive4(left), positive4(right)));
            state = multiply4(state, dropout_mask(seeds[trial], step[0], site,
                                                  mask_row(row, places) * quads + quad, limit,
                                                  kept));
        }
        sums[place * 2 * quads + quad] = left;
        sums[place * 2 * quads + quads + quad] = right;
        states[i] = state;
    }
}

// Means over the vertices of each cell after dropout: (T, batch, 4 quads).
KERNEL readout_forward(int32 trials, int32 batch, int32 places, int32 quads, const int32 *slots,
                       const int32 *cell_starts, const float4 *states, const int32 *step,
                       const uint64 *seeds, int32 site, uint32 limit, float kept,
                       float4 *readouts) {
    FOR_EACH(i, (int64)trials * batch * quads) {
        const int64 slot = i / quads, trial = slot / batch;
        const int32 quad = (int32)(i - slot * quads);
        const int32 cell = slots[slot];
        float4 sum = zero4();
        if (cell >= 0) {
            const int32 size = cell_starts[cell + 1] - cell_starts[cell];
            for (int32 place = 0; place < size; place++)
                sum = add4(sum, states[(slot * places + place) * quads + quad]);
            sum = scale4(1.0f / (float)size, sum);
            sum = multiply4(sum, dropout_mask(seeds[trial], step[0], site,
                                              (slot - trial * batch) * quads + quad, limit, kept));
        }
        readouts[i] = sum;
    }
}

// A hidden dense layer after its product: bias, ReLU if asked for, dropout, in place; `values` is
// (T, batch, 4 quads). Empty slots get values too, which no gradient reaches.
KERNEL dense_forward(int32 trials, int32 batch, int32 quads, int32 rectify, const float4 *bias,
                     int64 bias_stride, const int32 *step, const uint64 *seeds, int32 site,
                     uint32 limit, float kept, float4 *values) {
    FOR_EACH(i, (int64)trials * batch * quads) {
        const int64 slot = i / quads, trial = slot / batch;
        const int32 quad = (int32)(i - slot * quads);
        float4 value = add4(values[i], bias[trial * bias_stride + quad]);
        if (rectify) value = positive4(value);
        values[i] = multiply4(value, dropout_mask(seeds[trial], step[0], site,
                                                  (slot - trial * batch) * quads + quad, limit,
                                                  kept));
    }
}

// The gradient of a hidden layer's sums from that of its values, in place.
KERNEL dense_backward(int32 trials, int32 batch, int32 quads, int32 rectify, const float4 *values,
                      const int32 *step, const uint64 *seeds, int32 site, uint32 limit, float kept,
                      float4 *deltas) {
    FOR_EACH(i, (int64)trials * batch * quads) {
        const int64 slot = i / quads, trial = slot / batch;
        const int32 quad = (int32)(i - slot * quads);
        float4 delta = multiply4(deltas[i], dropout_mask(seeds[trial], step[0], site,
                                                         (slot - trial * batch) * quads + quad,
                                                         limit, kept));
        // A value that dropout zeroed has a zero delta already.
        deltas[i] = rectify ? gate4(values[i], delta) : delta;
    }
}

// The loss of a sample with raw output z and its slope; kinds as in mlp_dense.py, but for ranking.
DEVICE double sample_loss(int32 kind, double z, double target, double &slope) {
    if (kind == 0) {
        const double error = z - target;
        slope = 2.0 * error;
        return error * error;
    }
    const double sigmoid = 1.0 / (1.0 + exp(-z));
    if (kind == 2) {
        slope = sigmoid - target;
        return log1p(exp(-fabs(z))) + (z > 0.0 ? z : 0.0) - target * z;
    }
    const double unit = kind == 1 ? 1.0 : 1e4;
    const double error = 0.1 + 0.9 * sigmoid - target;
    slope = 1.8 * unit * error * sigmoid * (1.0 - sigmoid);
    return unit * error * error;
}

// Losses and the gradients (T, batch) of raw outputs, in place of the products that they come from.
// The mean loss of an epoch adds up in losses (T, epochs). One thread per trial: batches are small.
KERNEL output_loss(int32 trials, int32 batch, int32 epochs, int32 kind, const int32 *slots,
                   const int32 *counts, const int32 *cell_offsets, const float *targets,
                   const float *bias, int64 bias_stride, const int32 *step, float *outputs,
                   double *losses) {
    FOR_EACH(trial, trials) {
        float *deltas = outputs + trial * batch;
        const int32 *cells = slots + trial * batch;
        const int32 count = counts[trial];
        const int32 samples = cell_offsets[trial + 1] - cell_offsets[trial];
        const double offset = bias[trial * bias_stride];
        double loss = 0.0, pairs = (double)count;
        if (kind != 3) {
            for (int32 slot = 0; slot < count; slot++) {
                double slope;
                const double z = (double)((float)offset + deltas[slot]);
                loss += sample_loss(kind, z, (double)targets[cells[slot]], slope);
                deltas[slot] = (float)(slope / count);
            }
        } else {
            // Pairwise logistic loss over the pairs with unequal labels. Slopes need all outputs, so
            // each sample's are made from the pairs again, in the upper part of the buffer.
            float *slopes = deltas + (int64)trials * batch;
            pairs = 0.0;
            for (int32 slot = 0; slot < count; slot++) {
                float slope = 0.0f;
                for (int32 other = 0; other < count; other++) {
                    const float difference = targets[cells[slot]] - targets[cells[other]];
                    if (difference == 0.0f) continue;
                    const double sign = difference > 0.0f ? 1.0 : -1.0;
                    const double margin = sign * (double)(deltas[slot] - deltas[other]);
                    slope += (float)(-sign / (1.0 + exp(margin)));
                    if (other < slot) {
                        pairs += 1.0;
                        loss += log1p(exp(-fabs(margin))) + (margin < 0.0 ? -margin : 0.0);
                    }
                }
                slopes[slot] = slope;
            }
            for (int32 slot = 0; slot < count; slot++)
                deltas[slot] = pairs > 0.0 ? slopes[slot] / (float)pairs : 0.0f;
        }
        for (int32 slot = count; slot < batch; slot++) deltas[slot] = 0.0f;
        if (count > 0 && pairs > 0.0) {
            const int32 epoch = step[0] / ((samples + batch - 1) / batch);
            losses[trial * epochs + epoch] += loss / pairs * count / samples;
        }
    }
}

// Column sums of deltas (T, rows, columns) into the biases' gradients; 0 where none are trained.
KERNEL bias_gradient(int32 trials, int32 rows, int32 columns, int32 biased, const float *deltas,
                     float *gradients, int64 stride) {
    FOR_EACH(i, (int64)trials * columns) {
        const int64 trial = i / columns, column = i - trial * columns;
        float sum = 0.0f;
        if (biased)
            for (int32 row = 0; row < rows; row++)
                sum += deltas[(trial * rows + row) * columns + column];
        gradients[trial * stride + column] = sum;
    }
}

// The gradient of the top states (T, rows, 4 quads) from that of the readouts.
KERNEL readout_backward(int32 trials, int32 batch, int32 places, int32 quads, const int32 *slots,
                        const int32 *cell_starts, const float4 *readout_deltas, const int32 *step,
                        const uint64 *seeds, int32 site, uint32 limit, float kept,
                        float4 *deltas) {
    const int64 rows = (int64)batch * places;
    FOR_EACH(i, trials * rows * quads) {
        const int64 row = i / quads, slot = row / places, trial = slot / batch;
        const int32 quad = (int32)(i - row * quads);
        float4 delta = zero4();
        if (vertex_of(slots, cell_starts, slot, (int32)(row % places)) >= 0) {
            const int32 cell = slots[slot];
            const float share = 1.0f / (float)(cell_starts[cell + 1] - cell_starts[cell]);
            delta = multiply4(readout_deltas[slot * quads + quad],
                              dropout_mask(seeds[trial], step[0], site,
                                           (slot - trial * batch) * quads + quad, limit, kept));
            delta = scale4(share, delta);
        }
        deltas[i] = delta;
    }
}

// The gradient of a layer's sums (T, rows, 8 quads) from that of its states.
KERNEL split_deltas(int32 trials, int32 rows, int32 places, int32 quads, const float4 *sums,
                    const float4 *deltas, const int32 *step, const uint64 *seeds, int32 site,
                    uint32 limit, float kept, float4 *split) {
    FOR_EACH(i, (int64)trials * rows * quads) {
        const int64 place = i / quads, trial = place / rows, row = place - trial * rows;
        const int32 quad = (int32)(i - place * quads);
        const float4 mask = dropout_mask(seeds[trial], step[0], site,
                                         mask_row(row, places) * quads + quad, limit, kept);
        const float4 delta = scale4(0.5f, multiply4(deltas[i], mask));
        const int64 left = place * 2 * quads + quad;
        split[left] = gate4(sums[left], delta);
        split[left + quads] = gate4(sums[left + quads], delta);
    }
}

// The gradient of a layer's products from that of its sums: the transpose of the gathering. Those
// that read vertex u along the edges are u and the tails of its edges, which are u's list against
// the edges; `in_back_weights` holds, for its entries, the weight with which they read u.
KERNEL layer_backward(int32 trials, int32 batch, int32 places, int32 quads, const int32 *slots,
                      const int32 *cell_starts, const int32 *out_starts, const int32 *out_nodes,
                      const float *out_back_weights, const int32 *in_starts, const int32 *in_nodes,
                      const float *in_back_weights, const float4 *split, float4 *back) {
    const int64 rows = (int64)batch * places;
    FOR_EACH(i, trials * rows * quads) {
        const int64 place = i / quads, slot = place / places;
        const int32 quad = (int32)(i - place * quads);
        const int32 vertex = vertex_of(slots, cell_starts, slot, (int32)(place % places));
        float4 left = zero4(), right = zero4();
        if (vertex >= 0) {
            left = gather_neighbours(in_starts, in_nodes, in_back_weights, 0, 0, vertex, place,
                                     split + quad, 2 * quads);
            right = gather_neighbours(out_starts, out_nodes, out_back_weights, 0, 0, vertex, place,
                                      split + quads + quad, 2 * quads);
        }
        back[place * 2 * quads + quad] = left;
        back[place * 2 * quads + quads + quad] = right;
    }
}

// The first layer's weight gradient (types, 8 quads) of each trial: its inputs are one-hot, so the
// product is a sum of the rows of a type. Gradients step by `stride` quads.
KERNEL type_gradient(int32 trials, int32 batch, int32 places, int32 quads, int32 num_types,
                     const int32 *slots, const int32 *cell_starts, const uint8 *types,
                     const float4 *back, float4 *gradients, int64 stride) {
    FOR_EACH(i, (int64)trials * num_types * 2 * quads) {
        const int64 row = i / (2 * quads), trial = row / num_types;
        const int32 quad = (int32)(i - row * 2 * quads);
        const int32 type = (int32)(row - trial * num_types);
        float4 sum = zero4();
        for (int32 k = 0; k < batch; k++) {
            const int64 slot = trial * batch + k;
            for (int32 place = 0; place < places; place++) {
                const int32 vertex = vertex_of(slots, cell_starts, slot, place);
                if (vertex >= 0 && types[vertex] == type)
                    sum = add4(sum, back[(slot * places + place) * 2 * quads + quad]);
            }
        }
        gradients[trial * stride + type * 2 * quads + quad] = sum;
    }
}

DEVICE float adam(float weight, float gradient, float &mean, float &square, float l2, float shrink,
                  float size, float scale) {
    gradient += l2 * weight;
    mean = 0.9f * mean + (float)(1.0 - 0.9) * gradient;
    square = 0.999f * square + (float)(1.0 - 0.999) * gradient * gradient;
    return shrink * weight - size * mean / (sqrtf(square) * scale + 1e-8f);
}

// One step of Adam on all parameters (T, 4 quads) of all trials. sizes and shrinks, (T, steps), hold
// each step's bias-corrected rate and what decoupled decay leaves of a weight; scales, (steps), the
// other correction. A trial that has finished keeps its parameters.
KERNEL adam_update(int32 trials, int64 quads, int32 steps, const int32 *step, const int32 *counts,
                   const float *sizes, const float *shrinks, const float *scales, float l2,
                   const float4 *gradients, float4 *parameters, float4 *means, float4 *squares) {
    FOR_EACH(i, trials * quads) {
        const int64 trial = i / quads;
        if (counts[trial] == 0) continue;
        const float size = sizes[trial * steps + step[0]], scale = scales[step[0]];
        const float shrink = shrinks[trial * steps + step[0]];
        const float4 gradient = gradients[i];
        float4 weight = parameters[i], mean = means[i], square = squares[i];
        weight.x = adam(weight.x, gradient.x, mean.x, square.x, l2, shrink, size, scale);
        weight.y = adam(weight.y, gradient.y, mean.y, square.y, l2, shrink, size, scale);
        weight.z = adam(weight.z, gradient.z, mean.z, square.z, l2, shrink, size, scale);
        weight.w = adam(weight.w, gradient.w, mean.w, square.w, l2, shrink, size, scale);
        parameters[i] = weight;
        means[i] = mean;
        squares[i] = square;
    }
}

// Counts a step; the counter is on the device so that a recorded step can be replayed.
KERNEL next_step(int32 *step) {
    FOR_EACH(i, 1) step[i]++;
}
