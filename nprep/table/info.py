"""python -m nprep.table info: what a table holds and where it comes from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from nprep.table.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    parser.add_argument("table", type=Path, help="the table file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _summary(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What the space says of all architectures, where it counts them by something."""
    counted = [(name, value) for name, value in facts.items() if "_by_" in name]
    return [
        (name.replace("_", " "), ", ".join(f"{key}: {n:,}" for key, n in value.items()))
        for name, value in counted
    ]


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [
        f"{facts['path']}: {facts['bytes']:,} bytes, schema version {facts['schema_version']}, "
        f"built by {facts['builder']} from {facts['source']}",
        f"{facts['rows']:,} architectures of the space {facts['search_space']}"
        + "".join(f"; {name}: {counts}" for name, counts in _summary(facts)),
        "views:",
        *(f"  {name}: {meaning}" for name, meaning in facts["views"].items()),
        "values (budget in epochs: number by provenance):",
    ]
    for name, content in facts["contents"].items():
        lines.append(f"  {name} ({content['unit']})")
        for budget, counts in content["by_budget"].items():
            shown = ", ".join(f"{count:,} {code}" for code, count in counts.items())
            lines.append(f"    {budget:>3}: {shown}")
    lines.append("sources:")
    for name, attributes in facts["sources"].items():
        lines.append(f"  {name}")
        lines += [f"    {key}: {value}" for key, value in attributes.items()]
    return lines


def command(arguments: argparse.Namespace) -> int:
    """Prints it."""
    facts = Table.open(arguments.table).describe()
    print(json.dumps(facts, indent=2) if arguments.json else "\n".join(_lines(facts)))
    return 0
