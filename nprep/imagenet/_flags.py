"""Command-line options out of dataclass fields, under the names that people type as well."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from nprep._console import Parser
from nprep.errors import SettingsError
from nprep.imagenet.files import read_yaml

# What timm's and torchvision's training scripts call a field.
CUSTOMARY = {
    "aa": ("--auto-augment",),
    "accumulate": ("--grad-accum-steps",),
    "batch_size": ("-b",),
    "clip_norm": ("--clip-grad", "--clip-grad-norm"),
    "compile": ("--torchcompile",),
    "cutmix": ("--cutmix-alpha",),
    "data": ("--data-dir", "--data-path"),
    "decay_epochs": ("--lr-step-size",),
    "decay_rate": ("--dr", "--lr-gamma"),
    "dropout": ("--drop",),
    "ema": ("--model-ema-decay",),
    "erase": ("--reprob", "--random-erase"),
    "image_column": ("--input-key",),
    "image_size": ("--img-size", "--train-crop-size"),
    "initial_weights": ("--initial-checkpoint", "--weights"),
    "label_column": ("--target-key",),
    "label_smoothing": ("--smoothing",),
    "lr": ("--lr-base",),
    "min_lr": ("--lr-min",),
    "mix_off_epoch": ("--mixup-off-epoch",),
    "mix_prob": ("--mixup-prob",),
    "mixup": ("--mixup-alpha",),
    "optimiser": ("--opt",),
    "resize_ratio": ("--crop-pct",),
    "schedule": ("--sched", "--lr-scheduler"),
    "val_batch_size": ("--validation-batch-size",),
    "val_every": ("--val-interval",),
    "warmup_epochs": ("--lr-warmup-epochs",),
    "weight_decay": ("--wd",),
    "workers": ("-j",),
}


def add_flags(parser: Parser, settings: type[Any], skip: frozenset[str] = frozenset()) -> None:
    """Adds one option a field; an option that is not given leaves nothing behind.

    Args:
        parser: Where the options go, as one group.
        settings: A dataclass whose fields have ``help`` and ``choices`` in their metadata.
        skip: Fields without an option.
    """
    group = parser.add_argument_group(settings.__name__)
    for item in dataclasses.fields(settings):
        if item.name in skip:
            continue
        flag = "--" + item.name.replace("_", "-")
        also = CUSTOMARY.get(item.name, ())
        told = f"; also {', '.join(also)}" if also else ""
        options: dict[str, Any] = {
            "dest": item.name,
            "default": argparse.SUPPRESS,
            "help": f"{item.metadata['help'].replace('%', '%%')} (default: {item.default!r}{told})",
        }
        # Annotations are strings here; a default of the right type tells as much.
        if isinstance(item.default, bool):
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = type(item.default)
            options["choices"] = item.metadata["choices"]
            options["metavar"] = None if options["choices"] else type(item.default).__name__.upper()
        group.add_argument(flag, **options)
        for name in also:
            parser.also_accept(name, flag)


def add_out(parser: Parser, what: str) -> None:
    """Adds the option that says where to write."""
    parser.add_argument("--out", required=True, help=what)
    for name in ("--output", "--output-dir"):
        parser.also_accept(name, "--out")


def from_config(path: str | None, settings: type[Any]) -> dict[str, Any]:
    """The fields that a YAML file gives, by their names or the customary ones.

    Args:
        path: The file; None gives nothing.
        settings: The dataclass.

    Raises:
        SettingsError: If a name is unknown or a value of another type.
        RunFolderError: If the file cannot be read.
    """
    if path is None:
        return {}
    fields = {item.name: item for item in dataclasses.fields(settings)}
    names = {
        other.lstrip("-").replace("-", "_"): name
        for name, others in CUSTOMARY.items()
        for other in others
        if other.startswith("--")
    }
    found = {}
    for given_name, value in read_yaml(Path(path), "correct it").items():
        name = given_name.replace("-", "_")
        name = name if name in fields else names.get(name, "")
        if not name:
            raise SettingsError(f"{path} has {given_name!r}, which is no setting: see --help.")
        kind: Any = type(fields[name].default)
        whole = kind is float and type(value) is int
        if type(value) is not kind and not whole:
            raise SettingsError(
                f"{path} has {given_name} {value!r}: give a value of type {kind.__name__}."
            )
        found[name] = kind(value)
    return found


def given(args: argparse.Namespace, settings: type[Any]) -> dict[str, Any]:
    """The fields of a dataclass that the command line gave."""
    values = vars(args)
    return {f.name: values[f.name] for f in dataclasses.fields(settings) if f.name in values}
