"""χ from several orientations of one head: together their dipoles have no cone that all are blind to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .._lazy import torch
from ..data import Grid
from ..errors import InputError
from ..physics.dipole import Dipole
from ..solvers.cg import conjugate_gradients

LEAST_SEEN = 0.01
"""Of ΣDᵢ²: where less of k is seen by the orientations together, they are too much alike there."""


def cosmos(fields_ppm: Sequence[torch.Tensor], dipoles: Sequence[Dipole]) -> torch.Tensor:
    """χ (X, Y, Z) in ppm from local fields (X, Y, Z) in ppm, one for each dipole, all of one grid: ΣDᵢfᵢ/ΣDᵢ² in k, 0
    at k = 0 (Liu et al. 2009, doi:10.1002/mrm.21828). Each field is taken as known everywhere."""
    spectrum = dipoles[0].spectrum
    total = torch.zeros((), device=fields_ppm[0].device)
    for field, dipole in zip(fields_ppm, dipoles, strict=True):
        total = total + spectrum.to_k(field).mul_(dipole.kernel)
    return spectrum.from_k(total.div_(seen(dipoles)))


def seen(dipoles: Sequence[Dipole]) -> torch.Tensor:
    """ΣDᵢ² on the half-spectrum, no smaller than `LEAST_SEEN`/10 of what one orientation sees at most."""
    squares = torch.zeros_like(dipoles[0].kernel)
    for dipole in dipoles:
        squares.addcmul_(dipole.kernel, dipole.kernel)
    return squares.clamp_(min=LEAST_SEEN / 10)


def blind_share(dipoles: Sequence[Dipole]) -> float:
    """The part of k, 0 to 1, that the orientations together hardly see."""
    return dipoles[0].spectrum.mean((seen(dipoles) < LEAST_SEEN).float())


def cosmos_inside(
    fields_ppm: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    dipoles: Sequence[Dipole],
    sources: torch.Tensor,
    tolerance: float = 1e-3,
    iterations: int = 30,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ (X, Y, Z) in ppm, not 0 only in `sources`, that lessens Σ‖wᵢ(Dᵢχ - fᵢ)‖², wᵢ² the `weights`, 0 where a field is
    not known: conjugate gradients from the closed form."""

    def apply(chi: torch.Tensor) -> torch.Tensor:
        image = torch.zeros_like(chi)
        for weight, dipole in zip(weights, dipoles, strict=True):
            image += dipole.field(dipole.field(chi) * weight)
        return image.mul_(sources)

    known = torch.zeros_like(fields_ppm[0])
    for field, weight, dipole in zip(fields_ppm, weights, dipoles, strict=True):
        known += dipole.field(field * weight)
    return conjugate_gradients(
        apply,
        known.mul_(sources),
        iterations=iterations,
        tolerance=tolerance,
        start=cosmos(fields_ppm, dipoles).mul_(sources),
        callback=lambda done, _: None if progress is None else progress(done / iterations),
    ).value


def b0_seen_from(grid: Grid, other: Grid) -> tuple[float, float, float]:
    """The B0 direction of `other` along the voxel axes of `grid`: both affines lead into one head."""
    ours, theirs = (np.asarray(one.affine)[:3, :3] / np.asarray(one.voxel_size_mm) for one in (grid, other))
    x, y, z = np.linalg.solve(ours, theirs @ np.asarray(other.b0_direction))
    return float(x), float(y), float(z)


def check_orientations(directions: Sequence[Sequence[float]], least_deg: float = 5.0) -> None:
    """Raises InputError for fewer than two orientations, or where two of them are less than `least_deg` apart."""
    if len(directions) < 2:
        raise InputError("COSMOS needs at least two orientations of the head; three or more are usual.")
    axes = np.asarray(directions) / np.linalg.norm(directions, axis=1, keepdims=True)
    apart = np.degrees(np.arccos(np.clip(np.abs(axes @ axes.T), 0, 1)))
    apart[np.tril_indices(len(axes))] = 90
    if apart.min() < least_deg:
        one, other = np.unravel_index(apart.argmin(), apart.shape)
        raise InputError(
            f"Scans {one + 1} and {other + 1} have B0 only {apart.min():.1f}° apart along the head's axes: turn the "
            "head further, leave one out, or say by --b0-direction how the head was turned."
        )
