"""What trains and asks predictors: one interface, and a backend by its name.

=========  ==================  ===========================  ==========================
name       training            asking a whole space         precision
=========  ==================  ===========================  ==========================
``numpy``  compiled CPU loop   NumPy: the oracle            float32
``numba``  compiled CPU loop   compiled CPU kernels         float32, bfloat16
``torch``  compiled CPU loop   PyTorch, on CUDA if it can   float32, bfloat16
``cupy``   CUDA, all trials    cuBLAS and CUDA kernels      float32, tf32, bfloat16
=========  ==================  ===========================  ==========================

``auto`` is ``cupy`` where a CUDA device can be used and ``numba`` elsewhere. A precision other than
float32 is asked for behind a colon: ``cupy:tf32``. The backends agree up to rounding where nothing
random differs; ``cupy`` draws orders and dropout masks of its own from the same seeds.
"""

from __future__ import annotations

import importlib.util

from nprep.errors import MissingDependencyError
from nprep.predictor.backends.base import DEFAULT_MEMORY, Backend
from nprep.predictor.backends.names import parse_backend
from nprep.predictor.backends.numba import NumbaBackend


def make_backend(choice: str = "auto", threads: int = 1, memory: int = DEFAULT_MEMORY) -> Backend:
    """A backend by its name.

    Args:
        choice: See the module.
        threads: How many threads may share a whole space on the CPU.
        memory: Bytes that buffers of a GPU's predictors may take; fewer go through together if it
            does not hold all.

    Raises:
        SettingsError: If the choice is unknown.
        MissingDependencyError: If what it needs is not there.
    """
    name, precision = parse_backend(choice)
    if name == "auto":
        if importlib.util.find_spec("cupy") is None:
            return NumbaBackend(threads)
        try:
            return make_backend("cupy", threads, memory)
        except MissingDependencyError:
            return NumbaBackend(threads)
    if name == "numba":
        return NumbaBackend(threads, precision)
    if name == "numpy":
        from nprep.predictor.backends.numpy import NumpyBackend

        return NumpyBackend()
    if name == "torch":
        from nprep.predictor.backends.torch import TorchBackend

        return TorchBackend(precision)
    from nprep.kernels.cuda.device import cuda_device
    from nprep.predictor.backends.cupy import CupyBackend

    return CupyBackend(cuda_device(), precision, memory)
