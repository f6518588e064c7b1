"""The two decoders of official records, and another protobuf library."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nprep.kernels.nb101.record import DECODED, UNDECIDED
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources._nasbench_record import Record, RecordError, decode_metrics, decode_record
from nprep.table.sources._runs import SpaceRows
from nprep.table.sources.nasbench import read_nasbench
from tests import tfrecord_writer as writer
from tests.table.official_files import kernel_decode, write
from tests.table.official_small import made_up_values, record, records, small_space


def test_the_compiled_decoder_reads_what_the_writer_writes() -> None:
    space = small_space()
    values = made_up_values(space, BUDGETS)
    for row in (0, 17, 59):
        for place, epochs in enumerate(BUDGETS):
            payload = record(space, row, epochs, *values[row, place, 1])
            status, found, budget, decoded = kernel_decode(payload, space)
            assert (status, found, budget) == (DECODED, row, place)
            assert np.array_equal(decoded, values[row, place, 1].reshape(-1))


def official_parts(space: SpaceRows, row: int = 3) -> tuple[list[object], bytes]:
    values = made_up_values(space)
    content = json.loads(record(space, row, 108, *values[row, 3, 0]))
    return content, base64.b64decode(content[4])


@pytest.mark.parametrize(
    "encode",
    [
        lambda content: json.dumps(content, separators=(",", ":")),
        lambda content: json.dumps(content, indent=2),
        lambda content: " \t" + json.dumps(content) + "\r\n ",
        lambda content: json.dumps(content).replace("/", "\\/"),
        lambda content: json.dumps(content).replace("=", "\\u003d"),
        lambda content: json.dumps([*content[:4], "\n".join(wrap(content[4]))]),
    ],
    ids=["compact", "indented", "space around", "escaped slashes", "escaped padding", "lines"],
)
def test_other_layouts_of_the_same_record(tmp_path: Path, encode: Callable[[object], str]) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = [encode(json.loads(p)).encode() for p in records(space, values)]
    runs = read_nasbench(write(tmp_path / "file.tfrecord", payloads), space)
    assert np.array_equal(runs.values, values, equal_nan=True)


def wrap(text: object) -> list[str]:
    assert isinstance(text, str)
    return [text[i : i + 76] for i in range(0, len(text), 76)]


fields = st.one_of(
    st.none(), st.floats(0, 1), st.just(math.nan), st.floats(allow_nan=False), st.floats(0, 1e4)
)


@given(
    evaluations=st.lists(st.lists(fields, min_size=5, max_size=5), max_size=5),
    parameters=st.one_of(st.none(), st.integers(-5, 2**31 - 1), st.just(-1)),
    unknown=st.lists(
        st.one_of(
            st.tuples(st.just(0), st.integers(0, 2**64 - 1)),
            st.tuples(st.just(1), st.integers(0, 2**64 - 1)),
            st.tuples(st.just(2), st.integers(0, 30)),
            st.tuples(st.just(5), st.integers(0, 2**32 - 1)),
            st.tuples(st.sampled_from([3, 4, 6, 7]), st.just(0)),
        ),
        max_size=2,
    ),
    cut=st.integers(0, 3),
    epochs=st.sampled_from([4, 108, 107]),
    row=st.integers(0, 59),
    same_parameters=st.booleans(),
)
@settings(max_examples=300)
def test_the_compiled_decoder_agrees_with_the_slow_one(
    evaluations: list[list[float | None]],
    parameters: int | None,
    unknown: list[tuple[int, int]],
    cut: int,
    epochs: int,
    row: int,
    same_parameters: bool,
) -> None:
    """What one decodes, the other decodes to the same; neither reads what is wrong."""
    space = small_space()
    if same_parameters:
        parameters = int(space.trainable_parameters[row])
    metrics = writer.model_metrics([writer.evaluation(e) for e in evaluations], parameters, None)
    for wire, value in unknown:
        metrics += writer.varint(9 << 3 | wire)
        if wire == 0:
            metrics += writer.varint(value)
        elif wire == 1:
            metrics += struct.pack("<Q", value)
        elif wire == 2:
            metrics += writer.varint(value) + bytes(value)
        elif wire == 5:
            metrics += struct.pack("<I", value)
    metrics = metrics[: len(metrics) - cut] if cut < 3 else metrics
    name = space.module_hash[row].tobytes().hex()
    cells = space.cells
    adjacency, operations = writer.cell_texts(
        int(cells.adjacency_bits[row]), cells.operations[row].tolist(), int(cells.num_vertices[row])
    )
    payload = writer.payload(name, epochs, adjacency, operations, metrics)
    slow: Record | None
    try:
        slow = decode_record(payload)
    except RecordError:
        slow = None
    status, found, budget, values = kernel_decode(payload, space)
    right = (
        slow is not None
        and slow.epochs in BUDGETS
        and slow.metrics.parameters == space.trainable_parameters[row]
    )
    assert status == (DECODED if right else UNDECIDED)
    if right:
        assert slow is not None
        assert (found, budget) == (row, BUDGETS.index(epochs))
        with np.errstate(over="ignore"):
            expected = np.array([e[1:] for e in slow.metrics.evaluations[1:]]).astype(np.float32)
        assert np.array_equal(values, expected.reshape(-1), equal_nan=True)


@given(st.binary(max_size=40))
@settings(max_examples=200)
def test_random_bytes_in_a_record_never_decode_nor_crash(data: bytes) -> None:
    space = small_space()
    content, metrics = official_parts(space)
    for payload in (
        data,
        json.dumps([*content[:4], base64.b64encode(data).decode()]).encode(),
        json.dumps([*content[:4], base64.b64encode(metrics + data).decode()]).encode()[:-1],
        json.dumps(content).encode() + data + b"x",
    ):
        assert kernel_decode(payload, space)[0] == UNDECIDED
        with pytest.raises(RecordError):
            decode_record(payload)


def test_metrics_are_those_that_googles_protobuf_writes_and_reads() -> None:
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="m.proto", package="nasbench", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    evaluation = file.message_type.add(name="EvaluationData")
    names = ["current_epoch", "training_time"]
    names += [f"{part}_accuracy" for part in ("train", "validation", "test")]
    for number, name in enumerate(names, start=1):
        evaluation.field.add(name=name, number=number, type=kinds.TYPE_DOUBLE, label=1)
    evaluation.field.add(name="checkpoint_path", number=6, type=kinds.TYPE_STRING, label=1)
    metrics = file.message_type.add(name="ModelMetrics")
    metrics.field.add(
        name="evaluation_data",
        number=1,
        type=kinds.TYPE_MESSAGE,
        type_name=".nasbench.EvaluationData",
        label=3,
    )
    metrics.field.add(name="trainable_parameters", number=2, type=kinds.TYPE_INT32, label=1)
    metrics.field.add(name="total_time", number=3, type=kinds.TYPE_DOUBLE, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    ModelMetrics = message_factory.GetMessageClass(  # It is a class.
        pool.FindMessageTypeByName("nasbench.ModelMetrics")
    )
    rng = np.random.default_rng(0)
    space = small_space()
    for row in range(20):
        rows = rng.random((3, 5))
        rows[:, 0] = (0, 54, 108)
        parameters = int(space.trainable_parameters[row])
        message = ModelMetrics(trainable_parameters=parameters, total_time=99.5)
        for values in rows:
            message.evaluation_data.add(**dict(zip(names, values.tolist(), strict=True)))
        if row % 2:
            message.evaluation_data[1].checkpoint_path = "/a/ckpt-1"
        raw = message.SerializeToString()
        # Ours reads theirs.
        decoded = decode_metrics(raw)
        assert decoded.parameters == parameters
        assert np.array_equal(decoded.evaluations, rows)
        cells = space.cells
        texts = writer.cell_texts(
            int(cells.adjacency_bits[row]),
            cells.operations[row].tolist(),
            int(cells.num_vertices[row]),
        )
        name = space.module_hash[row].tobytes().hex()
        status, _, _, values = kernel_decode(writer.payload(name, 108, *texts, raw), space)
        assert status == DECODED
        assert np.array_equal(values, rows[1:, 1:].astype(np.float32).reshape(-1))
        # Theirs reads the writer's.
        written = writer.model_metrics(
            [writer.evaluation(line.tolist(), "/a" if row % 2 else None) for line in rows],
            parameters,
            99.5,
        )
        theirs = ModelMetrics.FromString(written)
        assert theirs.trainable_parameters == parameters
        assert theirs.total_time == 99.5
        assert [[getattr(e, n) for n in names] for e in theirs.evaluation_data] == rows.tolist()
    negative = ModelMetrics(trainable_parameters=-3).SerializeToString()
    assert decode_metrics(negative).parameters == -3
