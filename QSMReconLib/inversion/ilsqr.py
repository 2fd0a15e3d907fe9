"""Least squares, and then what of it is streaks."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import ChiMap, LocalField
from ..physics.differences import divergence, gradient
from ..physics.dipole import Dipole
from ..physics.smv import SphericalMean
from ..runtime import Runtime
from ..solvers.admm import in_corner
from ..solvers.lsmr import lsmr
from ..stage import Stage, option
from .problem import Problem
from .tkd import truncated_inverse

WEIGHING = 0.001
"""The power of |D| by which the fast estimate weighs k."""
FITTED_TO = 1 / 8
"""The threshold of the divided map that scales the fast estimate."""
BEND = (0.60, 0.999)
"""Voxels whose field bends less than this share of them count fully, those that bend more than that one, not at all."""
EDGE = (0.50, 0.70)
"""Likewise for differences of the fast estimate, where streaks are looked for."""
SHARE = (0.6, 0.35)
"""Of the work that the two least-squares problems are."""


def falling(values: torch.Tensor, inside: torch.Tensor, shares: tuple[float, float]) -> torch.Tensor:
    """1 for the smallest of the `values` that are `inside`, 0 for the largest, falling in between, 0 outside."""
    seen = values[inside].sort().values
    if seen.numel() == 0:
        return torch.zeros_like(values)
    low, high = (float(seen[min(int(share * seen.numel()), seen.numel() - 1)]) for share in shares)
    weight = ((high - values) / (high - low)).clamp_(0, 1) if high > low else (values <= low).to(values.dtype)
    return weight * inside


def bend(field: torch.Tensor, inside: torch.Tensor, voxel_size_mm: tuple[float, float, float]) -> torch.Tensor:
    """|∇²| of a field (X, Y, Z), per mm²; along an axis only where both neighbours are inside."""
    bent = torch.zeros_like(field)
    for axis, size in enumerate(voxel_size_mm):
        inner = field.shape[axis] - 2
        if inner < 1:
            continue
        before, here, after = (field.narrow(axis, start, inner) for start in range(3))
        known = inside.narrow(axis, 0, inner) & inside.narrow(axis, 1, inner) & inside.narrow(axis, 2, inner)
        bent.narrow(axis, 1, inner).add_((before + after - 2 * here).mul_(known).div_(size**2))
    return bent.abs_()


def fast_estimate(
    field_ppm: torch.Tensor, inside: torch.Tensor, dipole: Dipole, radius_mm: float = 3.0
) -> torch.Tensor:
    """χ (X, Y, Z) in ppm whose edges are right and whose values are about so: the field times the sign of D, low
    frequencies of the cone by its spherical mean, scaled by a line fitted to a divided map."""
    spectrum, kernel = dipole.spectrum, dipole.kernel
    field_k = spectrum.to_k(field_ppm)
    signed = spectrum.from_k(field_k * kernel.sign()) * inside
    mean = SphericalMean.of(
        inside.shape, spectrum.voxel_size_mm, max(radius_mm, *spectrum.voxel_size_mm), signed.device, spectrum
    )
    trusted = kernel.abs().pow_(WEIGHING)
    estimate = spectrum.to_k(signed).mul_(trusted).add_(spectrum.to_k(mean(signed) * inside).mul_(1 - trusted))
    found = spectrum.from_k(estimate) * inside
    divided = spectrum.from_k(field_k.mul_(truncated_inverse(kernel, FITTED_TO)))[inside].double()
    seen = found[inside].double()
    spread = seen - seen.mean()
    slope = float((spread * divided).sum() / spread.square().sum().clamp(min=1e-30))
    return ((found - float(seen.mean())) * slope + float(divided.mean())) * inside


def ilsqr(
    field_ppm: torch.Tensor,
    inside: torch.Tensor,
    dipole: Dipole,
    cone: float = 0.1,
    tolerance: float = 0.01,
    iterations: int = 50,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ in ppm over the padded box of `dipole` from a local field (X, Y, Z) in ppm (Li et al. 2015,
    doi:10.1016/j.neuroimage.2014.12.043).

    Least squares over sources `inside`, then the map that lives where |D| < `cone` and explains what gradients the
    result has where a fast estimate has none: the streaks, which are taken off. Each by LSMR, of at most `iterations`
    and to `tolerance`.
    """

    def told(begin: float, part: float) -> Callable[[int, float], None]:
        return lambda done, _: None if progress is None else progress(begin + part * done / iterations)

    calm = falling(bend(field_ppm, inside, dipole.spectrum.voxel_size_mm), inside, BEND)
    least = lsmr(
        lambda chi: dipole.field(chi).mul_(calm),
        lambda residual: dipole.field(residual * calm).mul_(inside),
        field_ppm * calm,
        iterations=iterations,
        tolerance=tolerance,
        callback=told(0.0, SHARE[0]),
    ).value
    edges = fast_estimate(field_ppm, inside, dipole)
    return remove_streaks(least, edges, inside, dipole, cone, tolerance, iterations, told(SHARE[0], SHARE[1]))


def remove_streaks(
    chi_ppm: torch.Tensor,
    edges_ppm: torch.Tensor,
    inside: torch.Tensor,
    dipole: Dipole,
    cone: float,
    tolerance: float,
    iterations: int,
    callback: Callable[[int, float], None],
) -> torch.Tensor:
    """χ without its streaks, over the padded box: the gradients of `chi_ppm` (X, Y, Z) that sources where |D| < `cone`
    explain and the map `edges_ppm` does not have."""
    spectrum, whole = dipole.spectrum, dipole.spectrum.uncut
    voxel, padded = spectrum.voxel_size_mm, spectrum.padded
    blind = (dipole.kernel.abs() < cone).to(chi_ppm.dtype)
    weights = []
    for axis, part in enumerate(gradient(edges_ppm, voxel)):
        pairs = inside & inside.roll(-1, axis)
        pairs.narrow(axis, inside.shape[axis] - 1, 1).fill_(False)
        weights.append(falling(part.abs_(), pairs, EDGE))
    weight = torch.stack(weights)
    x, y, z = chi_ppm.shape

    def seen(volume: torch.Tensor) -> torch.Tensor:
        return gradient(volume, voxel)[:, :x, :y, :z] * weight

    def streaks(volume: torch.Tensor) -> torch.Tensor:
        return whole.from_k(whole.to_k(volume).mul_(blind))

    def adjoint(vectors: torch.Tensor) -> torch.Tensor:
        spread = vectors.new_zeros((3, *padded))
        spread[:, :x, :y, :z] = vectors * weight
        return streaks(divergence(spread, voxel).neg_())

    chi = in_corner(chi_ppm, padded)
    found = lsmr(
        lambda volume: seen(streaks(volume)),
        adjoint,
        seen(chi),
        iterations=iterations,
        tolerance=tolerance,
        callback=callback,
    )
    return chi - streaks(found.value)


class Ilsqr(Stage):
    """Least squares with streaks removed (iLSQR; Li et al. 2015, doi:10.1016/j.neuroimage.2014.12.043).

    Nothing is smoothed, so fine detail stays, and so does noise.
    """

    cone: float = option(0.1, "Streaks live where |D(k)| is smaller than this", ge=0.01, le=0.5)
    tolerance: float = option(0.01, "Residual that is small enough for least squares to end", ge=1e-6, le=0.5)
    iterations: int = option(50, "Iterations of each least-squares problem at most", ge=1, le=1000)

    def apply(self, local: LocalField, runtime: Runtime) -> ChiMap:
        problem = Problem.of(local)
        chi = ilsqr(
            problem.field_ppm,
            problem.inside,
            problem.dipole,
            self.cone,
            self.tolerance,
            self.iterations,
            runtime.progress,
        )
        return problem.chi_map(chi)
