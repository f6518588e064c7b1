"""Time by the clock on several machines."""

from __future__ import annotations

from nprep.report.context import Context
from nprep.report.html import Picture, Section, missing, text
from nprep.report.pictures.clock import clock_picture
from nprep.report.tables.clock import busy_table, clock_table
from nprep.results.reading import Run


def machines(context: Context) -> Section:
    """Time by the clock on several machines."""
    body: list[str] = []
    pictures: list[Picture] = []
    for place, run in enumerate(context.runs, 1):
        if len(context.runs) > 1:
            body.append(f"<h3>{text(run.name)}</h3>")
        if not run.clock or not run.summary.get("clock"):
            body.append(
                missing(
                    f"{run.name} was not simulated on several machines.",
                    f"python -m nprep.replay --methods {','.join(run.methods)} --workers "
                    "1,10,100,1000 --out another-run",
                )
            )
            continue
        title = "Mean test accuracy by the clock, by number of machines"
        made = clock_picture(f"machines-{place}", run, title)
        pictures.append(made)
        body.append(made.to_html())
        body += [clock_table(run, target).to_html() for target in clock_targets(run)]
        body.append(busy_table(run).to_html())
    return Section("machines", "Many machines", "".join(body), tuple(pictures))


def clock_targets(run: Run) -> list[float]:
    """Up to two targets worth a table: 94 %, and the highest that most methods reach."""
    reached: dict[float, int] = {}
    entries = run.summary["clock"]["methods"]
    for method in entries.values():
        for at in method[0]["test"]:
            if at["seconds"] is not None:
                reached[at["target_percent"]] = reached.get(at["target_percent"], 0) + 1
    most = [target for target, methods in reached.items() if 2 * methods > len(entries)]
    chosen = {max(most)} if most else set()
    if 94.0 in reached:
        chosen.add(94.0)
    elif reached:
        chosen.add(max(reached))
    return sorted(chosen)
