"""The rules of a run in words, and what others report under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nprep.results.curves import Curves
from nprep.runs.protocols import CONFIDENCE, PROTOCOLS, differences, in_words, label, published_of
from nprep.search.rules import ReplayProtocol


def protocol_json(protocol: ReplayProtocol) -> dict[str, Any]:
    """The rules, in words and by name."""
    named = PROTOCOLS.get(protocol.name)
    return {
        "name": protocol.name,
        "label": label(protocol),
        "differs_in": differences(protocol),
        "rules": in_words(protocol),
        "source": named.source if named else None,
        "axis": protocol.axis,
        "shows": protocol.shows,
    }


def published_json(
    all_curves: Sequence[Curves], protocol: ReplayProtocol, view: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What others report under a protocol, and what was found here, if it was run."""
    by_name = {curves.method: curves for curves in all_curves}
    content = []
    for number in published_of(protocol, view):
        here = None
        curves = by_name.get(number.method)
        if curves is not None and number.samples <= curves.horizon:
            column = curves.column(number.samples or curves.horizon)
            here = float(curves.metric(number.metric)[:, column].mean())
        content.append(
            {
                "method": number.method,
                "metric": number.metric,
                "samples": number.samples or None,
                "published_percent": number.percent,
                "confidence": f"{number.confidence}: {CONFIDENCE[number.confidence]}",
                "source": number.source,
                "here_percent": here,
            }
        )
    return content
