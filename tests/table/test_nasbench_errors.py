"""What is wrong with a record of an official file is said, with its number and byte."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import TableError
from nprep.kernels.nb101.record import BAD_CHECKSUM, DECODED, decode_records
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources._runs import SpaceRows
from nprep.table.sources.nasbench import read_nasbench
from tests import tfrecord_writer as writer
from tests.table.official_files import kernel_decode, write
from tests.table.official_small import made_up_values, records, small_space


def change(index: int, value: object) -> Callable[[list[object], bytes], bytes]:
    """An edit that replaces one of the record's five values."""

    def edit(content: list[object], metrics: bytes) -> bytes:
        return json.dumps([*content[:index], value, *content[index + 1 :]]).encode()

    return edit


def with_metrics(make: Callable[[bytes], bytes]) -> Callable[[list[object], bytes], bytes]:
    def edit(content: list[object], metrics: bytes) -> bytes:
        encoded = base64.b64encode(make(metrics)).decode()
        return json.dumps([*content[:4], encoded]).encode()

    return edit


def three(*lines: tuple[float, ...]) -> bytes:
    return writer.model_metrics([writer.evaluation(line) for line in lines], 227_274)


START = (0.0, 0.0, 0.1, 0.1, 0.1)
HALF = (54.0, 10.0, 0.8, 0.8, 0.8)
END = (108.0, 20.0, 0.9, 0.9, 0.9)
# A valid cell that is not among the 60.
CHAIN = "".join(str(int(j == i + 1)) for i in range(7) for j in range(7))
CHAIN_OPERATIONS = "input" + ",maxpool3x3" * 5 + ",output"
WRONG: dict[str, tuple[Callable[[list[object], bytes], bytes], str]] = {
    "no JSON": (lambda c, m: b"\x0a\x05hello", "no JSON text"),
    "no UTF-8": (lambda c, m: b'["\xff"]', "no JSON text"),
    "an object": (lambda c, m: b'{"a": 1}', "no list of 5 values"),
    "four values": (lambda c, m: json.dumps(c[:4]).encode(), "no list of 5 values"),
    "fields in another order": (
        lambda c, m: json.dumps([c[1], c[0], *c[2:]]).encode(),
        "not, in this order",
    ),
    "adjacency and operations swapped": (
        lambda c, m: json.dumps([c[0], c[1], c[3], c[2], c[4]]).encode(),
        "adjacency matrix is 'input",
    ),
    "hash in capitals": (lambda c, m: change(0, str(c[0]).upper())(c, m), "module hash is"),
    "unknown hash": (change(0, "0" * 32), "module hash is 0000.* but that of its cell"),
    "epochs a text": (change(1, "108"), "not, in this order"),
    "epochs true": (change(1, True), "not, in this order"),
    "unknown budget": (change(1, 107), "trained for 107 epochs"),
    "matrix not square": (change(2, "0" * 48), "adjacency matrix is"),
    "matrix with a two": (change(2, "02" + "0" * 47), "adjacency matrix is"),
    "matrix with a loop": (change(2, "1" + "0" * 48), "not upper triangular"),
    "matrix too large": (change(2, "0" * 64), "adjacency matrix is"),
    "unknown operation": (
        lambda c, m: change(3, str(c[3]).replace("conv3x3-bn-relu", "conv5x5", 1))(c, m),
        "unknown operation 'conv5x5'",
    ),
    "an operation too few": (
        lambda c, m: change(3, ",".join(str(c[3]).split(",")[1:]))(c, m),
        "operations for [67] vertices",
    ),
    "no base64": (change(4, "a"), "no base64"),
    "no protobuf": (with_metrics(lambda m: b"\xff" * 12), "no protobuf message"),
    "metrics cut off": (with_metrics(lambda m: m[:-3]), "cut off"),
    "two evaluations": (with_metrics(lambda m: three(HALF, END)), "has 2 evaluations"),
    "four evaluations": (with_metrics(lambda m: three(START, HALF, HALF, END)), "4 evaluations"),
    "evaluations swapped": (with_metrics(lambda m: three(START, END, HALF)), "wrong order"),
    "accuracy above 1": (
        with_metrics(lambda m: three(START, HALF, (108.0, 20.0, 0.9, 94.0, 0.9))),
        "outside 0 to 1",
    ),
    "negative time": (
        with_metrics(lambda m: three(START, HALF, (108.0, -20.0, 0.9, 0.9, 0.9))),
        "training time is -20",
    ),
    "other parameters": (
        with_metrics(lambda m: three(START, HALF, END)),
        "states 227274 trainable parameters",
    ),
    "no parameters": (
        with_metrics(
            lambda m: writer.model_metrics([writer.evaluation(e) for e in (START, HALF, END)], None)
        ),
        "states None trainable parameters",
    ),
    "an unpruned cell": (
        lambda c, m: json.dumps(
            [c[0], 108, "0010" + "0000" * 3, "input,maxpool3x3,maxpool3x3,output", c[4]]
        ).encode(),
        "lead nowhere",
    ),
    "a cell of another space": (
        lambda c, m: json.dumps([c[0], 108, CHAIN, CHAIN_OPERATIONS, c[4]]).encode(),
        "is none of the 60",
    ),
}


def seven_vertex_row(space: SpaceRows) -> int:
    with_conv = (space.cells.operations == 0).any(axis=1) & (space.cells.num_vertices == 7)
    return int(np.argmax(with_conv))


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_record_is_named_and_described(tmp_path: Path, case: str) -> None:
    space = small_space()
    edit, message = WRONG[case]
    row = seven_vertex_row(space)
    payloads = records(space, made_up_values(space))
    at = 3 * row + 1
    content = json.loads(payloads[at])
    payloads[at] = edit(content, base64.b64decode(content[4]))
    path = write(tmp_path / "file.tfrecord", payloads)
    byte = sum(len(p) + 16 for p in payloads[:at])
    with pytest.raises(TableError, match=rf"record {at} \(counting .* at byte {byte}: .*{message}"):
        read_nasbench(path, space, chunk_bytes=700)


def test_a_flipped_bit_anywhere_in_a_payload_or_its_checksum(tmp_path: Path) -> None:
    space = small_space()
    payloads = records(space, made_up_values(space))[:12]
    path = write(tmp_path / "file.tfrecord", payloads)
    good = path.read_bytes()
    begin = sum(len(p) + 16 for p in payloads[:5])
    for place in (
        *range(begin + 12, begin + 16 + len(payloads[5]), 41),
        begin + 13 + len(payloads[5]),
    ):
        data = bytearray(good)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(
            TableError, match=rf"record 5 .* at byte {begin}: the checksum of its payload is wrong"
        ):
            read_nasbench(path, space, allow_missing=True)
    assert kernel_decode(payloads[0], space)[0] == DECODED
    frame = bytearray(writer.frame(payloads[0]))
    frame[30] ^= 1
    status = np.zeros(1, np.uint8)
    decode_records(
        np.frombuffer(frame, np.uint8), np.array([12]), np.array([len(payloads[0])]),
        np.array(BUDGETS), space.index.slot_keys, space.index.slot_rows, space.module_hash,
        space.cells.adjacency_bits, space.cells.operations, space.trainable_parameters, status,
        np.zeros(1, np.int32), np.zeros(1, np.uint8), np.zeros((1, 8), np.float32),
    )  # fmt: skip
    assert status[0] == BAD_CHECKSUM


def test_of_two_errors_the_first_in_the_file_is_reported(tmp_path: Path) -> None:
    space = small_space()
    payloads = records(space, made_up_values(space))
    path = write(tmp_path / "file.tfrecord", payloads)
    data = bytearray(path.read_bytes())
    data[sum(len(p) + 16 for p in payloads[:20]) + 40] ^= 1  # Payload of record 20.
    data[sum(len(p) + 16 for p in payloads[:22]) + 2] ^= 1  # Length of record 22.
    path.write_bytes(data)
    for jobs in (1, 4):
        with pytest.raises(TableError, match="record 20 "):
            read_nasbench(path, space, jobs=jobs, chunk_bytes=600)
