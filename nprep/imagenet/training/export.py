"""Deploys a trained network: TorchScript, ONNX and safetensors, with its encoding."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nprep._optional import need
from nprep.errors import SettingsError
from nprep.imagenet.files import write_file

FORMATS = ("torchscript", "onnx", "safetensors")


def export(model: nn.Module, about: dict[str, Any], target: Path, formats: list[str]) -> list[Path]:
    """Writes a network; each file says under the key ``nprep`` what it is (JSON).

    Args:
        model: In evaluation mode.
        about: See ``nprep.imagenet.training.weights.about``; goes into every file.
        target: Path without an ending.
        formats: Some of FORMATS.

    Returns:
        The files.

    Raises:
        SettingsError: If a format is unknown.
        MissingDependencyError: If a format needs a package that is not installed.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise SettingsError(f"format {unknown[0]!r} is unknown: use {', '.join(FORMATS)}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    images = torch.zeros(1, 3, about["image_size"], about["image_size"])
    text = json.dumps(about)
    files = []
    if "safetensors" in formats:
        module = need("safetensors.torch", "write safetensors", extra="imagenet")
        # Shared or strided tensors are refused there; these are copies.
        weights = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        content = module.save(weights, metadata={"nprep": text})
        files.append(target.with_suffix(".safetensors"))
        write_file(files[-1], lambda file: file.write(content))
    if "torchscript" in formats:
        files.append(target.with_suffix(".torchscript.pt"))
        with warnings.catch_warnings():
            # Deprecated by torch since 2.9, and still what deployments of such networks load.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            traced = torch.jit.trace(model, images)
            extra = {"nprep": text}
            write_file(files[-1], lambda file: torch.jit.save(traced, file, _extra_files=extra))
    if "onnx" in formats:
        onnx = need("onnx", "write ONNX", extra="imagenet")
        need("onnxscript", "write ONNX", extra="imagenet")
        files.append(target.with_suffix(".onnx"))
        with warnings.catch_warnings():
            # The exporter warns of its own internals.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (images,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        assert program is not None
        proto = program.model_proto
        onnx.helper.set_model_props(proto, {"nprep": text})
        write_file(files[-1], lambda file: file.write(proto.SerializeToString()))
    return files
