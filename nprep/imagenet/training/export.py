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
from nprep.imagenet.networks.architectures import build
from nprep.imagenet.training.checkpoints import load_checkpoint
from nprep.imagenet.training.folder import RunFolder

FORMATS = ("torchscript", "onnx", "safetensors")


def load_trained(run: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a finished or running training.

    Args:
        run: Its folder.

    Returns:
        The network with the weights of its last epoch (averaged, where the run averages), in
        evaluation mode, and what there is to know about it.

    Raises:
        RunFolderError: If the folder holds no run or a damaged one.
    """
    folder = RunFolder(run)
    settings = folder.settings()
    state = load_checkpoint(folder.last)
    model = build(settings, state["num_classes"])
    average = state["average"]
    model.load_state_dict(state["model"] if average is None else average)
    about = {
        "arch": settings.arch,
        "num_classes": state["num_classes"],
        "image_size": settings.image_size,
        "width": settings.width,
        "depth": settings.depth,
        "stem_stride": settings.stem_stride,
        "epochs": state["epoch"],
    }
    return model.eval(), about


def export(model: nn.Module, about: dict[str, Any], target: Path, formats: list[str]) -> list[Path]:
    """Writes a network.

    Args:
        model: In evaluation mode.
        about: Goes into the files that can hold it.
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
        raise SettingsError(f"format {unknown[0]!r} is unknown: use {', '.join(FORMATS)}")
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
