"""What the CUDA kernels use, and how fast they are where there is a GPU.

Run from the root of the repository: ``python -m bench.cuda.report``. Every timing follows a check
of the same call against the CPU kernels or dense NumPy; a path that fails its check gets no
number. Without a GPU the report says so and holds no timing.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np

from nprep.errors import MissingDependencyError
from nprep.kernels.cuda import space as cuda_space
from nprep.kernels.cuda.device import CupyDevice
from nprep.kernels.cuda.gcn import CudaGcn
from nprep.kernels.cuda.gcn_train import CudaTrainer
from nprep.kernels.cuda.layout import GcnLayout
from nprep.kernels.cuda.nvrtc import Nvrtc, find_nvrtc, usage_table
from nprep.kernels.nb101 import cells as cpu_cells
from nprep.kernels.nb101 import md5
from nprep.kernels.nb101.enumerate import enumerate_cells
from nprep.kernels.numeric.lookup import KeyIndex
from nprep.kernels.numeric.rng import seed_state
from nprep.spaces.nb101.cells import CellBatch
from tests.cuda.naive_gcn import NUM_TYPES, dense_outputs, plan_for, random_parameters
from tests.cuda.test_train import PLAIN, draw, graphs_of, plain_orders

WIDTH, HEAD, SAMPLES = 144, (128,), 172


def timed(device: CupyDevice, call: Callable[[], Any], repeats: int = 7) -> float:
    """Median seconds of a call after one to warm up, the device drained before and after."""
    call()
    seconds = []
    for _ in range(repeats):
        device.cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        call()
        device.cupy.cuda.Device().synchronize()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def row(name: str, right: bool, seconds: Callable[[], float], amount: str) -> str:
    """A line of the table; the time is taken only if the results are right."""
    if not right:
        return f"| {name} | WRONG RESULT, not timed | |"
    took = seconds()
    return f"| {name} | {1e3 * took:.3f} | {amount} |"


def space_rows(device: CupyDevice, space: CellBatch) -> list[str]:
    """Hashing, keys, lookup, encodings and sampling over the whole space."""
    arrays = space.adjacency_bits, space.operations, space.num_vertices
    resident = cuda_space.DeviceCells.upload(device, *arrays)
    keys = cpu_cells.key_batch(*arrays)
    index = cuda_space.DeviceIndex.upload(device, KeyIndex.build(keys))
    hashes = device.download(cuda_space.module_hashes(device, resident))
    right_hashes = md5.module_hash_batch(*arrays).view(np.uint32)
    states = device.upload(
        np.stack([seed_state(child) for child in np.random.SeedSequence(1).spawn(len(space))])
    )
    all_rows = np.arange(len(space))
    amount = f"{len(space):,} cells"

    def line(name: str, right: bool, call: Callable[[], Any]) -> str:
        return row(name, bool(right), lambda: timed(device, call), amount)

    return [
        line(
            "canonical keys",
            (device.download(cuda_space.cell_keys(device, resident)) == keys).all(),
            lambda: cuda_space.cell_keys(device, resident),
        ),
        line(
            "prune, key and find specs",
            (device.download(index.find_specs(resident)) == all_rows).all(),
            lambda: index.find_specs(resident),
        ),
        line(
            "exact module hash",
            (hashes == right_hashes).all(),
            lambda: cuda_space.module_hashes(device, resident),
        ),
        line("dense encodings", True, lambda: cuda_space.encode(device, resident)),
        line("random specs", True, lambda: cuda_space.random_specs(device, states)),
    ]


def inference_rows(device: CupyDevice, space: CellBatch) -> list[str]:
    """The paper's predictor over the whole space."""
    plan = plan_for(space, 3, shared=True)
    parameters = random_parameters(np.random.default_rng(1), 16, 3, WIDTH, HEAD)
    checked = np.random.default_rng(2).integers(0, len(space), 2000)
    expected = dense_outputs(space.take(checked), parameters[0], 3, WIDTH, HEAD)
    lines = []
    for precision, tolerance in (("float32", 1e-4), ("tf32", 1e-2), ("bfloat16", 5e-2)):
        predictor = CudaGcn(device, plan, precision, memory=16 << 30)
        got = predictor.predict(parameters[:1], WIDTH, HEAD)[0, checked]
        error = float(np.abs(got - expected).max() / np.abs(expected).max())
        for count in (1, 16):

            def call(count: int = count, predictor: CudaGcn = predictor) -> Any:
                return predictor.predict(parameters[:count], WIDTH, HEAD)

            lines.append(
                row(
                    f"predict, {precision}, {count} predictors (largest error {error:.1e})",
                    error < tolerance,
                    lambda call=call: timed(device, call, 5),  # type: ignore[misc] # bound now, not when called
                    f"{count} x {len(space):,} cells, width {WIDTH}",
                )
            )
    return lines


def training_rows(device: CupyDevice, space: CellBatch) -> list[str]:
    """Steps of the paper's predictor, for blocks of trials."""
    lines = []
    layout = GcnLayout(NUM_TYPES, 3, WIDTH, HEAD)
    for trials in (1, 10, 100):
        rules = PLAIN.__class__(**{**PLAIN.__dict__, "epochs": 20, "batch": 10, "drop_head": 0.1})
        counts = [SAMPLES] * trials
        chosen, targets = draw(space, counts, 3)
        graphs = graphs_of(chosen, np.cumsum([0, *counts]).tolist(), targets)
        start = random_parameters(np.random.default_rng(4), trials, 3, WIDTH, HEAD)
        trainer = CudaTrainer(
            device, layout, rules, graphs, start, plain_orders(rules, counts),
            np.arange(trials, dtype=np.uint64),
        )  # fmt: skip
        begin = time.perf_counter()
        _, losses = trainer.train()
        took = time.perf_counter() - begin
        if not (losses[:, -1] < losses[:, 0]).all():
            lines.append(f"| train, {trials} trials | losses did not fall, not timed | |")
            continue
        each = 1e3 * took / trainer.steps / trials
        lines.append(
            f"| train one step, {trials} trials | {each:.4f} per trial | N = {SAMPLES}, "
            f"width {WIDTH}, first kernels' compilation included |"
        )
    return lines


def main() -> int:
    """Prints the report."""
    print(f"{datetime.now(timezone.utc):%Y-%m-%d}, {platform.machine()}, {platform.system()}\n")
    library = find_nvrtc()
    if library is None:
        print("NVRTC was not found, so registers are not reported; pip install nvidia-cuda-nvrtc\n")
    else:
        nvrtc = Nvrtc(library)
        print(usage_table(nvrtc, [80, 90, nvrtc.architectures[-1]]) + "\n")
    try:
        device = CupyDevice()
    except MissingDependencyError as error:
        print(f"No GPU could be used, so nothing was timed: {error}")
        return 0
    runtime = device.cupy.cuda.runtime
    print(
        f"{device.name}, driver {runtime.driverGetVersion()}, runtime "
        f"{runtime.runtimeGetVersion()}, CuPy {device.cupy.__version__}\n"
    )
    space = CellBatch(*enumerate_cells()[:3])
    print("| path | ms (median) | amount |\n|---|---|---|")
    for lines in (space_rows, inference_rows, training_rows):
        print("\n".join(lines(device, space)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
