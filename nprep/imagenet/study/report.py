"""What a study found: numbers as JSON, CSV and text, and the Pareto figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep.imagenet.files import write_file, write_json, write_table
from nprep.imagenet.networks.architectures import parse_arch
from nprep.imagenet.study.ledger import Ledger
from nprep.imagenet.study.limits import Limits
from nprep.imagenet.study.settings import FULL, PROXY, best_of
from nprep.imagenet.study.study import Study, file_name
from nprep.predictor.agreement import kendall_tau
from nprep.spaces.base import Space
from nprep.spaces.proxyless import costs
from nprep.spaces.proxyless.chains import ProxylessSpace
from nprep.spaces.proxyless.costs import AdditiveCost

COLUMNS = (
    "training",
    "network",
    "stage",
    "status",
    "epochs",
    "seed",
    "val_top1",
    "test_top1",
    "parameters",
    "train_seconds",
    "starts",
    "proxy_top1",
    "asked_by",
    "predicted",
    "predicted_by",
    "folder",
    "error",
)


def summarise(study: Study) -> dict[str, Any]:
    """The numbers of a study.

    Kendall's tau over the last candidates, all of them trained after the predictor was fitted, is
    honest but says little: they are few and alike. The one of nested cross-validation is beside it.
    """
    methods = {}
    for method in study.settings.methods:
        queries = study.ledger.queries(method)
        best = best_of(study.settings, queries)
        row: dict[str, Any] = {
            "trainings": len(queries),
            "failed": sum(q.training.status == "failed" for q in queries),
        }
        if best is not None and best.training.result is not None:
            row |= {
                "encoding": best.training.encoding,
                "val_top1": best.training.result["val_top1"],
                "test_top1": best.training.result["test_top1"],
                "position": best.position,
            }
        pairs = [
            (q.predicted, q.training.accuracy)
            for q in queries[-study.settings.top_k :]
            if q.predicted is not None and q.training.accuracy is not None
        ]
        if len(pairs) > 1:
            predicted, accuracy = np.array(pairs).T
            row["tau_of_chosen"] = kendall_tau(predicted, accuracy, constant=0.0)
            row["mean_predicted"], row["mean_of_chosen"] = predicted.mean(), accuracy.mean()
        fitted = study.ledger.noted(f"predictor {method}")
        if fitted is not None:
            row["predictor"] = fitted
        methods[method] = row
    trainings = study.ledger.trainings()
    return {
        "methods": methods,
        "trainings": len(trainings),
        "starts": sum(training.starts for training in trainings),
        "train_seconds": sum(t.result["train_seconds"] for t in trainings if t.result),
        "proxy_and_full": _proxy_and_full(study.ledger),
    }


def _proxy_and_full(ledger: Ledger) -> dict[str, Any] | None:
    """How well proxy trainings rank what full ones gave, over networks that had both."""
    accuracy = {(t.stage, t.encoding): t.accuracy for t in ledger.trainings()}
    pairs = [
        (proxy, full)
        for (stage, encoding), full in accuracy.items()
        if stage == FULL and full is not None
        for proxy in (accuracy.get((PROXY, encoding)),)
        if proxy is not None
    ]
    if len(pairs) < 2:
        return None
    proxies, fulls = np.array(pairs).T
    return {"networks": len(pairs), "kendall_tau": kendall_tau(proxies, fulls, constant=0.0)}


def table_of(study: Study) -> list[dict[str, Any]]:
    """Every training of a study as a row of COLUMNS."""
    asked: dict[int, list[str]] = {}
    predicted: dict[str, tuple[float, str]] = {}
    for method in study.ledger.methods():
        for query in study.ledger.queries(method):
            asked.setdefault(query.training.number, []).append(method)
            if query.predicted is not None:
                predicted[query.training.encoding] = (query.predicted, method)
    trainings = study.ledger.trainings()
    proxies = {t.encoding: t.accuracy for t in trainings if t.stage == PROXY}
    rows = []
    for training in trainings:
        settings, result = study.settings_of(training), training.result or {}
        value, by = predicted.get(training.encoding, (None, None))
        row = {
            "training": training.number,
            "network": training.encoding,
            "stage": training.stage,
            "status": training.status,
            "epochs": settings.epochs,
            "seed": settings.seed,
            "starts": training.starts,
            "proxy_top1": proxies.get(training.encoding),
            "asked_by": " ".join(dict.fromkeys(asked.get(training.number, []))),
            "predicted": value,
            "predicted_by": by,
            "folder": str(study.folder_of(training).relative_to(study.folder)),
            "error": training.error,
        }
        row |= {k: result.get(k) for k in ("val_top1", "test_top1", "parameters", "train_seconds")}
        rows.append(row)
    return rows


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


CostOf = Callable[[Any], NDArray[np.float64]]


def cost_of(limits: Limits, latency: AdditiveCost | None) -> tuple[CostOf, str]:
    """The horizontal axis of the figure: a function of a batch, and what to write there."""
    space: Space = limits.space
    if isinstance(space, ProxylessSpace):
        cost = costs.macs(space.mobile) if latency is None else latency
        scale = 1e6 if latency is None else 1.0
        label = "MMAC, closed form" if latency is None else "latency (ms), additive table"
        return (lambda batch: cost.of(batch.values) / scale), label

    def parameters(batch: Any) -> NDArray[np.float64]:
        return np.asarray(space.columns(batch)["trainable_parameters"], np.float64) / 1e6

    return parameters, "million parameters, at the width of the table"


def clouds(study: Study, cost: CostOf) -> dict[str, Cloud]:
    """The points of the figure: "predicted" ones, and "trained" ones by method."""
    space = study.limits.space
    found: dict[str, Cloud] = {}
    for method in study.settings.methods:
        path = study.folder / "predictions" / f"{file_name(method)}.npz"
        if path.exists() and "predicted" not in found:
            with np.load(path) as kept:
                predicted = kept["predicted"].astype(np.float64)
                batch = space.from_codes(kept["codes"])
            found["predicted"] = Cloud(cost(batch), 100 * predicted)
    for method in study.settings.methods:
        good = [
            q.training
            for q in study.ledger.queries(method)
            if q.training.accuracy is not None
            and (q.training.stage == FULL or not study.settings.separate)
        ]
        if good:
            values = np.concatenate([cost(parse_arch(space, t.encoding)) for t in good])
            accuracy = np.array([t.accuracy for t in good], np.float64)
            found[f"trained, {method}"] = Cloud(values, 100 * accuracy)
    return found


def draw_pareto(axes: Any, points: dict[str, Cloud], label: str) -> None:
    """Draws the clouds and the frontiers of the trained ones.

    Args:
        axes: Of matplotlib.
        points: See ``clouds``.
        label: Of the cost axis.
    """
    # Okabe and Ito's colours, told apart by colour-blind people too. Methods share networks: the
    # first one's marks are rings, so that those of others show inside them.
    styles = (("#0072B2", "o", 7), ("#D55E00", ".", 6), ("#009E73", "+", 6), ("#CC79A7", "x", 5))
    trained = 0
    for name, cloud in points.items():
        if name == "predicted":
            axes.plot(cloud.cost, cloud.accuracy, ".", ms=1, color="0.7", zorder=0, label=name)
            continue
        colour, mark, size = styles[trained % len(styles)]
        trained += 1
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
    """Writes ``report.json``, ``results.csv`` and ``pareto.png``; returns the numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    summary = summarise(study)
    write_json(study.folder / "report.json", summary)
    write_table(study.folder / "results.csv", table_of(study), COLUMNS)
    cost, label = cost_of(study.limits, latency)
    points = clouds(study, cost)
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    draw_pareto(figure.add_subplot(), points, label)
    write_file(
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
    for method, row in summary["methods"].items():
        fitted = row.get("predictor")
        if fitted is None:
            continue
        nested = "unknown" if fitted["tau"] is None else f"{fitted['tau']:.3f}"
        text = f"{method}: Kendall tau of its predictor {nested} by nested cross-validation"
        if len(fitted["tried"]) > 1:
            text += (
                f" ({fitted['tried'][0]['tau']:.3f} on the folds that chose its settings among "
                f"{len(fitted['tried'])})"
            )
        lines.append(text)
    both = summary["proxy_and_full"]
    if both is not None:
        lines.append(
            f"proxy and full trainings of {both['networks']} networks: Kendall tau "
            f"{both['kendall_tau']:.3f}"
        )
    lines.append(
        f"{summary['trainings']} trainings, {summary['starts']} starts, "
        f"{summary['train_seconds']:.0f} s of training; see {folder}"
    )
    return "\n".join(lines)
