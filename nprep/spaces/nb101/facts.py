"""Numbers of the benchmark NASBench-101: what was trained, and how large the space is."""

from __future__ import annotations

# Epochs of the published trainings; every cell was trained three times for each.
BUDGETS = (4, 12, 36, 108)
REPEATS = 3
# Images that an accuracy of validation or test is a share of.
IMAGES = 10_000

SPACE_SIZE = 423_624
CELLS_BY_VERTICES = {2: 1, 3: 6, 4: 84, 5: 2_441, 6: 62_010, 7: 359_082}

CITATION = (
    "Ying, Klein, Christiansen, Real, Murphy, Hutter: NAS-Bench-101: Towards Reproducible Neural "
    "Architecture Search, ICML 2019"
)
