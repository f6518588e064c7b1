"""Writes scikit-learn's digits as an image folder and as WebDataset shards.

The 1,797 scans of 8x8 pixels become PNG files of 32x32, split at random, evenly over the classes,
into train (400), val (698) and test (699). With all images to train on, nearly every network gets
nearly all of them right; 400 tell networks apart, and the many others measure each one well. They
are real images, and few and small ones: good to prove that a search works from end to end, not to
compare methods.

    python examples/imagenet_digits/make_digits.py digits
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from nprep.imagenet.data.shards import write_shards

SIDE = 32
TRAIN = 400
PER_SHARD = 250


def encode(pixels: np.ndarray) -> bytes:
    """A PNG file from (8, 8) grey values of 0 to 16."""
    grey = Image.fromarray((pixels * 255 / 16).round().astype(np.uint8))
    out = io.BytesIO()
    grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def main(target: Path) -> None:
    """Writes ``folder/`` and ``shards/`` below a target folder."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 8, 8)
    rows = np.arange(len(labels))
    train, rest = train_test_split(rows, train_size=TRAIN, random_state=0, stratify=labels)
    val, test = train_test_split(rest, test_size=0.5, random_state=1, stratify=labels[rest])
    (target / "shards").mkdir(parents=True, exist_ok=True)
    for part, chosen in (("train", train), ("val", val), ("test", test)):
        images = [(encode(pixels[row]), int(labels[row])) for row in chosen]
        for row, (content, label) in zip(chosen, images, strict=True):
            folder = target / "folder" / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{row:04d}.png").write_bytes(content)
        write_shards(target / "shards", part, images, ".png", PER_SHARD)
        print(f"{part}: {len(images)} images")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
