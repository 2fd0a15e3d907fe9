"""The background as the solution of Laplace's equation with the field at the edge as its boundary value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .._lazy import torch
from ..data import FieldNoise, LocalField, Mask, TotalField
from ..errors import InputError
from ..runtime import Runtime
from ..solvers.cg import conjugate_gradients
from ..solvers.multigrid import Multigrid, laplacian
from ..stage import Stage, option
from .harmonic import smooth_part
from .measured import Measured


def lbv(
    total_ppm: torch.Tensor,
    mask: torch.Tensor,
    voxel_size_mm: Sequence[float],
    peel: int = 1,
    tolerance: float = 1e-4,
    iterations: int = 50,
    progress: Callable[[float], None] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The local field (X, Y, Z) in ppm and the mask where it holds: inside the outermost layer that was not peeled.

    In that layer the local field is taken as zero, and so as if the total were all background; from there ∇²b = 0 tells
    the background inside (Zhou et al. 2014, doi:10.1002/nbm.3064). Conjugate gradients on a hierarchy of grids, from a
    fit of solid harmonics, until the residual is `tolerance` of the first or after `iterations`. Raises InputError for
    a mask that is too thin.
    """
    edge = mask > 0
    for _ in range(peel):
        edge = interior_of(edge)
    inner = interior_of(edge)
    if not bool(inner.any()):
        raise InputError("Nothing of the mask is left inside its edge: peel fewer layers, or check the mask.")
    total = total_ppm * edge
    # What is solved for is the difference from the first guess, zero at the edge after the guess has been put right
    # there: then only the neighbours of the edge are out of balance.
    guess = torch.where(inner, smooth_part(total, edge, voxel_size_mm), total)
    whole = inner.to(total.dtype)
    unbalanced, left = laplacian(guess, voxel_size_mm).mul_(whole), total.sub_(guess)
    del guess

    def report(done: int, _: float) -> None:
        if progress is not None:
            progress(done / iterations)

    grids = Multigrid(whole, voxel_size_mm)
    correction = conjugate_gradients(
        grids.levels[0].apply,
        unbalanced,
        iterations=iterations,
        tolerance=tolerance,
        precondition=grids,
        callback=report,
    ).value
    return left.sub_(correction).mul_(whole), inner


def interior_of(mask: torch.Tensor) -> torch.Tensor:
    """Voxels (X, Y, Z) whose six neighbours belong to the mask; none at the end of the volume."""
    inner = mask.clone()
    for axis in range(3):
        n = mask.shape[axis]
        inner.narrow(axis, 0, 1).fill_(False)
        inner.narrow(axis, n - 1, 1).fill_(False)
        if n > 1:
            inner.narrow(axis, 0, n - 1).logical_and_(mask.narrow(axis, 1, n - 1))
            inner.narrow(axis, 1, n - 1).logical_and_(mask.narrow(axis, 0, n - 1))
    return inner


class Lbv(Stage):
    """Laplacian boundary value (Zhou et al. 2014, doi:10.1002/nbm.3064): a harmonic background that equals the total
    field at the edge of the mask.

    The mask shrinks by a voxel, and by those that are peeled off before. Where noise is known, unreliable regions at
    the edge are cut off before that, and unreliable voxels inside are bridged.
    """

    peel: int = option(1, "Layers of voxels that are taken off the mask first", ge=0, le=20)
    tolerance: float = option(1e-4, "Stop at this relative residual", ge=0, le=0.1)
    iterations: int = option(50, "Conjugate-gradient steps at most", ge=1, le=10000)

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        field = Measured.of(total, mask, noise)
        local, kept = lbv(
            field.bridged(),
            field.known.mask,
            field.grid.voxel_size_mm,
            self.peel,
            self.tolerance,
            self.iterations,
            runtime.progress,
        )
        layers = self.peel + 1
        why = f"the outermost {layers} voxels give the boundary value, or the field cannot be trusted"
        return field.local_field(local, kept, runtime, why)
