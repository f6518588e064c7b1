"""What a predictor of a space is like where a method leaves it open.

- NASBench-101: two stages, as in the paper, and the settings of the method. A classifier tells
  cells above 91 % from the rest, since a tenth of the space trains badly.
- ProxylessNAS: one stage. Its chains are 22 blocks long, so the depth of the stack matters: four
  settings are compared by cross-validation, and the mean of three networks ranks.
- NAS-Bench-201: one stage whose labels are lifted to the median of the sample. The paper's
  threshold halves a random sample of NASBench-101; where no accuracy is known to do that, the
  median does.
- any other space: one stage with the settings of the method. A threshold in percent means nothing
  there, and one stage needs none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from nprep.predictor.settings import GcnSettings
from nprep.spaces.base import Space

# GCN layers per block of a chain: 18 for the 22 blocks of the paper's ImageNet search.
_LAYERS_PER_BLOCK = 18 / 22


@dataclass(frozen=True)
class SpaceDefaults:
    """What depends on the space.

    Attributes:
        two_stage: Whether a classifier by an absolute accuracy comes before the regressor.
        members: Number of networks whose mean ranks.
        chains: Whether settings for chains are compared by cross-validation.
        label_floor: Quantile of the sample to which one stage lifts its labels at least.
    """

    two_stage: bool = False
    members: int = 1
    chains: bool = False
    label_floor: float = 0.0

    def settings(self, base: GcnSettings, code_width: int) -> tuple[GcnSettings, ...]:
        """The settings to choose from by cross-validation, or the only ones.

        Args:
            base: Those of the method.
            code_width: Of the space; the number of blocks of a chain.
        """
        return chain_settings(base, code_width) if self.chains else (base,)


DEFAULTS = {
    "nb101": SpaceDefaults(two_stage=True),
    "nb201": SpaceDefaults(label_floor=0.5),
    "proxyless": SpaceDefaults(members=3, chains=True),
}


def defaults_of(space: Space) -> SpaceDefaults:
    """The defaults of a space."""
    return DEFAULTS.get(space.name, SpaceDefaults())


def chain_settings(base: GcnSettings, blocks: int) -> tuple[GcnSettings, ...]:
    """Settings for chains: a deep stack as in the paper and one of a third, two widths each.

    Args:
        base: Labels, loss, decay and so on.
        blocks: Nodes of a chain; the layers go with them, 18 for 22.
    """
    deep = max(1, round(_LAYERS_PER_BLOCK * blocks))
    # Rates above 1e-4 kill the deep stack on a hundred networks; a shallow one likes them.
    plans = ((deep, 1e-4, 300), (max(1, deep // 3), 3e-4, 150))
    return tuple(
        replace(
            base,
            layers=layers,
            width=width,
            head=(512, 128),
            initialisation="he",
            learning_rate=rate,
            epochs=epochs,
        )
        for layers, rate, epochs in plans
        for width in (48, 96)
    )
