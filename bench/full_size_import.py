"""Writes a made-up only108 file of full size and imports it: speed, memory and equality.

The real files cannot be shipped. This one has their format and their number of records; its test
accuracies average to the measured means, and every other value is made up. All arrays that come
out of the import are compared with those that went in, bit for bit.

    NPREP_DATA=FOLDER_WITH_measured.npz python -m bench.full_size_import [--full] [--jobs 2]
"""

from __future__ import annotations

import argparse
import base64
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from nprep.kernels.numeric.crc32c import masked_crc32c
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources._runs import empty_values
from tests import tfrecord_writer as writer


def make_values(measured: Path, budgets: tuple[int, ...]) -> np.ndarray:
    """(N, 4, 3, 2, 4) float32 of made-up runs; NaN at budgets that the file will not have."""
    rng = np.random.default_rng(0)
    with np.load(measured) as archive:
        sums = archive["test_correct_108_sum3"].astype(np.int64)
        parameters = archive["trainable_parameters"]
    values = empty_values(len(sums))
    for place, epochs in enumerate(BUDGETS):
        if epochs not in budgets:
            continue
        first = np.clip(sums // 3 + rng.integers(-30, 31, len(sums)), 0, 9984)
        second = np.clip((sums - first) // 2, 0, 9984)
        correct = np.stack([first, second, np.clip(sums - first - second, 0, 9984)], axis=1)
        for stage in range(2):
            shape = (len(sums), 3)
            seconds = epochs * (stage + 1) * (5 + parameters[:, None] / 3e6 + rng.random(shape))
            values[:, place, :, stage, 0] = seconds
            for field in range(1, 4):
                noise = rng.integers(-40, 41, shape) if field < 3 or stage == 0 else 0
                values[:, place, :, stage, field] = np.clip(correct + noise, 0, 9984) / 9984
    return values


def write_file(path: Path, measured: Path, values: np.ndarray) -> int:
    """Writes the records in the order of the hashes and returns their number."""
    with np.load(measured) as archive:
        hashes = archive["module_hash"]
        bits = archive["adjacency_bits"].tolist()
        operations = archive["operations"].tolist()
        vertices = archive["num_vertices"].tolist()
        parameters = archive["trainable_parameters"].tolist()
    start = b"\x0a\x2d" + writer.evaluation((0.0, 0.0, 0.1, 0.1, 0.1))
    evaluation = struct.Struct("<BBBdBdBdBdBd")
    places = [b for b in range(4) if not np.isnan(values[:, b]).all()]
    records = 0
    with path.open("wb", buffering=1 << 20) as file:
        for row in range(len(hashes)):
            adjacency, names = writer.cell_texts(bits[row], operations[row], vertices[row])
            name = hashes[row].tobytes().hex()
            tail = b"\x10" + writer.varint(parameters[row])
            for place in places:
                epochs = BUDGETS[place]
                head = f'["{name}", {epochs}, "{adjacency}", "{names}", "'.encode()
                for half, final in values[row, place].tolist():
                    message = start
                    for epoch, (a, b, c, d) in ((epochs / 2, half), (float(epochs), final)):
                        message += evaluation.pack(10, 45, 9, epoch, 17, a, 25, b, 33, c, 41, d)
                    message += tail + b"\x19" + struct.pack("<d", 1.25 * final[0])
                    payload = head + base64.b64encode(message) + b'"]'
                    length = struct.pack("<Q", len(payload))
                    data = np.frombuffer(length + payload, np.uint8)
                    file.write(length + struct.pack("<I", int(masked_crc32c(data, 0, 8))))
                    file.write(payload)
                    file.write(struct.pack("<I", int(masked_crc32c(data, 8, len(data)))))
                    records += 1
    return records


def child(path: Path, jobs: int, expected: Path) -> None:
    """Imports the file in a process of its own, whose peak memory is then the import's."""
    from nprep.table.sources._runs import STAGES, VALUES, load_space, to_content
    from nprep.table.sources.nasbench import read_nasbench
    from nprep.table.table import Table
    from nprep.table.writer import write_table

    start = time.perf_counter()
    space = load_space()
    made, work = time.perf_counter(), time.process_time()
    runs = read_nasbench(path, space, jobs=jobs)
    done, work = time.perf_counter(), time.process_time() - work
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wanted = np.load(expected, mmap_mode="r")
    equal = runs.values.shape == wanted.shape and all(
        np.array_equal(runs.values[i : i + 50000], wanted[i : i + 50000], equal_nan=True)
        for i in range(0, len(wanted), 50000)
    )
    records = int(runs.attributes["records"])
    print(f"space: {made - start:.2f} s")
    print(f"import: {records} records in {done - made:.2f} s, {records / (done - made):,.0f} /s")
    print(f"processor time: {work:.2f} s, {records / work:,.0f} records per second of it")
    print(f"peak memory: {peak:.0f} MiB; every value equal: {equal}")
    print(dict(runs.attributes), runs.warnings)
    if not equal:
        raise SystemExit("the imported values differ from those written")
    start = time.perf_counter()
    output = path.with_suffix(".h5")
    write_table(output, to_content("nasbench", runs, space))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"table written in {time.perf_counter() - start:.2f} s, peak memory {peak:.0f} MiB")
    table = Table.open(output)
    for stage, stage_name in enumerate(STAGES):
        for value, name in enumerate(VALUES):
            stored, made_up = table.metrics[stage_name, name].values, wanted[..., stage, value]
            if not np.array_equal(stored, made_up, equal_nan=True):
                raise SystemExit(f"the table's {stage_name} {name} differs from what was written")
    print("every array of the table equal: True")


def main() -> None:
    """Writes, then imports twice: the first time may compile the kernels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all four budgets: 5,083,488 records")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--import-only", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.import_only:
        child(arguments.import_only[0], arguments.jobs, arguments.import_only[1])
        return
    measured = Path(os.environ.get("NPREP_DATA", ".")) / "measured.npz"
    if not measured.is_file():
        raise SystemExit("set NPREP_DATA to the folder that holds measured.npz")
    with tempfile.TemporaryDirectory() as folder:
        path, expected = Path(folder) / "made_up.tfrecord", Path(folder) / "values.npy"
        values = make_values(measured, BUDGETS if arguments.full else (108,))
        np.save(expected, values)
        start = time.perf_counter()
        records = write_file(path, measured, values)
        del values
        print(
            f"wrote {records} records, {path.stat().st_size / 1e6:.0f} MB, "
            f"in {time.perf_counter() - start:.0f} s"
        )
        for _ in range(2):
            command = [sys.executable, __file__, "--jobs", str(arguments.jobs), "--import-only"]
            subprocess.run([*command, str(path), str(expected)], check=True)


if __name__ == "__main__":
    main()
