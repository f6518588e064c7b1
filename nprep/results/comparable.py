"""Whether runs may be shown in one figure, and what to call their methods there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nprep.errors import SettingsError
from nprep.results.reading import Run


def differences(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """What keeps runs from being compared in one figure.

    Returns:
        Sentences on differences of protocol, and on differences of view; each empty if there is
        none. What is not known of a lone ``curves.csv`` is no difference.
    """
    known = [run for run in runs if run.content]
    rules, views = [], []
    for run in known[1:]:
        first = known[0]
        ours, theirs = dataclasses.asdict(first.rules), dataclasses.asdict(run.rules)
        names = [
            f"{name} {ours[name]!r} and {theirs[name]!r}"
            for name in ours
            if ours[name] != theirs[name]
        ]
        if names:
            rules.append(f"{first.name} and {run.name} differ in protocol ({', '.join(names)})")
        elif first.view.get("digest") != run.view.get("digest"):
            views.append(
                f"{first.name} and {run.name} searched other values (view "
                f"{first.view.get('name')} and {run.view.get('name')}, digests "
                f"{str(first.view.get('digest'))[:8]} and {str(run.view.get('digest'))[:8]})"
            )
    return rules, views


def check_comparable(runs: Sequence[Run], mixed: bool) -> list[str]:
    """Refuses runs under different protocols, unless that is wanted.

    Args:
        runs: To be shown in one figure.
        mixed: Whether different protocols are wanted.

    Returns:
        Sentences to warn with, in figures as well.

    Raises:
        SettingsError: If protocols differ and that is not wanted.
    """
    rules, views = differences(runs)
    if rules and not mixed:
        raise SettingsError(
            f"{rules[0]}, so their numbers cannot be compared: draw them apart, or with --mixed."
        )
    unknown = [run.name for run in runs if not run.content]
    warnings = [f"Not comparable: {sentence}." for sentence in (*rules, *views)]
    if unknown and len(runs) > 1:
        warnings.append(f"Protocol unknown: {', '.join(unknown)}.")
    return warnings


def labels_of(runs: Sequence[Run]) -> list[str]:
    """What to call each run's methods in one figure, run by run.

    A method's own name where no other run has it; else with the name of the run.
    """
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{name}, run {number}" for number, name in enumerate(names, 1)]
    everywhere = [method for run in runs for method in run.methods]
    return [
        method if everywhere.count(method) == 1 else f"{method} ({name})"
        for run, name in zip(runs, names, strict=True)
        for method in run.methods
    ]
