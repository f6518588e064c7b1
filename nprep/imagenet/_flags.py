"""Command-line options out of dataclass fields, under the names that people type as well."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from nprep._console import Parser

# What timm's and torchvision's training scripts call a field.
CUSTOMARY = {
    "accumulate": ("--grad-accum-steps",),
    "batch_size": ("-b",),
    "clip_norm": ("--clip-grad", "--clip-grad-norm"),
    "compile": ("--torchcompile",),
    "cutmix": ("--cutmix-alpha",),
    "data": ("--data-dir", "--data-path"),
    "dropout": ("--drop",),
    "ema": ("--model-ema-decay",),
    "image_size": ("--img-size", "--train-crop-size"),
    "label_smoothing": ("--smoothing",),
    "lr": ("--lr-base",),
    "mixup": ("--mixup-alpha",),
    "optimiser": ("--opt",),
    "resize_ratio": ("--crop-pct",),
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


def given(args: argparse.Namespace, settings: type[Any]) -> dict[str, Any]:
    """The fields of a dataclass that the command line gave."""
    values = vars(args)
    return {f.name: values[f.name] for f in dataclasses.fields(settings) if f.name in values}
