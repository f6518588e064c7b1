"""The predictor of chains: its formulas, its settings, how well it ranks networks."""

from __future__ import annotations

import numpy as np
import pytest

from nprep.predictor.agreement import kendall_tau
from nprep.predictor.chains import predict_chains
from nprep.predictor.defaults import chain_settings
from nprep.predictor.gcn import train
from nprep.predictor.scoring import plan_for
from nprep.predictor.settings import GcnSettings
from nprep.predictor.tuning import compare_settings
from nprep.spaces.base import Members
from nprep.spaces.choices import Codes
from nprep.spaces.proxyless.chains import chain_graphs
from tests.imagenet.studies import CHAINS, SPACE, worth

pytestmark = pytest.mark.usefixtures("quick")


def test_chain_predictions_equal_the_formulas() -> None:
    rng = np.random.default_rng(0)
    encodings = SPACE.sample(rng, 37)
    settings = GcnSettings(
        layers=3, width=8, head=(6, 5), epochs=3, initialisation="he", layer_bias=True
    )
    labels = rng.uniform(0.5, 0.9, 37)
    weights = train(chain_graphs(encodings), labels, settings, np.random.SeedSequence(1))
    length = SPACE.num_blocks
    forward = np.eye(length) + np.eye(length, k=1)
    backward = forward.T / forward.T.sum(1, keepdims=True)
    forward /= forward.sum(1, keepdims=True)
    wanted = []
    for encoding in encodings:
        states = np.eye(7)[encoding]
        for layer in range(3):
            matrix, bias = weights.layer(layer)
            ahead = np.maximum(forward @ states @ matrix[:, :8] + bias[:8], 0)
            behind = np.maximum(backward @ states @ matrix[:, 8:] + bias[8:], 0)
            states = (ahead + behind) / 2
        values = states.mean(0)
        for number, (matrix, bias) in enumerate(weights.head()):
            values = values @ matrix + bias
            if number < 2:
                values = np.maximum(values, 0)
        wanted.append(values[0])
    expected = weights.scale.predictions(np.array(wanted, np.float32))
    for threads in (1, 2):
        got = predict_chains(weights, encodings, threads)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_predictor_ranks_networks() -> None:
    rng = np.random.default_rng(0)
    encodings, others = SPACE.sample(rng, 60), SPACE.sample(rng, 200)
    labels = np.array([worth(one) for one in encodings])
    settings = GcnSettings(
        layers=6, width=24, head=(32,), epochs=150, initialisation="he", learning_rate=1e-3
    )
    weights = train(chain_graphs(encodings), labels, settings, np.random.SeedSequence(0))
    predicted = plan_for(Members(CHAINS, Codes(others)), settings).predict(weights)
    tau = kendall_tau(predicted, np.array([worth(one) for one in others]))
    assert tau > 0.4


def test_the_reported_tau_did_not_choose_the_settings() -> None:
    """On labels without a pattern the best of many settings looks better than it is."""
    rng = np.random.default_rng(0)
    settings = [
        GcnSettings(layers=2, width=8, head=(8,), epochs=3, initialisation="he", learning_rate=rate)
        for rate in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    ]
    flattered, nested = [], []
    for number in range(12):
        members = Members(CHAINS, Codes(SPACE.sample(rng, 20)))
        labels, seed = rng.random(20), np.random.SeedSequence(number)
        tuning = compare_settings(members, labels, settings, seed, threads=2, judge=True)
        assert tuning.tau is not None
        flattered.append(tuning.choices[0].tau)
        nested.append(tuning.tau)
        # Neither depends on the other's being asked for, nor on threads.
        if number == 0:
            alone = compare_settings(members, labels, settings, seed)
            assert (alone.choices, alone.tau) == (tuning.choices, None)
    assert np.mean(flattered) > np.mean(nested) + 0.05
    few = Members(CHAINS, Codes(SPACE.sample(rng, 4)))
    seed = np.random.SeedSequence(0)
    assert compare_settings(few, rng.random(4), settings, seed, judge=True).tau is None
    # One setting is not chosen, so its tau is honest.
    only = compare_settings(few, rng.random(4), settings[:1], seed, judge=True)
    assert only.tau == only.choices[0].tau


def test_full_space_gets_the_papers_depth() -> None:
    assert max(s.layers for s in chain_settings(GcnSettings(), 22)) == 18
