"""Real training: searches whose queries are answered by training networks on images.

Four folders, in the order in which data flows through them: ``networks`` (architectures in torch,
their latency), ``data`` (images from folders or tar shards), ``training`` (one training, its
checkpoints and exports) and ``study`` (many trainings: the pool of architectures that a search may
ask for, and the evaluator that answers by training).

torch, torchvision, Pillow and ray are optional: they are imported by the modules that need them,
never by this one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(path: Path | str) -> tuple[Any, dict[str, Any]]:
    """A trained network, of an export in safetensors or of the folder of a training.

    Args:
        path: The file or folder.

    Returns:
        The network (a ``torch.nn.Module`` in evaluation mode), and what there is to know about it:
        architecture, class names, means and deviations, input size and crop.

    Raises:
        RunFolderError: If it is missing, damaged, or nothing that this program exported.
    """
    from nprep.imagenet.training.weights import load

    return load(path)
