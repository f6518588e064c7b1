"""What a study found: numbers as JSON and text, and the Pareto figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.imagenet.files import write_atomically, write_json
from nprep.imagenet.study.strategies import TOP, best_of
from nprep.imagenet.study.study import Study
from nprep.predictor.agreement import kendall_tau
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.costs import AdditiveCost


def summarise(study: Study) -> dict[str, Any]:
    """The numbers of a study.

    Kendall's tau over the networks that the predictor chose, all of them trained after it was
    fitted, is honest but says little: they are few and alike. The one over folds is beside it.
    """
    plan, methods = study.plan, {}
    for method in study.settings.methods:
        proposals = study.ledger.proposals(method)
        best = best_of(plan, proposals)
        row: dict[str, Any] = {
            "trainings": len(proposals),
            "failed": sum(p.training.status == "failed" for p in proposals),
        }
        if best is not None and best.training.result is not None:
            row |= {
                "encoding": best.training.encoding,
                "val_top1": best.training.result["val_top1"],
                "test_top1": best.training.result["test_top1"],
                "position": best.position,
            }
        pairs = [
            (p.predicted, p.training.accuracy)
            for p in proposals
            if p.phase == TOP and p.predicted is not None and p.training.accuracy is not None
        ]
        if pairs:
            predicted, accuracy = np.array(pairs).T
            row["tau_of_chosen"] = kendall_tau(predicted, accuracy, constant=0.0)
            row["mean_predicted"], row["mean_of_chosen"] = predicted.mean(), accuracy.mean()
        methods[method] = row
    trainings = study.ledger.trainings()
    return {
        "methods": methods,
        "cross_validation": study.ledger.noted("predictor"),
        "trainings": len(trainings),
        "starts": sum(training.starts for training in trainings),
        "train_seconds": sum(t.result["train_seconds"] for t in trainings if t.result),
    }


@dataclass(frozen=True)
class Cloud:
    """Networks as points of cost and accuracy.

    Attributes:
        cost: (n,) cost.
        accuracy: (n,) in percent.
    """

    cost: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    def frontier(self) -> Cloud:
        """The points that no other beats in both, by rising cost."""
        order = np.lexsort((-self.accuracy, self.cost))
        accuracy = self.accuracy[order]
        before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy)[:-1]])
        rows = order[accuracy > before]
        return Cloud(self.cost[rows], self.accuracy[rows])


def clouds(study: Study, cost: AdditiveCost) -> dict[str, Cloud]:
    """The points of the figure: "predicted" ones, and "trained" ones by method."""
    space = study.limits.space
    found: dict[str, Cloud] = {}
    path = study.folder / "predictions.npz"
    if path.exists():
        with np.load(path) as kept:
            predicted = kept["predicted"].astype(np.float64)
            found["predicted"] = Cloud(cost.of(kept["encodings"]), 100 * predicted)
    for method in study.settings.methods:
        good = [
            p.training
            for p in study.ledger.proposals(method)
            if p.training.accuracy is not None and (p.phase == TOP or not study.plan.separate)
        ]
        if good:
            encodings = np.stack([space.parse(t.encoding) for t in good])
            accuracy = np.array([t.accuracy for t in good], np.float64)
            found[f"trained, {method}"] = Cloud(cost.of(encodings), 100 * accuracy)
    return found


def draw_pareto(axes: Any, points: dict[str, Cloud], label: str) -> None:
    """Draws the clouds and the frontiers of the trained ones.

    Args:
        axes: Of matplotlib.
        points: See :func:`clouds`.
        label: Of the cost axis.
    """
    # Okabe and Ito's colours, told apart by colour-blind people too. Methods share networks: the
    # first one's marks are rings, so that those of others show inside them.
    styles = iter((("#0072B2", "o", 7), ("#D55E00", ".", 6), ("#009E73", "+", 6)))
    for name, cloud in points.items():
        if name == "predicted":
            axes.plot(cloud.cost, cloud.accuracy, ".", ms=1, color="0.7", zorder=0, label=name)
            continue
        colour, mark, size = next(styles)
        edge = cloud.frontier()
        axes.plot(
            cloud.cost, cloud.accuracy, mark, ms=size, mfc="none" if mark == "o" else colour,
            color=colour, label=name,
        )  # fmt: skip
        axes.step(edge.cost, edge.accuracy, where="post", lw=1, color=colour)
    axes.set_xlabel(label)
    axes.set_ylabel("validation top-1 (%)")
    axes.legend(fontsize=8, markerscale=1.5)


def write_report(study: Study, latency: AdditiveCost | None) -> dict[str, Any]:
    """Writes ``report.json`` and ``pareto.png`` into the study folder; returns the numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    summary = summarise(study)
    write_json(study.folder / "report.json", summary)
    cost = costs.macs(study.limits.space) if latency is None else latency
    label = "MMAC, closed form" if latency is None else "latency (ms), additive table"
    points = clouds(study, cost)
    if latency is None:
        points = {name: Cloud(c.cost / 1e6, c.accuracy) for name, c in points.items()}
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    draw_pareto(figure.add_subplot(), points, label)
    write_atomically(
        study.folder / "pareto.png", lambda file: figure.savefig(file, format="png", dpi=150)
    )
    return summary


def format_summary(summary: dict[str, Any], folder: Path) -> str:
    """The numbers as a few lines to read."""
    lines = ["method      trainings  failed  val top-1  test top-1  network"]
    for method, row in summary["methods"].items():
        if "encoding" not in row:
            lines.append(f"{method:<11} {row['trainings']:>9}  {row['failed']:>6}  none finished")
            continue
        test = "-" if row["test_top1"] is None else f"{100 * row['test_top1']:.2f} %"
        lines.append(
            f"{method:<11} {row['trainings']:>9}  {row['failed']:>6}  "
            f"{100 * row['val_top1']:>7.2f} %  {test:>10}  {row['encoding']}"
        )
    tried = summary["cross_validation"]
    if tried:
        lines.append(f"predictor: cross-validated Kendall tau {tried[0]['tau']:.3f}")
    lines.append(
        f"{summary['trainings']} trainings, {summary['starts']} starts, "
        f"{summary['train_seconds']:.0f} s of training; see {folder}"
    )
    return "\n".join(lines)
