"""Total generalised variation's half of an ADMM iteration.

Bredies et al. 2010, doi:10.1137/090769521: min over v of λ‖∇χ - v‖₁ + κλ‖εv‖₁, ε the symmetrised gradient. Ramps cost
nothing, so that χ does not come out in steps. v moves by one gradient step an iteration (a linearised ADMM), which
needs no transform.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..physics.differences import divergence, laplacian_spectrum
from ..physics.fourier import Spectrum

ENTRIES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Of a symmetric tensor."""


def bending(vectors: torch.Tensor, entry: tuple[int, int], voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """An entry (X, Y, Z) of the symmetrised gradient of (3, X, Y, Z), which forward differences are; beside the
    diagonal times √2.

    Component i lies half a voxel along axis i. Backward differences on the diagonal and forward ones beside it bring
    the two parts of each entry to one place, so that no axis has a preferred sense.
    """
    i, j = entry
    if i == j:
        return vectors[i].sub(vectors[i].roll(1, i)).div_(voxel_size_mm[i])
    bent = vectors[i].roll(-1, j).sub_(vectors[i]).div_(voxel_size_mm[j])
    return bent.add_(vectors[j].roll(-1, i).sub_(vectors[j]), alpha=1 / voxel_size_mm[i]).div_(2**0.5)


def unbend(tensor: torch.Tensor, entry: tuple[int, int], voxel_size_mm: Sequence[float], vectors: torch.Tensor) -> None:
    """Take what the adjoint of `bending` makes of one entry off the `vectors` (3, X, Y, Z)."""
    i, j = entry
    if i == j:
        vectors[i].sub_(tensor - tensor.roll(-1, i), alpha=1 / voxel_size_mm[i])
        return
    for component, axis in ((i, j), (j, i)):
        vectors[component].sub_(tensor.roll(1, axis).sub_(tensor), alpha=0.5**0.5 / voxel_size_mm[axis])


class GeneralisedVariation:
    """State and step, as `TotalVariation`'s. `threshold` is λ/ρ per mm, `smoothness` κ in mm."""

    def __init__(
        self,
        shape: Sequence[int],
        voxel_size_mm: Sequence[float],
        threshold: float,
        smoothness: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.voxel_size_mm, self.threshold, self.smoothness = tuple(voxel_size_mm), threshold, smoothness
        self.slope = torch.zeros((3, *shape), device=device)
        self.edge_dual = torch.zeros_like(self.slope)
        self.bend_dual = torch.zeros((6, *shape), device=device)
        self.wanted = torch.empty_like(self.slope)
        self.down = torch.empty_like(self.slope)
        # The tie of v is 1 + ε*ε, at most 1 + 12/h² for the smallest voxel.
        self.rate = 1 / (1 + 12 / min(voxel_size_mm) ** 2)

    def curvature(self, spectrum: Spectrum, device: torch.device | str) -> torch.Tensor:
        """The half-spectrum of -div∘grad."""
        return laplacian_spectrum(spectrum, device)

    def step(self, volume: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Move v, both splits and their duals on for `volume` (X, Y, Z); div(z + v - u) in `out`.

        v goes one step down ½‖∇χ - v - (z - u)‖² + ½‖εv - (z - u)‖², with z and u as they are then. What is left of
        each residual, v and χ taken out of it, is 2u - u before.
        """
        for axis, size in enumerate(self.voxel_size_mm):
            dual, wanted = self.edge_dual[axis], self.wanted[axis]
            torch.sub(volume.roll(-1, axis), volume, out=wanted)
            wanted.div_(size).sub_(self.slope[axis]).add_(dual)
            self._move(dual, wanted, self.threshold, self.down[axis])
        for entry, dual in zip(ENTRIES, self.bend_dual, strict=True):
            bent = bending(self.slope, entry, self.voxel_size_mm).add_(dual)
            left = torch.empty_like(bent)
            self._move(dual, bent, self.threshold * self.smoothness, left)
            unbend(left, entry, self.voxel_size_mm, self.down)
        self.slope.add_(self.down, alpha=self.rate)
        return out.copy_(divergence(self.wanted.add_(self.slope), self.voxel_size_mm))

    @staticmethod
    def _move(dual: torch.Tensor, split: torch.Tensor, limit: float, left: torch.Tensor) -> None:
        """From a split with its dual added to z - u, and the dual moved on; `left` becomes 2u - u before."""
        torch.neg(dual, out=left)
        torch.clamp(split, -limit, limit, out=dual)
        split.sub_(dual, alpha=2.0)
        left.add_(dual, alpha=2.0)
