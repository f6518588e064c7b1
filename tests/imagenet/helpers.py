"""Trainings small enough for tests: 7 blocks of 8 channels, 16-pixel images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from nprep.imagenet.settings import TrainSettings

ARCH = "0000000"


def tiny(**changes: Any) -> TrainSettings:
    """Settings of a training that takes a second."""
    values: dict[str, Any] = {
        "arch": ARCH,
        "num_classes": 3,
        "image_size": 16,
        "width": 0.05,
        "depth": 1,
        "stem_stride": 1,
        "epochs": 2,
        "batch_size": 8,
        "lr": 0.5,
        "warmup_epochs": 0.5,
        "ema": 0.9,
        "workers": 0,
        "threads": 1,
        "device": "cpu",
        "quiet": True,
        "dropout": 0.2,
    }
    if "data" not in changes and "synthetic_data" not in changes:
        values["synthetic_data"] = 40
    return TrainSettings(**{**values, **changes})


def png(value: int = 0, size: int = 16) -> bytes:
    """An encoded image of one grey value and some noise."""
    from PIL import Image

    rng = np.random.default_rng(value)
    pixels = (value + rng.integers(0, 30, (size, size, 3))).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def image_folder(root: Path, train: int = 8, val: int = 4, classes: int = 3) -> Path:
    """Writes an image folder with so many images a class."""
    for part, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.png").write_bytes(png(70 * label + number))
    return root
