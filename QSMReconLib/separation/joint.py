"""χ_para and χ_dia from a local field and R2′ in one optimisation, by the alternating direction method of multipliers.

Both maps are one tensor (2, X, Y, Z), χ_para first, on the padded box of the dipole. Their difference χ and their sum
part ways in k, where everything that couples voxels is a multiplication; the rest is done voxel by voxel, a few slices
at a time: what a processor's cache holds takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .._lazy import torch
from ..physics.differences import laplacian_spectrum
from ..physics.dipole import Dipole
from ..physics.fourier import Spectrum
from ..physics.slabs import slabs, slabs_along

FIELD_PENALTY = 0.1
"""Of the split field = D∗χ, relative to the typical weight of the field's data."""
JUMP_PPM = 0.004
"""What one iteration takes away from a jump between neighbours."""
START_MU = 0.01
"""μ of the closed form D/(D² + μ) from which the difference of both maps sets out."""
MUCH = 0.35
"""A χ map that differs by more than this from what field and R2′ say, relative to their χ, is no evidence."""


class Joint(NamedTuple):
    """χ_para and χ_dia (2, X, Y, Z), ppm; by how much the χ map that was given differs from them, and the error with
    which it counted as data for that reason: None where it did not."""

    maps: torch.Tensor
    difference_ppm: float | None = None
    chi_error_ppm: float | None = None


def joint_separation(
    field_ppm: torch.Tensor,
    sum_ppm: torch.Tensor,
    mask: torch.Tensor,
    dipole: Dipole,
    *,
    field_noise_ppm: torch.Tensor,
    sum_noise_ppm: torch.Tensor,
    sparsity: float = 70.0,
    edge_ppm: float = 0.04,
    outside_ppm: float = 0.05,
    zero: torch.Tensor | None = None,
    zero_ppm: float = 0.003,
    chi_ppm: torch.Tensor | None = None,
    chi_doubt: float = 2.0,
    compare_at: float = 0.5,
    copy_penalty: float = 0.3,
    iterations: int = 20,
    tolerance: float = 1e-3,
    progress: Callable[[float], None] | None = None,
) -> Joint:
    """χ_para and χ_dia (2, X, Y, Z), ppm, from a local field f and s = R2′/Dr, both in ppm and known inside `mask`.

    Minimises over p >= 0 and d >= 0

        Σ (f - D∗(p - d))²/2σ_f² + Σ (s - p - d)²/2σ_s² + sparsity·Σ (w_p·|∇p| + w_d·|∇d|)

    inside the mask: the data terms of Shin et al. 2021 (doi:10.1016/j.neuroimage.2021.118371) as likelihoods, with
    sparse edges in each of the maps. |∇p| is the sum of the three differences to the next voxels, each per mean voxel
    size, in ppm. An edge of `edge_ppm` counts half, w = 1/(1 + (∇p/edge_ppm)²), judged on the map itself a third and
    two thirds of the way; 0 leaves w = 1. Ends early when an iteration changes the maps by less than `tolerance`.

    Sources outside the mask stand for what background removal left: there, both maps are held to 0 ± `outside_ppm`,
    where 0 forbids them; inside `zero`, the fluid, to 0 ± `zero_ppm`. Voxels with σ = 0 have no data.

    `chi_ppm`, another method's χ, is compared with what has been found when `compare_at` of the iterations are done,
    robustly and but for an offset; from there on it is data with `chi_doubt` times the difference as its error, unless
    it differs too much. Its zero is that of the fluid, or whatever agrees best.

    `copy_penalty` is that of the split between smooth and non-negative maps, relative to the typical weight of R2′: the
    larger, the sooner the maps are smooth.
    """
    spectrum, inside = dipole.spectrum, mask > 0
    anchor = None if zero is None or not bool((inside & (zero > 0)).any()) else inside & (zero > 0)
    weight_field, weight_sum = _precision(field_noise_ppm, inside), _precision(sum_noise_ppm, inside)
    rho_field, rho_copy = FIELD_PENALTY * _typical(weight_field), copy_penalty * _typical(weight_sum)
    rho_edge = sparsity / JUMP_PPM
    within, weight_field, weight_sum, field, total = (
        _grown(volume, spectrum)
        for volume in (inside.float(), weight_field, weight_sum, field_ppm * inside, sum_ppm * inside)
    )
    pull = (1 - within) / outside_ppm**2 if outside_ppm > 0 else torch.zeros_like(within)
    if anchor is not None:
        pull = pull + _grown(anchor.float(), spectrum) / zero_ppm**2
    smooth = rho_edge * _mean_size(spectrum) ** 2 * laplacian_spectrum(spectrum, field_ppm.device) + rho_copy
    # A quadratic in both maps is half as steep in their sum and difference; so is what is divided.
    gain = 1 / (smooth + 2 * rho_field * dipole.kernel**2), 1 / smooth
    followed = rho_field / (weight_field + rho_field)
    measured = (1 - followed) * field
    del smooth, weight_field, field

    given = torch.zeros_like(within)
    if chi_ppm is not None:
        given = _grown((chi_ppm - (chi_ppm[anchor].median() if anchor is not None else 0)) * inside, spectrum)
    weight_chi = torch.zeros_like(within)
    difference: float | None = None
    error: float | None = None
    in_k = torch.fft.rfftn(measured).mul_(dipole.kernel / (dipole.kernel**2 + START_MU))
    copies = _sources(torch.stack((_volume(in_k.clone(), spectrum), total))).clamp_(min=0)
    # Where there is no data the field sets out as that of the closed form, else near what was measured.
    model = _volume(in_k.mul_(dipole.kernel), spectrum).mul_(followed).add_(measured)
    dual_field, dual_copy = torch.zeros_like(within), torch.zeros_like(copies)
    tension = [torch.zeros_like(copies) for _ in range(3)]
    limit = (JUMP_PPM * within).expand_as(copies)
    volume = _bend(copies, tension, limit, spectrum)
    for iteration in range(iterations):
        if progress:
            progress(iteration / iterations)
        for bent, copied, dual in slabs(-3, volume, copies, dual_copy):
            right = (copied - dual).mul_(rho_copy).add_(bent, alpha=rho_edge)
            torch.sub(right[0], right[1], out=bent[0])
            torch.add(right[0], right[1], out=bent[1])
        pulled = torch.fft.rfftn(model.sub_(dual_field)).mul_(dipole.kernel)
        in_k = torch.fft.rfftn(volume[0]).add_(pulled, alpha=2 * rho_field).mul_(gain[0])
        del pulled
        volume[1] = _volume(torch.fft.rfftn(volume[1]).mul_(gain[1]), spectrum)
        volume[0] = _volume(in_k, spectrum)
        if progress:
            progress((iteration + 0.5) / iterations)
        model = _volume(in_k.mul_(dipole.kernel), spectrum)
        del in_k
        moved, length = 0.0, 0.0
        for data, share, fitted, dual in slabs(-3, measured, followed, model, dual_field):
            wanted = dual.add_(fitted)
            torch.addcmul(data, share, wanted, out=fitted)
            wanted.sub_(fitted)
        evidence = total, weight_sum, given, weight_chi, pull
        for maps, copied, dual, inner, s, w_s, chi, w_chi, held in slabs(
            -3, volume, copies, dual_copy, within, *evidence
        ):
            maps.copy_(_sources(maps))
            wanted = dual.add_(maps)
            near = nearest_sources(wanted, s, w_s, chi, w_chi, held, rho_copy)
            if outside_ppm == 0:
                near.mul_(inner)
            moved += float(torch.dist(near, copied)) ** 2
            length += float(near.norm()) ** 2
            copied.copy_(near)
            wanted.sub_(near)
        volume = _bend(volume, tension, limit, spectrum)
        if chi_ppm is not None and iteration + 1 == int(compare_at * iterations):
            difference, size = _disagreement(copies[0] - copies[1], given, inside)
            if difference < MUCH * size:
                error = max(chi_doubt * difference, 1e-6)
                weight_chi = within / error**2
        if error is not None and anchor is None:
            given = given + within * ((copies[0] - copies[1] - given) * within).sum() / within.sum()
        if edge_ppm > 0 and iteration + 1 in (iterations // 3, 2 * iterations // 3):
            limit = edge_weight(copies, edge_ppm, spectrum).mul_(JUMP_PPM * within)
        if moved < tolerance**2 * length and 3 * (iteration + 1) > 2 * iterations:
            break
    x, y, z = spectrum.shape
    return Joint(copies[:, :x, :y, :z] * inside, difference, error)


def nearest_sources(
    wanted: torch.Tensor,
    total: torch.Tensor,
    weight: torch.Tensor,
    chi: torch.Tensor,
    weight_chi: torch.Tensor,
    pull: torch.Tensor,
    rho: float,
) -> torch.Tensor:
    """Non-negative (p, d) (2, X, Y, Z), voxelwise near `wanted`, p + d near `total`, p - d near `chi`.

    They minimise weight·(p + d - total)² + weight_chi·(p - d - chi)² + pull·(p² + d²) + rho·‖(p, d) - wanted‖².
    """
    own = pull + rho
    by_sum, by_chi = weight * total, weight_chi * chi
    summed = (wanted[0] + wanted[1]).mul_(rho).add_(by_sum, alpha=2).div_(torch.add(own, weight, alpha=2).mul_(2))
    apart = (wanted[0] - wanted[1]).mul_(rho).add_(by_chi, alpha=2).div_(torch.add(own, weight_chi, alpha=2).mul_(2))
    para, dia = summed + apart, summed.sub_(apart)
    # Where the other would be negative it is zero, and each is what it is alone.
    held = own.add_(weight).add_(weight_chi)
    para_alone = (by_sum + by_chi).add_(wanted[0], alpha=rho).div_(held).clamp_(min=0)
    dia_alone = by_sum.sub_(by_chi).add_(wanted[1], alpha=rho).div_(held).clamp_(min=0)
    best = torch.empty_like(wanted)
    torch.where(dia < 0, para_alone, para.clamp(min=0), out=best[0])
    torch.where(para < 0, dia_alone, dia.clamp_(min=0), out=best[1])
    return best


def _disagreement(chi: torch.Tensor, other: torch.Tensor, inside: torch.Tensor) -> tuple[float, float]:
    """The typical difference between two χ maps on the padded box, but for an offset, and the size of the first."""
    x, y, z = inside.shape
    values, apart = chi[:x, :y, :z][inside], (chi - other)[:x, :y, :z][inside]
    # The median of |x| is 0.6745 σ for Gaussian noise; veins and lesions do not move it.
    return float((apart - apart.median()).abs().median()) / 0.6745, float(values.std())


def edge_weight(maps: torch.Tensor, edge_ppm: float, spectrum: Spectrum) -> torch.Tensor:
    """1/(1 + (|∇|/edge_ppm)²) of maps (..., X, Y, Z), |∇| from the larger difference along each axis, per mean size."""
    squared = torch.zeros_like(maps)
    for axis, scale in _steps(spectrum):
        for seen, made in slabs_along(axis, maps, squared):
            jump = (seen.roll(-1, axis) - seen).mul_(scale).square_()
            made.add_(torch.maximum(jump, jump.roll(1, axis)))
    return squared.div_(edge_ppm**2).add_(1).reciprocal_()


def _bend(maps: torch.Tensor, tension: list[torch.Tensor], limit: torch.Tensor, spectrum: Spectrum) -> torch.Tensor:
    """One step of the split for the jumps: `tension` (its scaled dual) is moved on, and the divergence of jump minus
    tension, which the next maps are to follow, is returned. An edge weighs what the weaker of its voxels says."""
    total = torch.zeros_like(maps)
    for (axis, scale), dual in zip(_steps(spectrum), tension, strict=True):
        for seen, least, held, made in slabs_along(axis, maps, limit, dual, total):
            allowed = torch.minimum(least, least.roll(-1, axis))
            jump = (seen.roll(-1, axis) - seen).mul_(scale).add_(held)
            torch.clamp(jump, -allowed, allowed, out=held)
            jump.sub_(held, alpha=2).mul_(scale)
            made.add_(jump.roll(1, axis)).sub_(jump)
    return total


def _steps(spectrum: Spectrum) -> list[tuple[int, float]]:
    """Each axis, from the end, with what makes a difference to the next voxel one per mean voxel size."""
    mean = _mean_size(spectrum)
    return [(axis - 3, mean / size) for axis, size in enumerate(spectrum.voxel_size_mm)]


def _mean_size(spectrum: Spectrum) -> float:
    x, y, z = spectrum.voxel_size_mm
    return float((x * y * z) ** (1 / 3))


def _sources(difference_and_sum: torch.Tensor) -> torch.Tensor:
    chi, total = difference_and_sum
    return torch.stack((total + chi, total - chi)) / 2


def _precision(noise: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """1/σ² where there is data, 0 where not."""
    known = inside & (noise > 0)
    return torch.where(known, noise, torch.ones_like(noise)) ** -2 * known


def _typical(weight: torch.Tensor) -> float:
    known = weight[weight > 0]
    return float(known.median()) if known.numel() else 1.0


def _grown(volume: torch.Tensor, spectrum: Spectrum) -> torch.Tensor:
    """The volume in the corner of the padded box."""
    pairs = zip(reversed(spectrum.padded), reversed(spectrum.shape), strict=True)
    return torch.nn.functional.pad(volume, [width for big, small in pairs for width in (0, big - small)])


def _volume(in_k: torch.Tensor, spectrum: Spectrum) -> torch.Tensor:
    """The padded volume of a half-spectrum."""
    return torch.fft.irfftn(in_k, s=spectrum.padded, dim=(-3, -2, -1))
