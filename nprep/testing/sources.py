"""What every table that a source builds must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nprep.search.registry import make_method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.table.check import mismatches
from nprep.table.export import to_numpy
from nprep.table.schema import METRICS, STAGES, UNITS, Content, Provenance
from nprep.table.table import Table
from nprep.table.writer import write_table


class SourceSuite:
    """Derive from it, name the class ``Test...`` and say how the content is built.

    Example::

        class TestMySource(SourceSuite):
            def content(self) -> Content:
                return my_source.build(...)
    """

    def content(self) -> Content:
        """What the source makes of some input; called once a test."""
        raise NotImplementedError("say how the content is built")

    def _table(self, folder: Path) -> Table:
        write_table(folder / "table.h5", self.content())
        return Table.open(folder / "table.h5")

    def test_where_values_come_from_is_said(self) -> None:
        """Every source is named with its file, and every metric is known."""
        content = self.content()
        assert content.sources
        assert all("file" in attributes for attributes in content.sources.values())
        for metrics in (content.metrics, content.means):
            for stage, name in metrics:
                assert stage in STAGES
                assert name in METRICS
                assert name in UNITS

    def test_the_table_passes_its_check(self, tmp_path: Path) -> None:
        """Keys, facts, ranges and provenance agree."""
        assert list(mismatches(self._table(tmp_path))) == []

    def test_a_table_comes_back_as_it_was_written(self, tmp_path: Path) -> None:
        """Architectures and values survive the file."""
        content, table = self.content(), self._table(tmp_path)
        assert (table.space.name, table.budgets, table.repeats) == (
            content.space.name,
            content.budgets,
            content.repeats,
        )
        np.testing.assert_array_equal(
            table.space.keys(table.cells), content.space.keys(content.cells)
        )
        for name, metric in content.metrics.items():
            np.testing.assert_array_equal(table.metrics[name].values, metric.values)
            np.testing.assert_array_equal(table.metrics[name].provenance, metric.provenance)

    def test_views_say_what_is_modelled_and_can_be_searched(self, tmp_path: Path) -> None:
        """A description that hides modelled values would mislead."""
        table = self._table(tmp_path)
        for name, meaning in table.views.items():
            view = table.view(name)
            counts = view.provenance["validation_accuracy"]
            made_up = {Provenance.MODELLED.name.lower(), Provenance.FITTED.name.lower()}
            if made_up & {*counts}:
                assert "model" in meaning or "fitted" in meaning
            method = make_method("random", 0)
            (trace,) = method.run_block(view, [trial_seed(0, "random", 0)], 5, ReplayProtocol())
            assert np.isfinite(trace.validation).all()

    def test_it_can_be_exported(self, tmp_path: Path) -> None:
        """One row for each architecture."""
        table = self._table(tmp_path)
        assert len(to_numpy(table)["row"]) == len(table)
