"""The settings of one training, and the presets with names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from nprep.errors import SettingsError

SCHEDULES = ("cosine", "step", "poly", "constant")
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
AUGMENTATIONS = ("none", "pad-crop", "crop", "colour", "randaugment")
PRECISIONS = ("none", "bf16", "fp16")

# What may differ between a run and its resumption: where it runs, how fast, and what it prints.
FREE_ON_RESUME = frozenset(
    {
        "device",
        "threads",
        "cudnn_benchmark",
        "grad_checkpointing",
        "val_batch_size",
        "workers",
        "loader_timeout",
        "checkpoint_hist",
        "checkpoint_minutes",
        "checkpoint_steps",
        "log_seconds",
        "tensorboard",
        "track",
        "quiet",
        "data",
        "cache",
    }
)


def _doc(default: Any, text: str, choices: tuple[str, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides a training; each field's ``help`` says what it is."""

    arch: str = _doc("mobilenet-v2-like", "encoding or name; nb101:MATRIX:OPS for a cell")
    data: str = _doc("", "folder with train/ and val/, or with train-*.tar and val-*.tar; "
                         "hf:NAME or hf:FOLDER: a data set of Hugging Face")  # fmt: skip
    image_column: str = _doc("", "column of images (hf:); empty: the one that there is")
    label_column: str = _doc("", "column of labels (hf:); empty: the one that there is")
    synthetic_data: int = _doc(0, "make up this many training images instead of reading any")
    num_classes: int = _doc(0, "classes; 0: as many as the data has")
    holdout: int = _doc(0, "validate on so many images taken from train, val becomes the test set")
    image_size: int = _doc(224, "height and width of training and validation images, pixels")
    resize_ratio: float = _doc(0.875, "validation crops this part of the resized image's side")
    width: float = _doc(1.0, "multiplies channel counts")
    depth: int = _doc(4, "blocks in each middle stage of the mobile space")
    stem_stride: int = _doc(2, "stride of the first convolution; 1 for small images")
    epochs: int = _doc(300, "passes over the training images")
    batch_size: int = _doc(128, "images of one process and one forward pass")
    accumulate: int = _doc(1, "forward passes that share an optimiser step")
    optimiser: str = _doc("sgd", "sgd, rmsprop, rmsprop-tf, or one of torch.optim or timm by name")
    lr: float = _doc(0.05, "learning rate for 256 images a step")
    scale_lr: bool = _doc(True, "scale the learning rate with the images in a step")
    warmup_epochs: float = _doc(5.0, "epochs of linear warm-up")
    schedule: str = _doc("cosine", "learning rate after warm-up", SCHEDULES)
    min_lr: float = _doc(0.0, "learning rate that the schedule ends at, scaled as --lr")
    decay_epochs: float = _doc(30.0, "epochs between two steps (schedule step)")
    decay_rate: float = _doc(0.1, "factor of a step, or exponent (schedule step, poly)")
    momentum: float = _doc(0.9, "momentum, where the optimiser has one")
    nesterov: bool = _doc(True, "Nesterov momentum (sgd)")
    rms_eps: float = _doc(1e-3, "epsilon of RMSProp")
    opt_eps: float = _doc(0.0, "epsilon of other optimisers; 0: theirs")
    opt_betas: str = _doc("", "betas of other optimisers, such as 0.9,0.999; empty: theirs")
    weight_decay: float = _doc(4e-5, "weight decay (L2)")
    decay_all: bool = _doc(False, "decay norms and biases too")
    label_smoothing: float = _doc(0.1, "label smoothing")
    dropout: float = _doc(0.0, "dropout before the classifier (mobile space)")
    drop_path: float = _doc(0.0, "chance to drop the last residual block, less for earlier ones")
    initial_weights: str = _doc("", "start from an export (.safetensors), a checkpoint or a run")
    grad_checkpointing: bool = _doc(False, "compute activations again instead of keeping them")
    augment: str = _doc("crop", "training transforms", AUGMENTATIONS)
    crop_scale: float = _doc(0.08, "least area of a random resized crop, as a part of the image")
    flip: bool = _doc(True, "mirror at random")
    aa: str = _doc("", "automatic augmentation: rand-m9-n2, autoaugment, trivial or augmix")
    erase: float = _doc(0.0, "chance to erase a random rectangle of a training image")
    interpolation: str = _doc("bilinear", "of resized images", INTERPOLATIONS)
    mean: str = _doc("", "means of red, green, blue; empty: ImageNet's (pad-crop: CIFAR-10's)")
    std: str = _doc("", "deviations of red, green and blue; empty: as for the means")
    mixup: float = _doc(0.0, "alpha of mixup; 0: off")
    cutmix: float = _doc(0.0, "alpha of cutmix; 0: off")
    mix_prob: float = _doc(1.0, "chance of a batch to be mixed, where mixup or cutmix is on")
    mix_off_epoch: int = _doc(0, "epoch from which batches are no longer mixed; 0: never")
    ema: float = _doc(0.9999, "decay of the average of the weights; 0: off")
    amp: str = _doc("none", "mixed precision", PRECISIONS)
    channels_last: bool = _doc(False, "memory format of images and weights")
    clip_norm: float = _doc(0.0, "clip the gradient's norm; 0: off")
    bn_momentum: float = _doc(0.0, "weight of a batch in batch norm's averages; 0: the network's")
    bn_recalibrate: int = _doc(0, "batches that batch norm's averages are taken from anew before "
                               "validation; 0: off")  # fmt: skip
    sync_bn: bool = _doc(False, "batch norm over all processes")
    compile: bool = _doc(False, "torch.compile the model")
    device: str = _doc("auto", "auto, cpu, cuda or cuda:N")
    threads: int = _doc(0, "CPU threads of torch; 0: its choice")
    seed: int = _doc(0, "seed of weights, order and augmentation")
    cudnn_benchmark: bool = _doc(True, "let cuDNN time its algorithms and take the fastest (GPUs)")
    workers: int = _doc(4, "processes that load images; 0: none")
    loader_timeout: float = _doc(600.0, "end if no batch was loaded for so many seconds; 0: wait")
    cache: bool = _doc(False, "keep decoded images in memory (small data only)")
    on_corrupt: str = _doc("stop", "what an unreadable image does", ("stop", "skip"))
    max_steps: int = _doc(0, "end after so many optimiser steps; 0: off")
    overfit_batches: int = _doc(0, "train on the first so many batches only; 0: off")
    val_batch_size: int = _doc(0, "images of one validation pass; 0: as in training")
    val_every: int = _doc(1, "validate after every so many epochs, and after the last")
    checkpoint_hist: int = _doc(0, "keep the checkpoints of so many last epochs; 0: last and best")
    checkpoint_minutes: float = _doc(10.0, "write a checkpoint at least this often, in an epoch")
    checkpoint_steps: int = _doc(0, "write a checkpoint every so many steps; 0: off")
    log_seconds: float = _doc(10.0, "seconds between lines of progress")
    tensorboard: bool = _doc(False, "write TensorBoard events too")
    track: str = _doc("", "report epochs to wandb, tensorboard or module:Class, joined by commas")
    quiet: bool = _doc(False, "print no progress")

    def __post_init__(self) -> None:
        """Checks every value on its own and the pairs that exclude each other.

        Raises:
            SettingsError: If something makes no sense.
        """
        for item in dataclasses.fields(self):
            choices, value = item.metadata["choices"], getattr(self, item.name)
            if choices and value not in choices:
                raise SettingsError(
                    f"{item.name} is {value!r}, which is unknown: use {', '.join(choices)}."
                )
        for name in ("epochs", "batch_size", "accumulate", "image_size", "val_every"):
            self._need(name, getattr(self, name) >= 1, "at least 1")
        self._need("lr", 0 < self.lr < 1e6, "above 0 and below 1,000,000")
        for name in ("weight_decay", "mixup", "cutmix", "clip_norm", "warmup_epochs", "rms_eps",
                     "min_lr", "opt_eps", "decay_rate", "val_batch_size",
                     "mix_off_epoch"):  # fmt: skip
            self._need(name, getattr(self, name) >= 0, "at least 0")
        for name in ("workers", "max_steps", "overfit_batches", "holdout", "synthetic_data",
                     "threads", "seed", "loader_timeout", "bn_recalibrate",
                     "checkpoint_steps", "checkpoint_hist"):  # fmt: skip
            self._need(name, getattr(self, name) >= 0, "at least 0")
        self._need("decay_epochs", self.decay_epochs > 0, "above 0")
        for name in ("erase", "mix_prob"):
            self._need(name, 0 <= getattr(self, name) <= 1, "at least 0 and at most 1")
        for name in ("mean", "std", "opt_betas"):
            self.numbers(name)
        for name in ("momentum", "label_smoothing", "dropout", "ema", "bn_momentum", "drop_path"):
            self._need(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name in ("crop_scale", "resize_ratio"):
            self._need(name, 0 < getattr(self, name) <= 1, "above 0 and at most 1")
        if bool(self.data) == bool(self.synthetic_data):
            raise SettingsError(
                "give the images' folder with --data, or --synthetic-data for made-up ones."
            )

    def numbers(self, name: str) -> tuple[float, ...]:
        """The numbers of a field that holds some, joined by commas; none if it is empty.

        Raises:
            SettingsError: If it holds anything else, or another number of them.
        """
        text, count = getattr(self, name), 2 if name == "opt_betas" else 3
        try:
            found = tuple(float(part) for part in text.split(",")) if text else ()
        except ValueError:
            found = (float("nan"),)
        if found and (len(found) != count or not all(abs(one) < 1e6 for one in found)):
            raise SettingsError(f"{name} is {text!r}: give {count} numbers joined by commas.")
        return found

    def _need(self, name: str, fine: bool, wanted: str) -> None:
        if not fine:
            raise SettingsError(f"{name} is {getattr(self, name)}: it must be {wanted}.")

    def bytes_of(self, images: int) -> int:
        """Size of so many images in memory (float32)."""
        return 4 * 3 * self.image_size**2 * images

    def identity(self) -> dict[str, Any]:
        """The fields that decide the weights of a run.

        A step over 32 images is the same step as two accumulated passes over 16: the two fields
        count by their product (but not with ``overfit_batches``, which counts passes).
        """
        kept = {k: v for k, v in dataclasses.asdict(self).items() if k not in FREE_ON_RESUME}
        if not self.overfit_batches:
            kept["batch_size"] *= kept.pop("accumulate")
        return kept

    def digest(self) -> str:
        """Sixteen hexadecimal digits that tell two identities apart.

        Values that are the default do not count, so that a later version with more fields gives
        the same training the same digits.
        """
        usual = default_identity()
        kept = {name: value for name, value in self.identity().items() if value != usual[name]}
        text = json.dumps(kept, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def differences(self, other: TrainSettings) -> list[str]:
        """Names of the fields whose difference would change the weights of a run."""
        mine, theirs = self.identity(), other.identity()
        return [name for name in mine if mine[name] != theirs.get(name)]


def default_identity() -> dict[str, Any]:
    """The defaults of all fields that an identity may have: what older files leave out."""
    usual = {item.name: item.default for item in dataclasses.fields(TrainSettings)}
    return {name: value for name, value in usual.items() if name not in FREE_ON_RESUME}


# What a preset sets; flags given beside it win.
PRESETS: dict[str, dict[str, Any]] = {
    # ProxylessNAS's and MnasNet's customary schedule, shortened to one that labs afford.
    "imagenet": {"epochs": 300, "augment": "colour", "crop_scale": 0.08, "amp": "bf16",
                 "channels_last": True},
    # A cheaper stand-in that ranks networks for the search stage.
    "imagenet-proxy": {"epochs": 30, "image_size": 160, "warmup_epochs": 2.0, "ema": 0.999,
                       "crop_scale": 0.25, "amp": "bf16", "channels_last": True},
    # The runs behind the NASBench-101 table: 108 epochs on 40,000 images, L2 on every weight.
    "nb101": {"epochs": 108, "image_size": 32, "batch_size": 256, "optimiser": "rmsprop-tf",
              "lr": 0.2, "scale_lr": False, "warmup_epochs": 0.0, "momentum": 0.9,
              "rms_eps": 1.0, "weight_decay": 1e-4, "decay_all": True, "label_smoothing": 0.0,
              "augment": "pad-crop", "resize_ratio": 1.0, "ema": 0.0, "holdout": 10_000},
    # A few hundred small images and a few CPU minutes.
    "tiny": {"epochs": 10, "image_size": 32, "width": 0.25, "depth": 2, "stem_stride": 1,
             "batch_size": 64, "lr": 0.2, "warmup_epochs": 1.0, "ema": 0.99, "workers": 0,
             "augment": "crop", "crop_scale": 0.6, "flip": False, "resize_ratio": 1.0,
             "label_smoothing": 0.0, "cache": True, "threads": 1},
}  # fmt: skip


def preset(name: str, **overrides: Any) -> TrainSettings:
    """Settings from a preset.

    Args:
        name: A key of PRESETS, or "" for the defaults.
        **overrides: Fields that win over it.

    Raises:
        SettingsError: If the preset is unknown or a value makes no sense.
    """
    if name and name not in PRESETS:
        raise SettingsError(f"preset {name!r} is unknown: use {', '.join(PRESETS)}.")
    return TrainSettings(**{**PRESETS.get(name, {}), **overrides})


def with_fields(settings: TrainSettings, **changes: Any) -> TrainSettings:
    """A copy with some fields changed, checked again."""
    return replace(settings, **changes)
