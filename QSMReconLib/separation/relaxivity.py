"""How much R2′ susceptibility makes, and what the stages that use it have in common."""

from __future__ import annotations

from .._lazy import torch
from ..data import Artifact, Grid
from ..errors import InputError

DR_HZ_PER_PPM = 137.0
"""R2′ per ppm of paramagnetic or diamagnetic susceptibility at 3 T (Shin et al. 2021,
doi:10.1016/j.neuroimage.2021.118371). Maps made with another value, such as χ-sepnet's 114, are not comparable."""


def at_field_strength(hz_per_ppm_at_3t: float, field_strength_t: float) -> float:
    """A relaxivity at `field_strength_t`: static dephasing is proportional to B0. Raises InputError without B0."""
    if not 0.01 < field_strength_t < 30:
        raise InputError(f"The field strength is {field_strength_t} T: give that of the scanner, 3 T for instance.")
    return hz_per_ppm_at_3t * field_strength_t / 3.0


def said(symbol: str, hz_per_ppm_at_3t: float, field_strength_t: float) -> str:
    """What relaxivity was used, for the notes of a stage."""
    here = at_field_strength(hz_per_ppm_at_3t, field_strength_t)
    if field_strength_t == 3.0:
        return f"{symbol} is {here:g} Hz/ppm."
    return f"{symbol} is {hz_per_ppm_at_3t:g} Hz/ppm at 3 T, that is {here:.4g} Hz/ppm at {field_strength_t:g} T."


def check_places(grid: Grid, *others: Artifact | None) -> None:
    """Raises InputError, naming the artifact, where one lies on another grid."""
    for other in others:
        if other is not None and not grid.same_place(other.grid):
            raise InputError(f"The {other.kind} is not on the grid of the other maps; resample it.")


def check_finite(what: str, volume: torch.Tensor, mask: torch.Tensor) -> None:
    """Raises InputError where a map has values inside the mask that are no numbers."""
    if not bool(torch.isfinite(volume[mask > 0]).all()):
        raise InputError(f"The {what} has values inside the mask that are not numbers; set them to zero or mend them.")
