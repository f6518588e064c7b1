"""Settings chosen on some tables and judged on others: ``python -m nprep.quality choose``.

What is tuned on the table on which it is reported looks better than it is. Here the open choices of
a method are made on one side (a few tables under their protocols) and judged on the other with
fresh seeds, and the other way round. The rule of choice is fixed before anything runs:

1. Trials of the settings that ship, and of the same with one factor changed, level by level. Trial
   t of all of them has the same seed, so the same first architectures where their number is equal.
2. A trial's score on a case is its regret, averaged over the budgets and divided by that of random
   search; a side's score is the mean over its cases. The regret is the distance of the best
   architecture found to the best there is: in mean validation accuracy where the mean drives the
   search, else in test accuracy.
3. Of each factor the level with the best mean paired score is taken if it beats what ships by more
   than one standard error of that difference. All levels so taken make the choice.
4. What ships, the choice of this side and the choice of the other are judged on each case with
   seeds of their own; shown are paired differences of the regret with their 95 % intervals.

Every trial is written to a file as it ends, and a run that is started again continues.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nprep import _files
from nprep._console import log
from nprep.errors import SettingsError
from nprep.quality.choices import FAMILIES, Changes, Factor, made
from nprep.results.statistics import interval
from nprep.runs.protocols import protocol_named, with_rules
from nprep.runs.source import open_source
from nprep.search.baselines import RandomSearch
from nprep.search.method import Method
from nprep.search.rules import ReplayProtocol, trial_seed
from nprep.search.trace import Trace
from nprep.table.view import View

_RESAMPLES = 2000
_RANDOM_TRIALS = 200


@dataclass(frozen=True)
class Case:
    """A table under a protocol.

    Attributes:
        table: A file, or a name that a table has.
        view: Name of the view.
        protocol: Name of the protocol.
        budgets: Samples after which the regret is taken.
    """

    table: str
    view: str
    protocol: str
    budgets: tuple[int, ...] = (50, 100, 150)

    @property
    def name(self) -> str:
        """What outputs call it."""
        return f"{Path(self.table).stem}@{self.view}@{self.protocol}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """Reads ``TABLE@VIEW@PROTOCOL``, or that and ``@50+100+150``.

        Raises:
            SettingsError: If it is of another form.
        """
        parts = text.split("@")
        try:
            table, view, protocol, *rest = parts
            if not rest:
                return cls(table, view, protocol)
            (budgets,) = rest
            return cls(table, view, protocol, tuple(int(part) for part in budgets.split("+")))
        except (TypeError, ValueError):
            raise SettingsError(
                f"the case {text!r} can't be read: write TABLE@VIEW@PROTOCOL, or that and the "
                "samples, as in table.h5@completed@bananas@50+100+150."
            ) from None


@dataclass(frozen=True)
class Side:
    """Cases on which settings are chosen together.

    Attributes:
        name: What outputs call it.
        cases: At least one.
    """

    name: str
    cases: tuple[Case, ...]

    @classmethod
    def parse(cls, text: str) -> Side:
        """Reads ``NAME=CASE,CASE,...``.

        Raises:
            SettingsError: If it is of another form.
        """
        name, sign, cases = text.partition("=")
        if not sign or not name or not cases:
            raise SettingsError(f"the side {text!r} can't be read: write NAME=CASE,CASE,...")
        return cls(name, tuple(Case.parse(case) for case in cases.split(",")))


@dataclass(frozen=True)
class ChooseSettings:
    """What to do.

    Attributes:
        families: Methods whose choices are made, of ``nprep.quality.choices.FAMILIES``.
        sides: The two sides.
        also: Further cases to judge on, on which nothing is chosen.
        trials: Trials of each setting, to choose.
        judged: Trials of each setting and case, to judge; of other seeds.
        seed: Decides every random draw.
    """

    families: tuple[str, ...]
    sides: tuple[Side, Side]
    also: tuple[Case, ...] = ()
    trials: int = 12
    judged: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what makes no sense."""
        for family in self.families:
            if family not in FAMILIES:
                raise SettingsError(f"the family {family!r} is unknown: use {', '.join(FAMILIES)}.")
        if self.sides[0].name == self.sides[1].name:
            raise SettingsError(f"both sides are called {self.sides[0].name!r}: name them apart.")
        if min(self.trials, self.judged) < 2:
            raise SettingsError("trials and judged must be at least 2.")


@dataclass
class Trials:
    """Regrets of trials, kept in a file of JSON lines.

    Attributes:
        path: The file; a line is added for each trial.
    """

    path: Path
    _known: dict[str, list[float]] = field(default_factory=dict)
    _views: dict[Case, tuple[View, ReplayProtocol]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reads what an earlier run left; a last line that was cut off is dropped."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                entry = json.loads(line)
                self._known[entry["key"]] = entry["regrets"]
            except (ValueError, KeyError, TypeError):
                continue

    def view(self, case: Case) -> tuple[View, ReplayProtocol]:
        """The view of a case, as its protocol lets methods see it."""
        if case not in self._views:
            rules = protocol_named(case.protocol).rules
            source = open_source(Path(case.table), case.view)
            self._views[case] = with_rules(source.load(), rules), rules
        return self._views[case]

    def regrets(
        self, case: Case, method: Method, label: str, seed: int, trials: int
    ) -> NDArray[np.float64]:
        """(T, B) regrets of trials of a method, in percentage points.

        Args:
            case: The table and its protocol.
            method: The method.
            label: What tells its settings from others.
            seed: Of the trials; with a trial's number it decides the trial.
            trials: Their number T.
        """
        rows = []
        for trial in range(trials):
            key = f"{case.name}@{case.budgets}|{label}|{seed}|{trial}"
            if key not in self._known:
                view, rules = self.view(case)
                number = trial_seed(seed, "choose", trial)
                (trace,) = method.run_block(view, [number], case.budgets[-1], rules)
                self._known[key] = regrets_of(trace, view, rules, case.budgets)
                with self.path.open("a") as file:
                    file.write(json.dumps({"key": key, "regrets": self._known[key]}) + "\n")
            rows.append(self._known[key])
        return np.array(rows)


def regrets_of(
    trace: Trace, view: View, rules: ReplayProtocol, budgets: Sequence[int]
) -> list[float]:
    """Regret, percentage points, of the best by validation as seen after each budget.

    A trial that ended early keeps its last answer.

    Args:
        trace: The trial.
        view: As the protocol lets methods see it.
        rules: The protocol; where means drive, the regret is in mean validation, else in test.
        budgets: Samples.
    """
    truth = view.validation[:, 0] if rules.repeats == "mean" else view.test
    best = float(truth.max())
    places = [int(trace.validation[:budget].argmax()) for budget in budgets]
    return [100 * (best - float(truth[trace.positions[place]])) for place in places]


def score(trials: Trials, side: Side, method: Method, label: str, settings: ChooseSettings) -> Any:
    """(T,) scores of a method on a side: 1 is as good as random search, 0 is perfect."""
    total = np.zeros(settings.trials)
    for case in side.cases:
        own = trials.regrets(case, method, label, settings.seed, settings.trials)
        other = trials.regrets(case, RandomSearch(), "random", settings.seed, _RANDOM_TRIALS)
        total += own.mean(axis=1) / other.mean() / len(side.cases)
    return total


def choose(
    trials: Trials, side: Side, family: str, settings: ChooseSettings
) -> tuple[Changes, list[dict[str, Any]]]:
    """The changes that a side asks for, and the paired score of every level.

    Args:
        trials: Runs the trials.
        side: Where to choose.
        family: Of ``nprep.quality.choices.FAMILIES``.
        settings: Number of trials, seed.
    """
    shipped = score(trials, side, made(family, {}), f"{family} shipped", settings)
    chosen: Changes = {}
    rows = []
    for factor in FAMILIES[family]:
        best = 0.0
        for changes in factor.levels:
            label = f"{family} {label_of(changes)}"
            own = score(trials, side, made(family, changes), label, settings)
            gain = shipped - own
            error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
            mean = float(gain.mean())
            rows.append({"changes": dict(changes), "gain": mean, "error": error})
            log.info(f"{side.name}: {label}: score better by {mean:+.3f} (error {error:.3f})")
            if mean > error and mean > best:
                best = mean
                chosen = {**_without(chosen, factor), **changes}
    return chosen, rows


def _without(chosen: Changes, factor: Factor) -> Changes:
    """The changes without those of a factor."""
    own = {name for changes in factor.levels for name in changes}
    return {name: value for name, value in chosen.items() if name not in own}


def label_of(changes: Changes) -> str:
    """Changes in a few words; the settings that ship where there are none."""
    shown = [f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
             for name, value in sorted(changes.items())]  # fmt: skip
    return ", ".join(shown) or "shipped"


def judge(
    trials: Trials,
    case: Case,
    family: str,
    choices: Mapping[str, Changes],
    settings: ChooseSettings,
) -> Iterator[dict[str, Any]]:
    """How the choices do on a case, on seeds that no choice has seen.

    Yields:
        For each choice its mean regret, the paired difference to the first, and 95 % intervals.
    """
    rng = np.random.default_rng([settings.seed, 77])
    shares = rng.multinomial(settings.judged, np.full(settings.judged, 1 / settings.judged),
                             size=_RESAMPLES) / settings.judged  # fmt: skip
    first: NDArray[np.float64] | None = None
    for name, changes in choices.items():
        label = f"{family} {label_of(changes)}"
        regrets = trials.regrets(
            case, made(family, changes), label, settings.seed + 1, settings.judged
        )
        own = regrets.mean(axis=1)
        first = own if first is None else first
        yield {
            "choice": name,
            "changes": dict(changes),
            "best_found": [float(share) for share in (regrets <= 1e-9).mean(axis=0)],
            "regret": float(own.mean()),
            "regret_interval": interval(shares @ own),
            "difference": float((own - first).mean()),
            "difference_interval": interval(shares @ (own - first)),
        }


def run_choose(settings: ChooseSettings, out: Path) -> dict[str, Any]:
    """Chooses on both sides and judges on both.

    Args:
        settings: What to do.
        out: Folder for ``trials.jsonl`` and ``choose.json``.

    Returns:
        The content of ``choose.json``.
    """
    trials = Trials(out / "trials.jsonl")
    content: dict[str, Any] = {
        "trials": settings.trials,
        "judged": settings.judged,
        "seed": settings.seed,
        "sides": {s.name: [c.name for c in s.cases] for s in settings.sides},
        "families": {},
    }
    for family in settings.families:
        choices: dict[str, Changes] = {"shipped": {}}
        levels = {}
        for side in settings.sides:
            choices[f"chosen on {side.name}"], levels[side.name] = choose(
                trials, side, family, settings
            )
        judged = {
            side.name: {
                case.name: list(judge(trials, case, family, choices, settings))
                for case in side.cases
            }
            for side in (*settings.sides, Side("neither side", settings.also))
        }
        content["families"][family] = {"levels": levels, "judged": judged}
    _files.write_file(out / "choose.json", (json.dumps(content, indent=1) + "\n").encode())
    return content


def to_text(content: dict[str, Any]) -> str:
    """The two-way table for a terminal."""
    lines = []
    for family, found in content["families"].items():
        for side, cases in found["judged"].items():
            for case, rows in cases.items():
                lines += ["", f"{family} judged on {case} ({side}), {content['judged']} trials"]
                head = ("regret", "95 %", "to shipped", "95 %", "best found")
                lines.append(f"  {'choice':<22}" + "".join(f"{text:>17}" for text in head))
                for row in rows:
                    low, high = row["regret_interval"]
                    bottom, top = row["difference_interval"]
                    shown = (
                        f"{row['regret']:.3f}",
                        f"{low:.3f} {high:.3f}",
                        f"{row['difference']:+.3f}",
                        f"{bottom:+.3f} {top:+.3f}",
                        f"{row['best_found'][-1]:.0%}",
                    )
                    lines.append(f"  {row['choice']:<22}" + "".join(f"{t:>17}" for t in shown))
                lines += [f"  {r['choice']}: {label_of(r['changes'])}" for r in rows]
    return "\n".join(lines).strip()
