"""Predictions for many architectures, by whatever is cheapest for their graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nprep.predictor.backends.base import Backend, predictions
from nprep.predictor.chains import ChainPlan
from nprep.predictor.gcn import GcnWeights
from nprep.predictor.plan import SharingPlan
from nprep.predictor.settings import GcnSettings
from nprep.spaces.graphs import HasGraphs

Plan = SharingPlan | ChainPlan


def plan_for(members: HasGraphs, settings: GcnSettings) -> Plan:
    """What predicts some architectures.

    Chains are predicted as they are: after some layers nearly all of their states differ, so that a
    plan would find nothing to share.

    Args:
        members: The architectures.
        settings: Of the predictors: normalisation and layers.
    """
    if len(members) == 0:
        return SharingPlan.build(members, settings.normalisation, settings.layers)
    graphs = members.graphs(settings.normalisation)
    if graphs.chain_length:
        return ChainPlan(graphs.types.reshape(-1, graphs.chain_length))
    return SharingPlan.build(members, settings.normalisation, settings.layers)


def scores_of(
    backend: Backend, plan: Plan, weights: Sequence[GcnWeights]
) -> Iterator[NDArray[np.float32]]:
    """Predictions (N,) of one predictor after the other for all of a plan."""
    if isinstance(plan, ChainPlan):
        return (plan.predict(one) for one in weights)
    return predictions(backend, plan, weights)
