"""What was run, and where its values are from."""

from __future__ import annotations

from nprep.report.context import Context
from nprep.report.html import Section, paragraph
from nprep.report.tables.run import provenance_table, settings_table


def overview(context: Context) -> Section:
    """What was run and on what."""
    body = [settings_table(context.runs).to_html()]
    seen = set()
    for run in context.runs:
        digest = run.view.get("digest")
        if digest in seen:
            continue
        seen.add(digest)
        body.append(paragraph(f"{run.view.get('name')}: {run.view.get('description')}."))
        body.append(provenance_table(run).to_html())
        source = run.content.get("source", {})
        versions = run.content.get("versions", {})
        words = [f"{name} {value}" for name, value in {**source, **versions}.items()]
        body.append(paragraph(f"Made with {', '.join(words)}; digest of the values {digest}."))
    return Section("run", "Protocol, settings and provenance", "".join(body))
