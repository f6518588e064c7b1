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

from nprep.errors import TableError
from nprep.kernels.nb101.record import BAD_CHECKSUM, DECODED, UNDECIDED, decode_records
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table.sources import nasbench
from nprep.table.sources._nasbench_record import (
    Record,
    RecordError,
    decode_metrics,
    decode_record,
)
from nprep.table.sources._runs import SpaceRows
from nprep.table.sources.nasbench import read_nasbench
from nprep.table.table import Table
from tests import tfrecord_writer as writer
from tests.table.official_small import made_up_values, record, records, small_space


def write(path: Path, payloads: list[bytes]) -> Path:
    writer.write(path, payloads)
    return path


def kernel_decode(payload: bytes, space: SpaceRows) -> tuple[int, int, int, np.ndarray]:
    """Status, row, budget and values of one record, from the compiled decoder alone."""
    data = np.frombuffer(bytearray(writer.frame(payload)), np.uint8)
    status, rows = np.full(1, 77, np.uint8), np.full(1, -5, np.int32)
    budget, values = np.full(1, 77, np.uint8), np.full((1, 8), -5, np.float32)
    decode_records(
        data,
        np.array([12], np.int64),
        np.array([len(payload)], np.int64),
        np.array(BUDGETS, np.int64),
        space.index.slot_keys,
        space.index.slot_rows,
        space.module_hash,
        space.cells.adjacency_bits,
        space.cells.operations,
        space.trainable_parameters,
        status,
        rows,
        budget,
        values,
    )
    return int(status[0]), int(rows[0]), int(budget[0]), values[0]


# What a file gives.


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("chunk_bytes", [300, 1 << 20])
@pytest.mark.parametrize("budgets", [(108,), BUDGETS])
def test_every_value_comes_back(
    tmp_path: Path, jobs: int, chunk_bytes: int, budgets: tuple[int, ...]
) -> None:
    space = small_space()
    values = made_up_values(space, budgets)
    path = write(tmp_path / "file.tfrecord", records(space, values))
    seen = []
    runs = read_nasbench(
        path,
        space,
        jobs=jobs,
        chunk_bytes=chunk_bytes,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert np.array_equal(runs.values, values, equal_nan=True)
    assert runs.attributes["records"] == len(space) * 3 * len(budgets)
    assert runs.warnings == ()
    assert runs.budgets() == budgets
    assert seen == sorted(seen)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)


def test_missing_and_surplus_runs_are_counted_and_kept_in_order(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = []
    for row in range(len(space)):
        for repeat in range(3):
            if (row, repeat) != (4, 1):
                payloads.append(record(space, row, 108, *values[row, 3, repeat]))
        if row == 7:
            payloads.append(record(space, row, 108, *values[row, 3, 0]))
    runs = read_nasbench(write(tmp_path / "file.tfrecord", payloads), space)
    assert runs.attributes["missing_runs"] == 1
    assert runs.attributes["extra_runs"] == 1
    assert len(runs.warnings) == 2
    # The third run of cell 4 takes the second place: repeats are numbered as they come.
    assert np.array_equal(runs.values[4, 3, 1], values[4, 3, 2])
    assert np.isnan(runs.values[4, 3, 2]).all()
    assert np.array_equal(runs.values[7, 3], values[7, 3])


def test_a_file_that_lacks_cells_is_refused_unless_that_is_wanted(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    path = write(tmp_path / "file.tfrecord", records(space, values)[:-3])
    with pytest.raises(TableError, match=r"1 of the 60 cells have no run"):
        read_nasbench(path, space)
    runs = read_nasbench(path, space, allow_missing=True)
    assert np.isnan(runs.values[-1]).all()


def test_other_orders_are_refused_unless_that_is_wanted(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = records(space, values)
    payloads[12:15], payloads[30:33] = payloads[30:33], payloads[12:15]
    path = write(tmp_path / "file.tfrecord", payloads)
    byte = sum(len(p) + 16 for p in payloads[:15])
    with pytest.raises(TableError, match=rf"record 15 .* at byte {byte}: .*official order"):
        read_nasbench(path, space)
    runs = read_nasbench(path, space, any_order=True)
    assert np.array_equal(runs.values, values, equal_nan=True)


def test_passes_over_the_cells_are_in_order(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = [record(space, row, 108, *values[row, 3, k]) for k in range(3) for row in range(60)]
    runs = read_nasbench(write(tmp_path / "file.tfrecord", payloads), space)
    assert np.array_equal(runs.values, values, equal_nan=True)


def test_an_official_file_may_be_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = small_space()
    path = write(tmp_path / "x.tfrecord", records(space, made_up_values(space))[::-1])
    digest = str(read_nasbench(path, space, any_order=True).attributes["sha256"])
    monkeypatch.setitem(nasbench.OFFICIAL_SHA256, digest, "nasbench_only108.tfrecord")
    assert read_nasbench(path, space).attributes["official"] == "nasbench_only108.tfrecord"


def test_an_isomorphic_matrix_with_its_own_parameters_is_accepted(tmp_path: Path) -> None:
    space = small_space()
    values = made_up_values(space)
    payloads = records(space, values)
    row, swapped = next(
        (row, other)
        for row in range(len(space))
        if (other := swap_two_vertices(space, row)) is not None
    )
    adjacency, operations, parameters = swapped
    for repeat in range(3):
        content = json.loads(payloads[3 * row + repeat])
        half, final = values[row, 3, repeat].tolist()
        metrics = writer.run_metrics(108, half, final, parameters)
        payloads[3 * row + repeat] = writer.payload(content[0], 108, adjacency, operations, metrics)
    runs = read_nasbench(write(tmp_path / "file.tfrecord", payloads), space)
    assert np.array_equal(runs.values, values, equal_nan=True)
    assert runs.attributes["isomorphic_records"] == 3


def swap_two_vertices(space: SpaceRows, row: int) -> tuple[str, str, int] | None:
    """The cell with two neighbouring vertices swapped, if they have no edge between them."""
    from nprep.spaces.nb101.cells import Spec, specs_from_cells

    spec = specs_from_cells(space.cells.take(np.array([row])))[0]
    for v in range(1, spec.num_vertices - 2):
        if spec.matrix[v][v + 1]:
            continue
        order = list(range(spec.num_vertices))
        order[v], order[v + 1] = v + 1, v
        other = Spec(
            [[spec.matrix[i][j] for j in order] for i in order],
            [spec.operations[i] for i in order],
        )
        if other != spec:
            text = "".join(str(e) for line in other.matrix for e in line)
            return text, ",".join(other.operations), other.trainable_parameters()
    return None


# The two decoders.


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


# Another protobuf library.


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


# What is wrong with a record is said, with its number and byte.


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


# The command line.


def build(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    from nprep._console import run
    from nprep.table.cli import main

    status = run(main, ["build", "--source", "nasbench", *arguments])
    return status, capsys.readouterr().err


def test_building_a_table_and_leaving_nothing_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = small_space()
    monkeypatch.setattr(nasbench, "load_space", lambda threads=None: space)
    values = made_up_values(space, BUDGETS)
    path = write(tmp_path / "file.tfrecord", records(space, values))
    output = tmp_path / "out" / "table.h5"
    output.parent.mkdir()
    status, shown = build(capsys, str(path), str(output))
    assert status == 0
    assert "100%" in shown
    table = Table.open(output)
    for stage, stage_name in enumerate(("half_way", "final")):
        for value, name in enumerate(
            ("training_seconds", "train_accuracy", "validation_accuracy", "test_accuracy")
        ):
            stored = table.metrics[stage_name, name].values
            assert np.array_equal(stored, values[..., stage, value])
    assert set(table.views) == {"measured", "completed"}
    assert len(table.view("measured")) == len(space)
    assert table.sources["nasbench"]["file"] == "file.tfrecord"
    output.unlink()
    damaged = bytearray(path.read_bytes())
    for place in (3, 9, 100, 600, len(damaged) - 2):
        broken = bytearray(damaged)
        broken[place] ^= 4
        path.write_bytes(broken)
        status, shown = build(capsys, "--quiet", str(path), str(output))
        assert status == 2
        assert shown.startswith("error: ")
        assert shown.count("\n") == 1
        assert "record" in shown
        assert list(output.parent.iterdir()) == []
