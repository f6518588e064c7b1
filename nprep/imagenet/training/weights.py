"""Trained weights: out of runs, checkpoints and exports, into networks."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nprep._optional import need
from nprep.errors import RunFolderError, SettingsError
from nprep.imagenet.data.transforms import evaluation_transform, normalisation
from nprep.imagenet.networks.architectures import build
from nprep.imagenet.settings import TrainSettings
from nprep.imagenet.training.checkpoints import load_checkpoint
from nprep.imagenet.training.folder import RunFolder

_LOG = logging.getLogger("nprep.imagenet")
# The settings that decide a network and how images are made ready for it.
ABOUT = (
    "arch",
    "image_size",
    "width",
    "depth",
    "stem_stride",
    "resize_ratio",
    "interpolation",
    "augment",
)


def about(settings: TrainSettings, classes: list[str], epochs: int) -> dict[str, Any]:
    """What a user of a trained network must know, as JSON can hold it.

    Args:
        settings: Of its training.
        classes: Names of the classes, in the order of the outputs.
        epochs: How many it was trained for.
    """
    mean, std = normalisation(settings)
    kept = {name: getattr(settings, name) for name in ABOUT}
    return {
        **kept,
        "num_classes": len(classes),
        "classes": classes,
        "epochs": epochs,
        "mean": list(mean),
        "std": list(std),
        "input": f"RGB in [0, 1], less mean, over std: (N, 3, {settings.image_size}, "
        f"{settings.image_size}) float32",
        "resize": round(settings.image_size / settings.resize_ratio),
        "crop": "centre",
    }


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
    settings = replace(folder.settings(), grad_checkpointing=False)
    _, state = folder.checkpoint()
    model = build(settings, state["num_classes"])
    average = state["average"]
    model.load_state_dict(state["model"] if average is None else average)
    classes = state.get("classes") or [str(number) for number in range(state["num_classes"])]
    return model.eval(), about(settings, classes, state["epoch"])


def load(path: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """A trained network, of an export in safetensors or of a run's folder.

    Args:
        path: The file or folder.

    Returns:
        The network in evaluation mode, and what there is to know about it (see ``about``).

    Raises:
        RunFolderError: If it is missing, damaged, or nothing that this program exported.
    """
    path = Path(path)
    if path.is_dir():
        return load_trained(path)
    weights, metadata = read_safetensors(path)
    if "nprep" not in metadata:
        raise RunFolderError(
            f"{path} does not say what network it holds: give an export of `nprep.imagenet export`."
        )
    known = json.loads(metadata["nprep"])
    model = build(settings_of(known), known["num_classes"])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunFolderError(
            f"{path} holds other weights than those of {known['arch']}: export the network again."
        ) from error
    return model.eval(), known


def settings_of(known: dict[str, Any]) -> TrainSettings:
    """The settings of a network that ``about`` described, as far as they matter to it."""
    fields: dict[str, Any] = {name: known[name] for name in ABOUT if name in known}
    for name in ("mean", "std"):
        if name in known:
            fields[name] = ",".join(map(repr, known[name]))
    return TrainSettings(**fields, num_classes=known["num_classes"], synthetic_data=1)


def transform_of(known: dict[str, Any]) -> Any:
    """What makes a Pillow image ready for a network that ``about`` described."""
    return evaluation_transform(settings_of(known))


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a safetensors file.

    Raises:
        RunFolderError: If it is missing or damaged.
    """
    module = need("safetensors", "read exports", extra="imagenet")
    try:
        with module.safe_open(str(path), "pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except Exception as error:  # it raises errors of its own and the system's
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise RunFolderError(
            f"{path} cannot be read as safetensors ({reason}): give an export, or a run's folder."
        ) from error


def load_initial(model: nn.Module, path: Path) -> None:
    """Starts a network from trained weights; a classifier of other classes starts anew.

    Args:
        model: The network.
        path: An export, a checkpoint (``last.pt``, ``best.pt``) or a run's folder.

    Raises:
        SettingsError: If the weights are of another network.
        RunFolderError: If they cannot be read.
    """
    if path.is_dir():
        weights: dict[str, Tensor] = load_trained(path)[0].state_dict()
    elif path.suffix == ".safetensors":
        weights = read_safetensors(path)[0]
    else:
        state = load_checkpoint(path)
        weights = state.get("average") or state["model"]
    own = model.state_dict()
    other = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    strange = [name for name in other if not name.startswith("classifier.")]
    if strange:
        raise SettingsError(
            f"initial_weights {path} are of another network ({strange[0]} differs): give weights "
            "of the same architecture, width and depth."
        )
    if other:
        _LOG.info(f"the classifier of {path} has other classes: it starts anew")
    with torch.no_grad():
        for name, value in own.items():
            if name not in other:
                value.copy_(weights[name])
