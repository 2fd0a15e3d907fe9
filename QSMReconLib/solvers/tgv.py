"""Total generalised variation's half of an ADMM iteration.

Bredies et al. 2010, doi:10.1137/090769521: min over v of λ‖∇χ - v‖₁ + κλ‖εv‖₁, ε the symmetrised gradient. Ramps cost
nothing, so that χ does not come out in steps. v moves by one gradient step an iteration (a linearised ADMM), which
needs no transform.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..physics.differences import divergence, gradient, laplacian_spectrum
from ..physics.fourier import Spectrum

PAIRS = ((0, 1), (0, 2), (1, 2))


def bending(vectors: torch.Tensor, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """The symmetrised gradient of (3, X, Y, Z), which forward differences are: its three diagonal and, times √2, its
    three other entries (6, X, Y, Z).

    Component i lies half a voxel along axis i. Backward differences on the diagonal and forward ones beside it bring
    the two parts of each entry to one place, so that no axis has a preferred sense.
    """
    diagonal = [(vectors[i] - vectors[i].roll(1, i)) / voxel_size_mm[i] for i in range(3)]

    def forth(component: int, axis: int) -> torch.Tensor:
        return (vectors[component].roll(-1, axis) - vectors[component]) / voxel_size_mm[axis]

    mixed = [(forth(i, j) + forth(j, i)) / 2**0.5 for i, j in PAIRS]
    return torch.stack(diagonal + mixed)


def unbending(tensors: torch.Tensor, voxel_size_mm: Sequence[float]) -> torch.Tensor:
    """The adjoint of `bending`: (6, X, Y, Z) to (3, X, Y, Z)."""
    vectors = torch.stack([(tensors[i] - tensors[i].roll(-1, i)) / voxel_size_mm[i] for i in range(3)])

    def back(entry: torch.Tensor, axis: int) -> torch.Tensor:
        return (entry.roll(1, axis) - entry) / (2**0.5 * voxel_size_mm[axis])

    for (i, j), entry in zip(PAIRS, tensors[3:], strict=True):
        vectors[i] += back(entry, j)
        vectors[j] += back(entry, i)
    return vectors


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
        self.bend_pull = torch.zeros_like(self.bend_dual)
        # The tie of v is 1 + ε*ε, at most 1 + 12/h² for the smallest voxel.
        self.rate = 1 / (1 + 12 / min(voxel_size_mm) ** 2)

    def curvature(self, spectrum: Spectrum, device: torch.device | str) -> torch.Tensor:
        """The half-spectrum of -div∘grad."""
        return laplacian_spectrum(spectrum, device)

    def step(self, volume: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Move v, both splits and their duals on for `volume` (X, Y, Z); div(z + v - u) in `out`."""
        voxel = self.voxel_size_mm
        edges = gradient(volume, voxel)
        moved = edges - self.slope + self.edge_dual
        self.edge_dual = moved.clamp(-self.threshold, self.threshold)
        # What the splits pull ∇χ - v and εv towards: z - u.
        wanted = moved.sub_(self.edge_dual, alpha=2.0)
        limit = self.threshold * self.smoothness
        bent = bending(self.slope, voxel).add_(self.bend_dual)
        self.bend_dual = bent.clamp(-limit, limit)
        self.bend_pull = bent.sub_(self.bend_dual, alpha=2.0)
        # One step of v down ½‖∇χ - v - wanted‖² + ½‖εv - bend_pull‖².
        down = (edges - self.slope).sub_(wanted)
        down.sub_(unbending(bending(self.slope, voxel).sub_(self.bend_pull), voxel))
        self.slope.add_(down, alpha=self.rate)
        return out.copy_(divergence(wanted.add_(self.slope), voxel))
