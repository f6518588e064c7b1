"""What one trial of the neural predictor costs, beside one dense pass over the space in PyTorch.

    python -m bench.trial_cost [--threads 2] [--repeats 3]

A trial trains a classifier and a regressor (N = 172, width 144, 100 epochs) and predicts the whole
space once; the classifier judges few cells. The dense pass is the predictor as it is usually
written, padded to 7 vertices, on ``--threads`` threads; its outputs are compared first. Printed:
medians of wall and of processor seconds, and their ratio. The trial runs on one thread: trials
are shared out over cores. ``NPREP_SIMD=avx2`` and ``ATEN_CPU_CAPABILITY=avx2
ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2`` hold both sides to AVX2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from bench.common import paper_weights
from nprep.kernels.simd import SIMD
from nprep.predictor.gcn import train
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.spaces.nb101.cells import enumerate_space

_CELLS = 60_000


def seconds_of(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median wall and processor seconds of a call after one to warm up."""
    call()
    wall, processor = [], []
    for _ in range(repeats):
        begin, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - begin)
        processor.append(time.process_time() - used)
    return float(np.median(wall)), float(np.median(processor))


def main() -> None:
    """Prints the comparison."""
    import torch

    from bench.dense_torch import DenseGcn, predict_dense, tensors_of

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="of the dense pass")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    cells = enumerate_space()[0]
    shuffled = cells.take(np.random.default_rng(0).permutation(len(cells)))
    some, sample = shuffled.take(np.arange(_CELLS)), shuffled.take(np.arange(172))
    labels = np.random.default_rng(1).normal(0.92, 0.01, len(sample)).astype(np.float32)
    weights, plan = paper_weights(), SharingPlan.build(cells)
    model, tensors = DenseGcn(weights), tensors_of(some)
    expected = SharingPlan.build(some).outputs(weights)
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(predict_dense(model, tensors), expected, rtol=0, atol=tolerance)

    settings, seed = GcnSettings(), np.random.SeedSequence(0)
    training = seconds_of(lambda: train(sample, labels, settings, seed), options.repeats)
    inference = seconds_of(lambda: plan.outputs(weights), options.repeats)
    dense = seconds_of(lambda: predict_dense(model, tensors), options.repeats)
    # The dense pass is linear in cells: a part of it is timed.
    scale = len(cells) / _CELLS
    print(f"instructions: {SIMD}; dense pass on {options.threads} threads, {_CELLS:,} cells timed")
    print("| part | wall s | processor s |\n|---|---|---|")
    for name, factor, took in (
        ("one training", 1.0, training),
        ("whole space", 1.0, inference),
        ("dense pass", scale, dense),
    ):
        print(f"| {name} | {factor * took[0]:.2f} | {factor * took[1]:.2f} |")
    trial = [2 * training[k] + inference[k] for k in range(2)]
    print(
        f"a trial takes {trial[0]:.2f} s ({trial[1]:.2f} s of processor time): "
        f"{trial[0] / (scale * dense[0]):.3f} of the dense pass's time, "
        f"{trial[1] / (scale * dense[1]):.3f} of its processor time"
    )


if __name__ == "__main__":
    main()
