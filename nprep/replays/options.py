"""The options of the command line that say what to run, and by what rules."""

from __future__ import annotations

import argparse
import math

from nprep.errors import SettingsError
from nprep.runs.draws import MAX_DRAWS
from nprep.runs.protocols import PROTOCOLS, WEN2020
from nprep.runs.settings import ReplaySettings
from nprep.search.registry import method_names
from nprep.search.rules import PROTOCOL_RULES

# What a named protocol decides unless the option is given.
_OF_PROTOCOL = ("methods", "samples", "train_samples", "top_k", *PROTOCOL_RULES, "seconds")
_OTHERS = ("trials", "seed", "block", "bootstrap", "workers", "predictor_seconds", "backend")


def check_draws(draws: int, trials: int | None, shard: bool) -> None:
    """Refuses numbers of draws and their trials that make no sense.

    Args:
        draws: The number of draws.
        trials: Those on each of the other draws, if given.
        shard: Whether a part of a replay is to be run.

    Raises:
        SettingsError: If they make none.
    """
    if not 1 <= draws <= MAX_DRAWS:
        raise SettingsError(f"draws is {draws}: use a whole number from 1 to {MAX_DRAWS}.")
    if trials is not None and draws == 1:
        raise SettingsError("draw-trials is given without other draws: use --draws with it.")
    if shard and draws > 1:
        raise SettingsError("a shard runs on the table's own draw: leave out --draws.")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the two groups of options."""
    defaults = ReplaySettings()
    # Absent where not given, so that the protocol decides.
    absent = argparse.SUPPRESS
    what = parser.add_argument_group("what to run")
    what.add_argument("--trials", type=int, default=defaults.trials, help="trials of each method")
    what.add_argument(
        "--methods",
        default=absent,
        help=f"names, separated by commas: {', '.join(method_names())}, or module:Class "
        f"(default: the protocol's; wen2020: {','.join(WEN2020.methods)})",
    )
    what.add_argument(
        "--samples",
        type=int,
        default=absent,
        help="budget of the sequential methods; under a limit of seconds, no more than a cap "
        f"(default: the protocol's; wen2020: {WEN2020.samples})",
    )
    what.add_argument(
        "--train-samples",
        type=int,
        default=absent,
        metavar="N",
        help=f"cells that predictors train on (default: the protocol's; wen2020: "
        f"{WEN2020.train_samples})",
    )
    what.add_argument(
        "--top-k",
        type=int,
        default=absent,
        metavar="K",
        help="cells that predictors have trained in the end; their curves go on to N + K "
        f"(default: the protocol's; wen2020: {WEN2020.top_k})",
    )
    what.add_argument("--seed", type=int, default=defaults.seed, help="decides every random draw")
    what.add_argument(
        "--draws",
        type=int,
        default=1,
        metavar="D",
        help="draws of what a model completes in the table, the table's own among them; all "
        "numbers then carry the spread between draws as well",
    )
    what.add_argument(
        "--draw-trials",
        type=int,
        default=None,
        metavar="T",
        help="trials of each method on each of the other draws (default: as many as --trials)",
    )
    what.add_argument(
        "--workers",
        type=_numbers,
        default=defaults.workers,
        metavar="W,...",
        help="numbers of machines, such as 1,10,100,1000, for which to simulate how long the "
        "searches take by the clock",
    )
    what.add_argument(
        "--predictor-seconds",
        type=float,
        default=defaults.predictor_seconds,
        metavar="S",
        help="time that a predictor takes between two rounds of trainings, in that simulation",
    )
    rules = parser.add_argument_group(
        "protocol", "A protocol decides what follows here, unless the option is given as well."
    )
    rules.add_argument("--protocol", default=WEN2020.rules.name, help=f"{', '.join(PROTOCOLS)}")
    for rule, text in (
        (
            "repeats",
            "what drives the search: one training run, drawn once per trial and architecture or "
            "anew at every query, or the mean of the runs",
        ),
        ("duplicates", "cells seen before"),
        ("sampling", "random cells: uniform over cells, or by the official sampler of specs"),
        ("invalid", "random specs that are no cell: redrawn, or of accuracy 0 at no cost"),
        ("report", "test accuracy of the best cell: mean of its runs, or of the run that was seen"),
        ("shows", "accuracy, or regret: the distance to the best cell of the view"),
        ("axis", "what results are put against: samples, or seconds of training"),
    ):
        rules.add_argument(
            f"--{rule}", default=absent, help=f"{text} ({', '.join(PROTOCOL_RULES[rule])})"
        )
    rules.add_argument(
        "--seconds",
        type=_seconds,
        default=absent,
        metavar="S",
        help="training time of a trial, or unlimited",
    )


def settings_of(options: argparse.Namespace) -> ReplaySettings:
    """The settings that options stand for.

    Raises:
        SettingsError: If they make no sense.
    """
    given = {
        name: value
        for name, value in vars(options).items()
        if name in _OF_PROTOCOL or name in _OTHERS
    }
    if "methods" in given:
        names = (name.strip() for name in given["methods"].split(","))
        given["methods"] = tuple(name for name in names if name)
    return ReplaySettings.of_protocol(options.protocol, **given)


def _seconds(text: str) -> float | None:
    """A limit of time; None for "unlimited"."""
    if text == "unlimited":
        return None
    try:
        return float(text)
    except ValueError:
        # Refused with the other numbers that make no sense.
        return math.nan


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingsError(
            f"workers is {text!r}: use whole numbers separated by commas, such as 1,10,100,1000."
        ) from None
