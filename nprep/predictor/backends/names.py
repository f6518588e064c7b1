"""The names of backends, apart from the backends: a wrong one is refused before kernels load."""

from __future__ import annotations

from nprep.errors import SettingsError

# What each offers for the products of a whole space; see ``nprep.predictor.backends.base``.
PRECISIONS = {
    "numpy": ("float32",),
    "numba": ("float32", "bfloat16"),
    "torch": ("float32", "bfloat16"),
    "cupy": ("float32", "tf32", "bfloat16"),
}


def parse_backend(choice: str) -> tuple[str, str]:
    """The name and precision of a choice such as ``auto``, ``numba`` or ``cupy:tf32``.

    Raises:
        SettingsError: If either is unknown.
    """
    name, _, precision = choice.partition(":")
    if choice == "auto":
        return name, "float32"
    if name not in PRECISIONS:
        known = ", ".join(("auto", *PRECISIONS))
        raise SettingsError(f"backend {choice!r} is unknown: use {known}.")
    precision = precision or "float32"
    if precision not in PRECISIONS[name]:
        known = ", ".join(PRECISIONS[name])
        raise SettingsError(f"backend {name!r} has no precision {precision!r}: use {known}.")
    return name, precision
