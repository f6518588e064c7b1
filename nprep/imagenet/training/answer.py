"""What trained networks answer: their score on a data set, and the classes of single images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from nprep.errors import SettingsError
from nprep.imagenet.data.layout import open_parts
from nprep.imagenet.data.sources import DataError
from nprep.imagenet.data.transforms import decode
from nprep.imagenet.networks.architectures import build
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training import processes
from nprep.imagenet.training.evaluation import NetworkEvaluator, test_evaluator
from nprep.imagenet.training.weights import load, load_initial, load_trained, transform_of


def evaluate(settings: TrainSettings, run: Path) -> dict[str, Any]:
    """Scores a trained network, without training.

    Args:
        settings: The data, and how images are made ready; ``initial_weights`` names the network.
        run: Where there are no initial weights, the folder of its training.

    Returns:
        Accuracy and loss on the validation images, and on the test images where there are any.
    """
    who = processes.join(settings.device)
    parts = open_parts(settings)
    if settings.initial_weights:
        model = build(settings, parts.num_classes)
        load_initial(model, Path(settings.initial_weights))
    else:
        model, known = load_trained(run)
        if known["num_classes"] != parts.num_classes:
            raise SettingsError(
                f"the network in {run} knows {known['num_classes']} classes and the data has "
                f"{parts.num_classes}: give the data that it was trained for."
            )
    model = model.to(who.device).eval()
    score = NetworkEvaluator(parts.val, settings, who).score(model)
    found: dict[str, Any] = {"arch": settings.arch, "val_loss": score.loss, "val_top1": score.top1,
                             "val_top5": score.top5, "val_images": score.images}  # fmt: skip
    tester = test_evaluator(parts, settings, who)
    if tester is not None:
        test = tester.score(model)
        found |= {"test_loss": test.loss, "test_top1": test.top1, "test_images": test.images}
    return found


def predict(
    network: Path, images: Sequence[Path], top: int = 5
) -> Iterator[tuple[Path, list[tuple[str, float]]]]:
    """The most probable classes of images.

    Args:
        network: An export in safetensors, or the folder of a training.
        images: Image files.
        top: How many classes to name.

    Yields:
        A file, and names and probabilities of its classes, the most probable first.

    Raises:
        SettingsError: If ``top`` is below 1.
        DataError: If a file is no readable image.
    """
    if top < 1:
        raise SettingsError(f"top is {top}: it must be at least 1.")
    model, known = load(network)
    transform = transform_of(known)
    for path in images:
        try:
            picture = decode(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(
                f"image {path} cannot be read ({error}): give an image file."
            ) from error
        with torch.inference_mode():
            shares = model(transform(picture)[None]).softmax(1)[0]
        best = shares.topk(min(top, len(shares)))
        yield (
            path,
            [
                (str(known["classes"][place]), share)
                for share, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ],
        )
