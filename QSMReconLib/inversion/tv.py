"""Total variation, by the alternating direction method of multipliers."""

from __future__ import annotations

from collections.abc import Callable

from .._lazy import torch
from ..data import ChiMap, FieldNoise, LocalField
from ..physics.box import Box
from ..physics.differences import divergence, gradient, laplacian_spectrum
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..stage import Stage, option

PADDING_MM = 24.0


def tv(
    field_ppm: torch.Tensor,
    dipole: Dipole,
    weight: float = 2e-4,
    penalty: float = 2e-2,
    tolerance: float = 1e-3,
    iterations: int = 250,
    data_weight: torch.Tensor | None = None,
    coupling: float = 0.1,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ in ppm from a local field (X, Y, Z) in ppm: argmin ½‖W(D∗χ - f)‖² + weight·‖∇χ‖₁, ∇ per mm.

    Without `data_weight`, W = 1 everywhere, and the field outside the mask is taken to be zero, which it is not: the
    method as published (Bilgic et al. 2014, doi:10.1002/mrm.25029), closed-form in k in each iteration. With
    `data_weight`, W² (X, Y, Z) in 0 to 1, only the measured field counts, and a second splitting f ≈ D∗χ with
    `coupling` keeps every iteration closed-form, as in FANSI (Milovic et al. 2018, doi:10.1002/mrm.27073).

    `penalty` is that of the split ∇χ. Ends after `iterations` or when χ changes by less than `tolerance` of its norm.
    """
    spectrum, kernel = dipole.spectrum, dipole.kernel
    voxel = spectrum.voxel_size_mm
    field = _padded(field_ppm, spectrum.padded)
    measured = None if data_weight is None else _padded(data_weight, spectrum.padded)
    if measured is not None:
        field *= measured  # from here on it is only met with its weight
    data_penalty = 1.0 if measured is None else coupling
    inverse = data_penalty * kernel**2 + penalty * laplacian_spectrum(spectrum, kernel.device)
    inverse[0, 0, 0] = 1.0
    inverse.reciprocal_()[0, 0, 0] = 0.0
    attracted = torch.fft.rfftn(field).mul_(data_penalty * kernel)
    chi = torch.zeros_like(field)
    pull = torch.zeros_like(field)
    dual = field.new_zeros((3, *field.shape))
    field_dual = torch.zeros_like(field)
    for iteration in range(iterations):
        in_k = attracted.sub_(torch.fft.rfftn(pull), alpha=penalty).mul_(inverse)
        previous, chi = chi, torch.fft.irfftn(in_k, s=spectrum.padded)
        change = float((chi - previous).norm()) / max(float(chi.norm()), 1e-30)
        if progress is not None:
            progress((iteration + 1) / iterations)
        if change < tolerance:
            break
        if measured is None:
            attracted = torch.fft.rfftn(field).mul_(kernel)
        else:
            modelled = torch.fft.irfftn(in_k.mul_(kernel), s=spectrum.padded)
            split = (field + coupling * (modelled + field_dual)) / (measured + coupling)
            field_dual += modelled - split
            attracted = torch.fft.rfftn(split - field_dual).mul_(coupling * kernel)
        moved = gradient(chi, voxel) + dual
        # The scaled dual is what shrinkage takes away; z - u, whose divergence is needed, follows from both.
        dual = moved.clamp(-weight / penalty, weight / penalty)
        pull = divergence(moved - 2 * dual, voxel)
    x, y, z = spectrum.shape
    return chi[:x, :y, :z]


def _padded(volume: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    x, y, z = volume.shape
    whole = torch.zeros(shape, dtype=torch.float32, device=volume.device)
    whole[:x, :y, :z] = volume
    return whole


class Tv(Stage):
    """Total variation by ADMM (Bilgic et al. 2014, doi:10.1002/mrm.25029), agreeing with the field where it is known.

    Keeps edges and strong sources. The field counts inside its mask only, by its noise where that is known (Milovic et
    al. 2018, doi:10.1002/mrm.27073); `inside_only` off is the method as first published.
    """

    weight: float = option(1e-4, "λ: how much variation counts against disagreement with the field", ge=0, le=1)
    penalty: float = option(2e-2, "ρ: of the split gradient; decides the speed, not the result", ge=1e-6, le=10)
    tolerance: float = option(1e-3, "Stop when χ changes by less than this share", ge=0, le=1)
    iterations: int = option(60, "Stop after this many at the latest", ge=1, le=10_000)
    inside_only: bool = option(True, "Let the field count where it is known, by its noise, and nowhere else")

    def apply(self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        box = Box.around(local.mask)
        mask = box.cut(local.mask)
        dipole = Dipole.of(box.grid(local.grid), runtime.device, PADDING_MM)
        trusted = None
        if self.inside_only:
            trusted = mask.float() if noise is None else confidence(box.cut(noise.noise_ppm), mask)
        chi = tv(
            box.cut(local.field_ppm),
            dipole,
            self.weight,
            self.penalty,
            self.tolerance,
            self.iterations,
            trusted,
            progress=runtime.progress,
        )
        return ChiMap(local.grid, box.paste(chi * mask), local.mask)


def confidence(noise_ppm: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """W² in 0 to 1 from σ (X, Y, Z): 1 up to the median of the mask, 1/σ² beyond, 0 outside the mask."""
    typical = noise_ppm[mask].median().clamp(min=1e-9)
    return mask * (typical / noise_ppm.clamp(min=typical)) ** 2
