from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from nprep.errors import InvalidSpecError
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.space import MobileSpace

torch = pytest.importorskip("torch", reason="torch is not installed")

from nprep.imagenet.networks import cell_network  # noqa: E402 - needs torch
from nprep.imagenet.networks.cell_network import CellNetwork, vertex_channels  # noqa: E402
from nprep.imagenet.networks.mobile import MobileNetwork, count_flops, count_parameters  # noqa: E402

FULL = MobileSpace()
SMALL = MobileSpace(num_classes=10, image_size=32, width=0.25, depth=2, stem_stride=1)


def _meta(space: MobileSpace, encoding: np.ndarray) -> MobileNetwork:
    with torch.device("meta"):
        return MobileNetwork(space, encoding)


@pytest.mark.parametrize("space", [FULL, SMALL, MobileSpace(image_size=97, width=0.5, depth=3)])
def test_closed_forms_equal_what_torch_counts(space: MobileSpace) -> None:
    drawn = space.sample(np.random.default_rng(1), 3)
    named = [space.known(n) for n in ("largest", "smallest", "mobilenet-v2-like")]
    encodings = np.stack([*drawn, *named])
    macs = costs.macs(space).of(encodings)
    parameters = costs.parameters(space).of(encodings)
    for encoding, mac, count in zip(encodings, macs, parameters, strict=True):
        model = _meta(space, encoding)
        assert count_parameters(model) == count
        assert count_flops(model, space.image_size) == 2 * mac


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("mobilenet-v2-like", 4_708_840), ("largest", 5_136_360), ("smallest", 2_158_000)],
)
def test_known_members(name: str, parameters: int) -> None:
    assert costs.parameters(FULL).of(FULL.known(name))[0] == parameters


def test_mobilenet_v2_like_is_torchvisions_with_these_stages() -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    stages = [
        [1, 16, 1, 1],
        [6, 32, 4, 2],
        [6, 40, 4, 2],
        [6, 80, 4, 2],
        [6, 96, 4, 1],
        [6, 192, 4, 2],
        [6, 320, 1, 1],
    ]
    torch.manual_seed(0)
    theirs = models.MobileNetV2(inverted_residual_setting=stages).eval()
    ours = MobileNetwork(FULL, FULL.known("mobilenet-v2-like")).eval()
    assert count_parameters(ours) == count_parameters(theirs)
    # Both list their weights in the order of computation, so one can take the other's.
    weights = list(theirs.state_dict().values())
    ours.load_state_dict(dict(zip(ours.state_dict(), weights, strict=True)))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_every_choice_runs_forward_and_backward() -> None:
    for encoding in SMALL.sample(np.random.default_rng(2), 3):
        model = MobileNetwork(SMALL, encoding)
        logits = model(torch.randn(2, 3, 32, 32))
        assert logits.shape == (2, 10)
        logits.sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def _cell(bits: int, vertices: int) -> np.ndarray:
    matrix = np.zeros((7, 7), int)
    matrix[np.triu_indices(7, 1)] = bits >> np.arange(21) & 1
    return matrix[:vertices, :vertices]


def test_cell_networks_have_the_tables_parameters(
    measured_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Making layers and drawing weights, even without memory, takes most of the time of building a
    # network: layers of the same shape are one layer here, counted wherever it stands.
    monkeypatch.setattr(CellNetwork, "apply", lambda model, function: model)
    monkeypatch.setattr(cell_network, "ConvBnRelu", functools.cache(cell_network.ConvBnRelu))

    def count(model: torch.nn.Module) -> int:
        every = model.named_parameters(remove_duplicate=False)
        return sum(p.numel() for _, p in every if p.requires_grad)

    with np.load(measured_path) as table:
        rows = np.random.default_rng(0).choice(len(table["num_vertices"]), 1000, replace=False)
        bits, ops, sizes, wanted = (
            table[name][rows]
            for name in ("adjacency_bits", "operations", "num_vertices", "trainable_parameters")
        )
    with torch.device("meta"):
        counts = [
            count(CellNetwork(_cell(int(b), n), o[:n]))
            for b, o, n in zip(bits, ops, sizes.tolist(), strict=True)
        ]
    assert counts == wanted.tolist()


def test_best_cell_has_the_published_parameters() -> None:
    edges = [(0, 1), (0, 2), (0, 5), (0, 6), (1, 5), (2, 3), (3, 4), (4, 5), (5, 6)]
    matrix = np.zeros((7, 7), int)
    matrix[tuple(zip(*edges, strict=True))] = 1
    with torch.device("meta"):
        model = CellNetwork(matrix, np.array([3, 1, 0, 2, 0, 0, 4]))
    assert count_parameters(model) == 32_426_634


def test_smallest_cell_network() -> None:
    matrix = np.zeros((7, 7), int)
    matrix[[0, 1, 1, 1, 2, 2, 3, 4, 5], [1, 2, 4, 6, 3, 6, 6, 5, 6]] = 1
    model = CellNetwork(matrix, np.array([3, 2, 2, 2, 2, 2, 4]))
    assert count_parameters(model) == 227_274
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_channels_are_split_with_the_remainder_first() -> None:
    matrix = np.zeros((5, 5), int)
    matrix[0, 1:4] = 1
    matrix[1:4, 4] = 1
    assert vertex_channels(128, 128, matrix) == [128, 43, 43, 42, 128]


def test_cell_by_hand() -> None:
    # input -> 1 -> 3, input -> 2 -> 3(out); vertex 1 also feeds 2 with one channel too many.
    matrix = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
    torch.manual_seed(0)
    model = CellNetwork(matrix, np.array([3, 2, 1, 4]), stem_channels=9).eval()
    cell = model.stacks[0][0]
    images = torch.randn(2, 9, 8, 8)
    assert cell.channels == [9, 5, 4, 9]
    first = torch.nn.functional.max_pool2d(cell.projections["1"](images), 3, 1, 1)
    second = cell.operations["2"](first[:, :4] + cell.projections["2"](images))
    wanted = torch.cat([first, second], 1) + cell.projections["3"](images)
    torch.testing.assert_close(cell(images), wanted)


@pytest.mark.parametrize(
    ("matrix", "operations", "message"),
    [
        ([[0, 0], [0, 0]], [3, 4], "path"),
        ([[0, 1], [1, 0]], [3, 4], "upper"),
        ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], [3, 7, 4], "code 7"),
        ([[0, 1, 1], [0, 0, 0], [0, 0, 0]], [3, 0, 4], "path"),
        ([[0, 1], [0, 0]], [3, 0, 4], "operations"),
    ],
)
def test_wrong_cells_are_refused(matrix: list, operations: list, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        CellNetwork(np.array(matrix), np.array(operations))
