"""The official API of NASBench-101, on a table of nprep.

    from nprep.nasbench import api

    nasbench = api.NASBench("table.h5", seed=0)  # or nasbench_only108.tfrecord
    spec = api.ModelSpec(matrix, ops)
    data = nasbench.query(spec)

Names, keys, exceptions and counters are those of https://github.com/google-research/nasbench. What
differs, and which of its defects are mended, is listed in this package's README.md.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Set
from typing import Any, NoReturn

import numpy as np

from nprep.errors import InvalidSpecError
from nprep.kernels.nb101.cells import key_scalar
from nprep.kernels.numeric.lookup import find_key
from nprep.nasbench._store import METRICS, Store, open_store
from nprep.nasbench.lib import config
from nprep.nasbench.lib.model_spec import OPERATIONS, ModelSpec, pack_cell
from nprep.spaces.nb101.cells import parse_hash
from nprep.spaces.nb101.facts import BUDGETS
from nprep.table._hashes import find_hashes, first_rows

__all__ = ["ModelSpec", "NASBench", "OutOfDomainError"]

# The official names of the metrics, in the order of METRICS.
_NAMES = ("training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
_TIME, _VALIDATION = 0, 2
_STAGES = (("halfway", "half_way"), ("final", "final"))
_HASHES_AT_ONCE = 4096

# Bit of the edge from row to column in a cell's adjacency bits; bit 31 is never set.
_PAIR_BITS = np.full((7, 7), 31, np.uint32)
_PAIR_BITS[np.triu_indices(7, 1)] = np.arange(21)


class OutOfDomainError(Exception):
    """The requested cell or budget is outside of what the data set covers."""


class NoDataError(OutOfDomainError, KeyError):
    """A cell of the space that this table has no such run of.

    The official files have every run, so the original raises KeyError or IndexError where one is
    missing; this can be caught as KeyError too.
    """

    def __str__(self) -> str:
        """The message, without the quotes that a KeyError puts around it."""
        return str(self.args[0]) if self.args else ""


class _Hashes(Set[str]):
    """All module hashes, in order, made as they are asked for."""

    def __init__(self, nasbench: NASBench) -> None:
        self._nasbench = nasbench

    def __len__(self) -> int:
        return len(self._nasbench._store.module_hash)

    def __contains__(self, module_hash: object) -> bool:
        return self._nasbench._find_hash(module_hash) >= 0

    def __iter__(self) -> Iterator[str]:
        hashes = self._nasbench._store.module_hash
        for start in range(0, len(hashes), _HASHES_AT_ONCE):
            text = hashes[start : start + _HASHES_AT_ONCE].tobytes().hex()
            for at in range(0, len(text), 32):
                yield text[at : at + 32]


class _Statistics(Mapping[str, Any]):
    """One of the official dicts from module hash to statistics, made as it is asked for."""

    def __init__(self, nasbench: NASBench, computed: bool) -> None:
        self._nasbench = nasbench
        self._computed = computed

    def __getitem__(self, module_hash: str) -> Any:
        row = self._nasbench._row_of_hash(module_hash)
        if self._computed:
            return self._nasbench._computed_statistics(row)
        return self._nasbench._fixed_statistics(row)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nasbench.hash_iterator())

    def __len__(self) -> int:
        return len(self._nasbench.hash_iterator())


class NASBench:
    """The data set: look-ups, and counters of what they would have cost.

    Attributes:
        config: The official settings.
        valid_epochs: The budgets that can be queried.
        training_time_spent: Seconds of training of all queries since the last reset.
        total_epochs_spent: Epochs likewise.
        fixed_statistics: Mapping from module hash to matrix, operations and parameters.
        computed_statistics: Mapping from module hash to budget to runs to metrics.
        history: An empty dict, which the official class has too.
    """

    def __init__(self, dataset_file: str | os.PathLike[str], seed: int | None = None) -> None:
        """Opens a data set.

        Args:
            dataset_file: A table of nprep (opened in milliseconds) or an official TFRecord file
                (read into memory).
            seed: Decides which run each query returns; two objects with one seed answer the same
                queries alike. None: another choice every time. No global state is touched.

        Raises:
            nprep.errors.TableError: The file is missing, foreign or damaged.
        """
        self.config = config.build_config()
        self._random = random.Random(seed)
        self._store: Store = open_store(dataset_file)
        self._first_rows = first_rows(self._store.module_hash)
        self._file = os.fspath(dataset_file)
        values = self._store.values
        # For each stage the arrays of the metrics in the order of METRICS, None where missing.
        self._arrays = {
            name: [values.get((stage, metric)) for metric in METRICS] for name, stage in _STAGES
        }
        self.valid_epochs = self._store.valid_epochs()
        self.fixed_statistics: Mapping[str, Any] = _Statistics(self, computed=False)
        self.computed_statistics: Mapping[str, Any] = _Statistics(self, computed=True)
        self.history: dict[Any, Any] = {}
        self.training_time_spent = 0.0
        self.total_epochs_spent = 0

    def query(
        self, model_spec: ModelSpec, epochs: int = 108, stop_halfway: bool = False
    ) -> dict[str, Any]:
        """Fetches one of the runs of a cell, drawn at random, and charges it to the counters.

        Args:
            model_spec: The cell.
            epochs: Budget, one of ``valid_epochs``.
            stop_halfway: Return, and charge, the run as it was half-way.

        Returns:
            A new dict: module_adjacency, module_operations, trainable_parameters, training_time
            (seconds), train_accuracy, validation_accuracy, test_accuracy. An accuracy that the
            table lacks is NaN.

        Raises:
            OutOfDomainError: The cell is not one of the space, the budget is unknown, or the table
                has no such run.
        """
        if epochs not in self.valid_epochs:
            raise OutOfDomainError(
                f"invalid number of epochs, must be one of {sorted(self.valid_epochs)}"
            )
        row = self._row_of_spec(model_spec)
        budget = BUDGETS.index(epochs)
        runs = int(self._store.runs[row, budget])
        stage = "halfway" if stop_halfway else "final"
        if runs == 0:
            self._refuse(row, f"run of {epochs} epochs")
        repeat = self._random.randint(0, runs - 1)
        if runs < self.config["num_repeats"]:
            repeat = int(np.flatnonzero(~np.isnan(self._validation()[row, budget]))[repeat])
        values = [
            np.nan if array is None else float(array[row, budget, repeat])
            for array in self._arrays[stage]
        ]
        if values[_TIME] != values[_TIME] or values[_VALIDATION] != values[_VALIDATION]:
            what = "training time or validation accuracy"
            self._refuse(row, f"{'half-way ' if stop_halfway else ''}{what} at {epochs} epochs")
        data = self._fixed_statistics(row)
        data.update(zip(_NAMES, values, strict=True))
        self.training_time_spent += values[_TIME]
        self.total_epochs_spent += epochs // 2 if stop_halfway else epochs
        return data

    def is_valid(self, model_spec: ModelSpec) -> bool:
        """Whether a cell is one of the space; charges nothing."""
        try:
            self._check_spec(model_spec)
        except OutOfDomainError:
            return False
        return True

    def get_budget_counters(self) -> tuple[float, int]:
        """Training seconds and epochs of all queries since the last reset."""
        return self.training_time_spent, self.total_epochs_spent

    def reset_budget_counters(self) -> None:
        """Sets the counters to zero."""
        self.training_time_spent = 0.0
        self.total_epochs_spent = 0

    def evaluate(self, model_spec: ModelSpec, model_dir: str) -> NoReturn:
        """Would train a network from scratch, which this class does not do.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "evaluate trains a network with TensorFlow on a TPU, which nprep does not: query looks "
            "the measured runs up; to train networks yourself, install the extra 'imagenet' "
            "(pip install 'nprep[imagenet]') and see nprep.imagenet"
        )

    def hash_iterator(self) -> Set[str]:
        """All module hashes, ascending; made as they are asked for."""
        return _Hashes(self)

    def get_metrics_from_hash(
        self, module_hash: str
    ) -> tuple[dict[str, Any], dict[int, list[dict[str, float]]]]:
        """All runs of a cell, without charge.

        Args:
            module_hash: 32 hex characters.

        Returns:
            Fixed statistics (module_adjacency, module_operations, trainable_parameters), and
            budget to a list of runs, each with halfway_ and final_ training_time, train_accuracy,
            validation_accuracy and test_accuracy; NaN where the table has none. New objects.

        Raises:
            KeyError: The hash is unknown.
        """
        row = self._row_of_hash(module_hash)
        return self._fixed_statistics(row), self._computed_statistics(row)

    def get_metrics_from_spec(
        self, model_spec: ModelSpec
    ) -> tuple[dict[str, Any], dict[int, list[dict[str, float]]]]:
        """All runs of a cell, without charge (see ``get_metrics_from_hash``).

        Raises:
            OutOfDomainError: The cell is not one of the space, or the table lacks it.
        """
        row = self._row_of_spec(model_spec)
        return self._fixed_statistics(row), self._computed_statistics(row)

    def get_module_hash(self, model_spec: ModelSpec) -> str:
        """The module hash of a cell.

        Raises:
            OutOfDomainError: The cell is not one of the space.
        """
        self._check_spec(model_spec)
        return self._hash_spec(model_spec)

    # The two private methods of the original that code in the wild calls.

    def _check_spec(self, model_spec: ModelSpec) -> None:
        """Raises ``OutOfDomainError`` for what is no cell of the space."""
        ops, matrix = model_spec.ops, model_spec.matrix
        if not model_spec.valid_spec or ops is None or matrix is None:
            raise OutOfDomainError("invalid spec, provided graph is disconnected.")
        vertices, edges = len(ops), int(np.count_nonzero(matrix))
        if vertices > self.config["module_vertices"]:
            raise OutOfDomainError(
                f"too many vertices, got {vertices} (max vertices = "
                f"{self.config['module_vertices']})"
            )
        if edges > self.config["max_edges"]:
            raise OutOfDomainError(
                f"too many edges, got {edges} (max edges = {self.config['max_edges']})"
            )
        for op in ops:
            if not isinstance(op, str):
                raise OutOfDomainError(f"operations must be strings, not {op!r}")
        if ops[0] != "input":
            raise OutOfDomainError("first operation should be 'input'")
        if ops[-1] != "output":
            raise OutOfDomainError("last operation should be 'output'")
        available = self.config["available_ops"]
        for op in ops[1:-1]:
            if op not in available:
                raise OutOfDomainError(f"unsupported op {op} (available ops = {available})")

    def _hash_spec(self, model_spec: ModelSpec) -> str:
        """The module hash of a spec."""
        return model_spec.hash_spec(self.config["available_ops"])

    # Rows.

    def _validation(self) -> Any:
        return self._arrays["final"][_VALIDATION]

    def _refuse(self, row: int, what: str) -> NoReturn:
        name = self._store.module_hash[row].tobytes().hex()
        raise NoDataError(f"{self._file} has no {what} of the cell {name}")

    def _row_of_spec(self, model_spec: ModelSpec) -> int:
        self._check_spec(model_spec)
        assert model_spec.matrix is not None
        assert model_spec.ops is not None
        bits, codes, size = pack_cell(model_spec.matrix, model_spec.ops)
        index = self._store.index
        key = np.uint64(key_scalar(bits, codes, size))
        row = int(find_key(index.slot_keys, index.slot_rows, key))
        if row < 0:
            raise NoDataError(f"{self._file} does not hold the cell {self._hash_spec(model_spec)}")
        return row

    def _find_hash(self, module_hash: object) -> int:
        if not isinstance(module_hash, str):
            return -1
        try:
            wanted = parse_hash(module_hash)
        except InvalidSpecError:
            return -1
        hashes = self._store.module_hash
        return int(find_hashes(hashes, self._first_rows, wanted.reshape(1, 16))[0])

    def _row_of_hash(self, module_hash: str) -> int:
        row = self._find_hash(module_hash)
        if row < 0:
            raise KeyError(module_hash)
        return row

    def _fixed_statistics(self, row: int) -> dict[str, Any]:
        cells = self._store.cells
        size = int(cells.num_vertices[row])
        matrix = cells.adjacency_bits[row] >> _PAIR_BITS[:size, :size] & np.uint32(1)
        return {
            "module_adjacency": matrix.astype(np.int8),
            "module_operations": [OPERATIONS[code] for code in cells.operations[row, :size]],
            "trainable_parameters": int(self._store.trainable_parameters[row]),
        }

    def _computed_statistics(self, row: int) -> dict[int, list[dict[str, float]]]:
        validation = self._validation()
        computed: dict[int, list[dict[str, float]]] = {}
        for budget, epochs in enumerate(BUDGETS):
            if not self._store.runs[row, budget]:
                continue
            computed[epochs] = [
                {
                    f"{stage}_{name}": np.nan
                    if array is None
                    else float(array[row, budget, repeat])
                    for stage, _ in _STAGES
                    for name, array in zip(_NAMES, self._arrays[stage], strict=True)
                }
                for repeat in np.flatnonzero(~np.isnan(validation[row, budget]))
            ]
        return computed
