"""From encoded images to tensors, with torchvision's transforms v2."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from nprep._optional import need
from nprep.errors import SettingsError
from nprep.imagenet.settings import TrainSettings

Transform = Callable[[Any], Tensor]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Those of the NASBench-101 runs, nasbench/lib/cifar.py, over 255.
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4466), (0.2470, 0.2435, 0.2616)


def decode(content: bytes) -> Any:
    """Decodes an image.

    Args:
        content: The encoded image.

    Returns:
        A Pillow image, RGB.

    Raises:
        ValueError: If it cannot be decoded; the message says why.
    """
    image = need("PIL.Image", "decode images", "pillow", extra="imagenet")
    try:
        with warnings.catch_warnings():
            # Odd EXIF data or palettes harm no pixel, and warnings may be errors.
            warnings.simplefilter("ignore")
            picture = image.open(io.BytesIO(content))
            if picture.mode[0] in "IF":
                picture = _eight_bits(picture, image)
            # Has an alpha channel only where the file says so; RGB drops it.
            return picture.convert("RGB")
    except image.UnidentifiedImageError as error:
        raise ValueError("no kind of image that Pillow knows") from error
    except image.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise ValueError(str(error) or type(error).__name__) from error


def _eight_bits(picture: Any, image: Any) -> Any:
    """A grey picture of 16-bit numbers with 8; Pillow's own conversion cuts off at 255."""
    values = np.asarray(picture)
    if values.dtype.kind == "f" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError("its pixels are no 8-bit or 16-bit numbers: convert it to 8 bits")
    return image.fromarray((values // 257).astype(np.uint8))


def _tail(settings: TrainSettings, v2: Any) -> list[Any]:
    import torch

    return [
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(*normalisation(settings)),
    ]


def normalisation(settings: TrainSettings) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and deviations of red, green and blue that images are normalised with."""
    cifar = settings.augment == "pad-crop"
    mean, std = (CIFAR_MEAN, CIFAR_STD) if cifar else (IMAGENET_MEAN, IMAGENET_STD)
    return settings.numbers("mean") or mean, settings.numbers("std") or std


def _automatic(text: str, v2: Any, mode: Any) -> Any:
    """The transform of a name of automatic augmentation, timm's or torchvision's.

    Raises:
        SettingsError: If it is unknown.
    """
    if text in ("autoaugment", "original", "imagenet"):
        return v2.AutoAugment(interpolation=mode)
    if text in ("trivial", "trivialaugment", "ta_wide"):
        return v2.TrivialAugmentWide(interpolation=mode)
    if text == "augmix":
        return v2.AugMix(interpolation=mode)
    kind, *parts = text.split("-")
    numbers = {part[:1]: part[1:] for part in parts}
    # Timm's deviation of the magnitude (mstd) and its other letters have no like in torchvision.
    fine = kind in ("rand", "ra", "randaugment") and numbers.keys() <= {"m", "n"}
    if not fine or not all(value.isdecimal() for value in numbers.values()):
        raise SettingsError(
            f"aa is {text!r}, which is unknown: use rand-mM-nN (magnitude M of 30, N operations), "
            "autoaugment, trivial or augmix."
        )
    magnitude, count = int(numbers.get("m", 9)), int(numbers.get("n", 2))
    if magnitude > 30 or not 1 <= count <= 14:
        raise SettingsError(f"aa is {text!r}: magnitudes go up to 30, operations from 1 to 14.")
    return v2.RandAugment(count, magnitude, interpolation=mode)


def training_transform(settings: TrainSettings) -> Transform:
    """What training images go through; draws from torch's global generator."""
    v2 = need("torchvision.transforms.v2", "transform images", extra="imagenet")
    size = settings.image_size
    mode = v2.InterpolationMode(settings.interpolation)
    whole = v2.Resize((size, size), mode, antialias=True)
    steps: list[Any]
    if settings.augment == "none":
        steps = [whole]
    elif settings.augment == "pad-crop":
        steps = [whole, v2.RandomCrop(size, padding=size // 8)]
    else:
        scale = (settings.crop_scale, 1.0)
        steps = [v2.RandomResizedCrop(size, scale=scale, interpolation=mode, antialias=True)]
    if settings.flip and settings.augment != "none":
        steps.append(v2.RandomHorizontalFlip())
    if settings.augment == "colour":
        steps.append(v2.ColorJitter(0.4, 0.4, 0.4))
    elif settings.augment == "randaugment":
        steps.append(v2.RandAugment())
    if settings.aa:
        steps.append(_automatic(settings.aa, v2, v2.InterpolationMode.NEAREST))
    # The augmentations work on Pillow images: faster there, on the CPU.
    steps += _tail(settings, v2)
    if settings.erase:
        # Behind the normalisation, where 0 is the mean colour.
        steps.append(v2.RandomErasing(settings.erase))
    transform: Transform = v2.Compose(steps)
    return transform


def evaluation_transform(settings: TrainSettings) -> Transform:
    """What validation and test images go through."""
    v2 = need("torchvision.transforms.v2", "transform images", extra="imagenet")
    size = settings.image_size
    shorter = round(size / settings.resize_ratio)
    mode = v2.InterpolationMode(settings.interpolation)
    steps = [v2.Resize(shorter, mode, antialias=True), v2.CenterCrop(size), *_tail(settings, v2)]
    transform: Transform = v2.Compose(steps)
    return transform


def batch_mixer(settings: TrainSettings, num_classes: int) -> Callable[..., Any] | None:
    """Mixup and cutmix (one of the two at random, where both are on), or None."""
    if not settings.mixup and not settings.cutmix:
        return None
    v2 = need("torchvision.transforms.v2", "mix images", extra="imagenet")
    choices = []
    if settings.mixup:
        choices.append(v2.MixUp(alpha=settings.mixup, num_classes=num_classes))
    if settings.cutmix:
        choices.append(v2.CutMix(alpha=settings.cutmix, num_classes=num_classes))
    mixer: Callable[..., Any] = v2.RandomChoice(choices)
    if settings.mix_prob < 1:
        mixer = v2.RandomApply([mixer], settings.mix_prob)
    return mixer
