"""Bodies whose field is known: a sphere and an infinite cylinder, averaged over voxels.

Fields are those of the dipole kernel 1/3 - (k·b)²/k², which has Lorentz's sphere taken out: zero inside a sphere.
Schenck 1996, doi:10.1118/1.597854; Haacke et al. 1999 (ISBN 0471351288), chapter 25.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

from .._lazy import torch
from ..data import Grid

Vector = Sequence[float]
Position = tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]


def sphere(
    grid: Grid,
    radius_mm: float,
    chi_ppm: float = 1.0,
    centre_mm: Vector = (0.0, 0.0, 0.0),
    edge_mm: float = 0.0,
    device: torch.device | str = "cpu",
    samples: int = 5,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A sphere of `chi_ppm` in nothing: (χ, field), both (X, Y, Z) in ppm, means of `samples`³ points per voxel.

    `centre_mm` runs along the voxel axes from the middle of the grid. Outside, the field is that of a dipole,
    χ·a³/3·(3cos²θ - 1)/r³. With `edge_mm`, χ falls to zero over that distance across the radius: the mean of spheres,
    whose field is known as well.
    """

    def at(position: Position) -> tuple[torch.Tensor, torch.Tensor]:
        squared = _dot(position, position)
        within, cubed = _enclosed(squared.sqrt(), radius_mm, edge_mm, 3)
        far = squared.clamp(min=1e-12)
        angular = 3 * _dot(grid.b0_direction, position) ** 2 / far - 1
        return chi_ppm * within, chi_ppm / 3 * cubed / far**1.5 * angular

    return _mean(grid, at, centre_mm, device, samples)


def cylinder(
    grid: Grid,
    radius_mm: float,
    chi_ppm: float = 1.0,
    axis: Vector = (0.0, 0.0, 1.0),
    centre_mm: Vector = (0.0, 0.0, 0.0),
    edge_mm: float = 0.0,
    device: torch.device | str = "cpu",
    samples: int = 5,
) -> tuple[torch.Tensor, torch.Tensor]:
    """An infinite cylinder of `chi_ppm` in nothing: (χ, field), both (X, Y, Z) in ppm, means over voxels.

    `axis` and `centre_mm` run along the voxel axes, the latter from the middle of the grid. At θ between axis and B0
    the field is χ/6·(3cos²θ - 1) inside and χ/2·sin²θ·(a/ρ)²·cos2φ outside, φ counted from B0's part across the axis.
    `edge_mm` softens the edge as for the sphere.
    """
    length = sum(a * a for a in axis) ** 0.5
    axis = [a / length for a in axis]
    cosine = sum(a * b for a, b in zip(axis, grid.b0_direction, strict=True))
    across = [b - cosine * a for a, b in zip(axis, grid.b0_direction, strict=True)]

    def at(position: Position) -> tuple[torch.Tensor, torch.Tensor]:
        squared = (_dot(position, position) - _dot(axis, position) ** 2).clamp(min=0)
        within, enclosed = _enclosed(squared.sqrt(), radius_mm, edge_mm, 2)
        far = squared.clamp(min=1e-12)
        # sin²θ·cos2φ = 2·(across·ρ)²/ρ² - |across|², without the angle, which has no meaning along B0.
        angular = 2 * _dot(across, position) ** 2 / far - (1 - cosine**2)
        return chi_ppm * within, chi_ppm / 6 * (3 * cosine**2 - 1) * within + chi_ppm / 2 * enclosed / far * angular

    return _mean(grid, at, centre_mm, device, samples)


def _enclosed(distance: torch.Tensor, radius: float, edge: float, power: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Over radii a spread evenly across the edge: the share with a > distance, and the mean of a^power of the rest."""
    if edge == 0:
        within = (distance < radius).to(distance)
        return within, radius**power * (1 - within)
    low, high = radius - edge / 2, radius + edge / 2
    reached = distance.clamp(low, high)
    return (high - reached) / edge, (reached ** (power + 1) - low ** (power + 1)) / ((power + 1) * edge)


def _mean(
    grid: Grid,
    at: Callable[[Position], tuple[torch.Tensor, torch.Tensor]],
    centre_mm: Vector,
    device: torch.device | str,
    samples: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    chi = torch.zeros(grid.shape, dtype=torch.float64, device=device)
    field = torch.zeros_like(chi)
    for position in _positions(grid, centre_mm, device, samples):
        part, its_field = at(position)
        chi += part
        field += its_field
    return (chi / samples**3).float(), (field / samples**3).float()


def _positions(grid: Grid, centre_mm: Vector, device: torch.device | str, samples: int) -> Iterator[Position]:
    steps = [(i + 0.5) / samples - 0.5 for i in range(samples)]
    axes = [torch.arange(n, dtype=torch.float64, device=device) - (n - 1) / 2 for n in grid.shape]
    for shift in product(steps, repeat=3):
        x, y, z = ((a + s) * v - c for a, s, v, c in zip(axes, shift, grid.voxel_size_mm, centre_mm, strict=True))
        yield x[:, None, None], y[None, :, None], z[None, None, :]


def _dot(a: Vector | Position, b: Position) -> torch.Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
