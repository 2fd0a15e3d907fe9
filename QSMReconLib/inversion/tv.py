"""Total-variation regularised inversion."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import ChiMap, FieldNoise, LocalField
from ..physics.box import Box
from ..physics.differences import laplacian_spectrum
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..solvers.shrinkage import TotalVariation
from ..stage import Stage, option
from .weights import data_weight

COUPLING = 0.1
"""How strongly the field fitted to the data is bound to the field of χ. Values from 0.03 to 1 end at the same map; this
one gets there in the fewest iterations."""


def tv(
    field_ppm: torch.Tensor,
    dipole: Dipole,
    regularisation: float = 2e-4,
    data_weight: torch.Tensor | None = None,
    rho: float = 0.02,
    tolerance: float = 1e-3,
    iterations: int = 250,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ in ppm over the padded box of `dipole` from a local field (X, Y, Z) in ppm.

    min ½‖w(Dχ - f)‖² + λ‖∇χ‖₁, λ the `regularisation` per mm, by ADMM with penalty `rho` (Bilgic et al. 2014,
    doi:10.1002/mrm.25029). Without `data_weight` the field is taken as known everywhere, 0 where there is none, and χ
    has a closed form in each iteration. With it, w² in 0 to 1 (X, Y, Z), the field where w is 0 is unknown and follows
    the model (a further splitting, z = Dχ, as in Milovic et al. 2018, doi:10.1002/mrm.27073): nothing pretends that
    the field ends with the brain, and sources outside may explain what is left of the background.

    Ends when χ changes by less than `tolerance`, relative, or after `iterations`.
    """
    spectrum, kernel = dipole.spectrum.uncut, dipole.kernel
    x, y, z = field_ppm.shape
    coupling = 1.0 if data_weight is None else COUPLING
    denominator = (kernel**2).mul_(coupling).add_(laplacian_spectrum(spectrum, kernel.device), alpha=rho)
    denominator[0, 0, 0] = 1.0
    inverse = 1 / denominator
    inverse[0, 0, 0] = 0.0
    gain = kernel * inverse * coupling
    inverse.mul_(-rho)

    first = field_ppm if data_weight is None else data_weight * field_ppm
    known = spectrum.to_k(_padded(first, spectrum.padded)).mul_(gain)
    if data_weight is not None:
        trusted = data_weight + coupling
        measured, modelled = data_weight * field_ppm / trusted, coupling / trusted
        dual = torch.zeros_like(field_ppm)
    chi = field_ppm.new_zeros(spectrum.padded)
    variation = TotalVariation.starting(chi, spectrum.voxel_size_mm, regularisation / rho)
    divergence = torch.zeros_like(chi)
    for iteration in range(iterations):
        chi_k = spectrum.to_k(divergence).mul_(inverse).add_(known) if iteration else known.clone()
        if data_weight is not None:
            model = spectrum.from_k(chi_k * kernel)
        previous, chi = chi, spectrum.from_k(chi_k)
        change = float(torch.dist(chi, previous)) / max(float(chi.norm()), 1e-12)
        if progress is not None:
            progress((iteration + 1) / iterations)
        if change < tolerance:
            break
        if data_weight is not None:
            inside = model[:x, :y, :z]
            inside += dual
            fitted = torch.addcmul(measured, modelled, inside)
            torch.sub(inside, fitted, out=dual)
            torch.sub(fitted, dual, out=inside)
            known = spectrum.to_k(model).mul_(gain)
        variation.step(chi, divergence)
    return chi


def _padded(volume: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    whole = volume.new_zeros(shape)
    x, y, z = volume.shape
    whole[:x, :y, :z] = volume
    return whole


class Tv(Stage):
    """Total-variation regularised inversion by ADMM (Bilgic et al. 2014, doi:10.1002/mrm.25029).

    Keeps edges and suppresses streaks and noise. By default the field is unknown outside the mask, and noisy voxels
    count less; with `masked` off it is zero there and known everywhere alike, as published.
    """

    regularisation: float = option(1e-4, "Weight λ of the total variation; larger is smoother", ge=1e-7, le=0.1)
    masked: bool = option(True, "Treat the field as unknown outside the mask, and weigh it by its noise")
    rho: float = option(0.02, "Penalty of the splitting: changes the speed, hardly the result", ge=1e-5, le=10)
    tolerance: float = option(0.01, "Stop when χ changes by less than this fraction", ge=1e-6, le=0.5)
    iterations: int = option(100, "Iterations at most", ge=1, le=2000)

    def apply(self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        box = Box.around(local.mask)
        inside, field = box.cut(local.mask) > 0, box.cut(local.field_ppm)
        weight = data_weight(inside, None if noise is None else box.cut(noise.noise_ppm)) if self.masked else None
        chi = tv(
            field,
            Dipole.of(box.grid(local.grid), field.device),
            self.regularisation,
            weight,
            self.rho,
            self.tolerance,
            self.iterations,
            runtime.progress,
        )
        x, y, z = box.shape
        return ChiMap(local.grid, box.paste(chi[:x, :y, :z] * inside), local.mask)
