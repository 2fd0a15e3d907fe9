"""Whether the phase of a scan can be what a field leaves behind: not high-pass filtered, and of the right sign.

Both checks see the signal averaged to about 2 mm, and take a second for a whole head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .._lazy import torch
from ..physics.constants import radians_per_ppm
from ..physics.dipole import dipole_kernel
from ..physics.fourier import Spectrum

POOLED_MM = 2.0

BLOCK_MM = 15.0
"""Blocks over which the slow part of the phase is taken: longer than the kernels of the filters for SWI."""

FILTERED_RMS = 0.5
"""The slow phase (radians, rms over blocks) below which a scan may be filtered. Measured: at least 1.4 at the last echo
of the development data; at most 0.43 after homodyne filters of 16 to 96 lines and Gaussian ones of 3 and 6 mm."""

FILTERED_RATIO = 0.75
"""The median ratio of slow phase to the phase's spread within a block. Where a field is weak because the sources are
(a sphere in water), far from them it is smooth, and the ratio is one or more; only a filter takes the smooth part
away and leaves the rest. Measured: at most 0.66 filtered, at least 0.8 around strong spheres and cylinders."""

FILTERED_COHERENCE = 0.982
"""Blocks of a filtered head lose coherence where strong gradients were, although their mean phase is zero. Measured: at
most 0.977 at the last echo; 0.983 to 0.992 in a head without background field."""

FILTERED_EXTENT_MM = 40.0
"""Below this extent (along two axes) a weak phase may simply be a small object: that is said, not refused."""

SIGN_SKEWNESS = 1.0
SIGN_CORRELATION = 0.1
"""Skewness of a coarse χ and its correlation with R2*, deep in the head: 2.1 to 4.7 and 0.35 to 0.42 on the simulated
heads, the negative of both with the phase negated. Both must be below the negative of these for a verdict."""

SIGN_SKEWNESS_ALONE = 1.5
"""The same with a single echo, where there is no R2*."""

SIGN_DEPTH_MM = 12.0
SIGN_VOLUME_MM3 = 200e3
"""Fat, bone and air at the surface have strong fields of either sign. Deep inside, iron and veins stand out; in less
than this volume nothing is decided."""

Verdict = Literal["yes", "perhaps", "no"]


@dataclass(frozen=True)
class CoarseSignal:
    """The complex signal (echo, X, Y, Z), averaged to voxels of about 2 mm."""

    signal: torch.Tensor
    voxel_size_mm: tuple[float, ...]


def coarse_signal(magnitude: torch.Tensor, phase_rad: torch.Tensor, voxel_size_mm: Sequence[float]) -> CoarseSignal:
    """Average (echo, X, Y, Z) over whole voxels."""
    block = [max(1, min(n, int(POOLED_MM / v))) for n, v in zip(magnitude.shape[1:], voxel_size_mm, strict=True)]
    parts = [
        torch.complex(_mean(m * torch.cos(p), block, block), _mean(m * torch.sin(p), block, block))
        for m, p in zip(magnitude, phase_rad, strict=True)
    ]
    return CoarseSignal(torch.stack(parts), tuple(v * k for v, k in zip(voxel_size_mm, block, strict=True)))


def high_pass_filtered(coarse: CoarseSignal) -> Verdict:
    """Whether the phase has been high-pass filtered, as for susceptibility-weighted images.

    Such a filter (homodyne or otherwise) makes the phase of every region zero, at every echo. An unfiltered phase has
    an offset and a background field that differ from region to region by radians.
    """
    shape = coarse.signal.shape[1:]
    block = [min(n, max(2, round(BLOCK_MM / v))) for n, v in zip(shape, coarse.voxel_size_mm, strict=True)]
    step = [max(1, k // 2) for k in block]
    slowest, ratio, coherence = 0.0, 0.0, 1.0
    for echo in coarse.signal:
        total = _mean(echo.abs(), block, step)
        mean = torch.complex(_mean(echo.real, block, step), _mean(echo.imag, block, step))
        use = total > 0.2 * torch.quantile(total.flatten(), 0.98)
        if not use.any():
            return "no"
        phase, length, total = mean[use].angle().abs(), mean[use].abs(), total[use]
        spread = (-2 * (length / total).clamp(1e-6, 1 - 1e-6).log()).sqrt()
        slowest = max(slowest, float(((length * phase**2).sum() / length.sum()).sqrt()))
        ratio = max(ratio, float((phase / spread).median()))
        coherence = float(length.sum() / total.sum())
    if slowest >= FILTERED_RMS or ratio >= FILTERED_RATIO:
        return "no"
    extents = sorted(n * v for n, v in zip(shape, coarse.voxel_size_mm, strict=True))
    return "yes" if coherence < FILTERED_COHERENCE and extents[1] >= FILTERED_EXTENT_MM else "perhaps"


def sign_flipped(
    coarse: CoarseSignal, echo_times_s: Sequence[float], b0_direction: Sequence[float], field_strength_t: float
) -> bool:
    """Whether the phase certainly has the wrong sign: iron and veins would come out diamagnetic.

    A coarse χ is made from the Laplacian of the phase, which needs neither unwrapping nor background removal. In a
    head its distribution has a long tail of veins and iron, which also decay fast; bleeds and calcifications do not
    change that. Where the volume is too small or the two signs of it disagree, nothing is claimed.
    """
    signal, voxel = coarse.signal, coarse.voxel_size_mm
    head = _head(signal[0].abs())
    deep = _shrunk(head, voxel, SIGN_DEPTH_MM)
    if int(deep.sum()) * voxel[0] * voxel[1] * voxel[2] < SIGN_VOLUME_MM3:
        return False
    inside = _shrunk(head, voxel, 3.0)
    chi = _coarse_chi(coarse, inside, echo_times_s, b0_direction, field_strength_t)[deep].double()
    chi = chi - chi.mean()
    skewness = float((chi**3).mean() / (chi**2).mean() ** 1.5)
    if len(signal) == 1:
        return skewness < -SIGN_SKEWNESS_ALONE
    first, last = signal[0].abs()[deep].clamp(min=1e-12), signal[-1].abs()[deep].clamp(min=1e-12)
    decay = ((first / last).log() / (echo_times_s[-1] - echo_times_s[0])).clamp(0.0, 200.0).double()
    decay = decay - decay.mean()
    correlation = float((chi * decay).mean() / ((chi**2).mean() * (decay**2).mean()).sqrt().clamp(min=1e-12))
    return skewness < -SIGN_SKEWNESS and correlation < -SIGN_CORRELATION


def _coarse_chi(
    coarse: CoarseSignal,
    inside: torch.Tensor,
    echo_times_s: Sequence[float],
    b0_direction: Sequence[float],
    field_strength_t: float,
) -> torch.Tensor:
    """χ in ppm, roughly, from the Laplacian of the phase of all echoes: a damped inverse of Laplacian and dipole."""
    signal, voxel = coarse.signal, coarse.voxel_size_mm
    laplacian = torch.zeros_like(signal[0].real)
    weights = torch.zeros_like(laplacian)
    for echo, time in zip(signal, echo_times_s, strict=True):
        curvature = torch.zeros_like(laplacian)
        weight = echo.abs()
        for axis, size in enumerate(voxel):
            after, before = echo.roll(-1, axis), echo.roll(1, axis)
            curvature += ((after * echo.conj()).angle() - (echo * before.conj()).angle()) / size**2
            weight = torch.minimum(weight, torch.minimum(after.abs(), before.abs()))
        weight = (weight * time) ** 2
        laplacian += weight * curvature / radians_per_ppm(field_strength_t, time)
        weights += weight
    inside = inside & (weights > 0)
    laplacian = torch.where(inside, laplacian / weights.clamp(min=1e-30), 0.0)
    limit = torch.quantile(laplacian[inside].abs()[:: max(1, int(inside.sum()) // 1_000_000)], 0.99)
    laplacian = laplacian.clamp(-limit, limit)

    spectrum = Spectrum.of(laplacian.shape, voxel, 32.0)
    response = dipole_kernel(spectrum, b0_direction, laplacian.device)
    second = torch.zeros_like(response, dtype=torch.float64)
    for k, size in zip(spectrum.frequencies(laplacian.device), voxel, strict=True):
        second = second + (2 * torch.cos(2 * torch.pi * k * size) - 2) / size**2
    response = response * second.float()
    return spectrum.from_k(spectrum.to_k(laplacian) * response / (response**2 + 0.1**2))


def _head(magnitude: torch.Tensor) -> torch.Tensor:
    """The largest connected region with signal, its holes filled."""
    import numpy as np
    from scipy import ndimage

    values = magnitude.cpu().numpy()
    signal = ndimage.binary_opening(values > 0.25 * np.percentile(values, 95))
    labels, count = ndimage.label(signal)
    if count == 0:
        return torch.zeros_like(magnitude, dtype=torch.bool)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return torch.from_numpy(ndimage.binary_fill_holes(labels == largest)).to(magnitude.device)


def _shrunk(mask: torch.Tensor, voxel_size_mm: Sequence[float], by_mm: float) -> torch.Tensor:
    """The voxels of a mask further than `by_mm` from its outside; beyond the volume's edge counts as outside."""
    import numpy as np
    from scipy import ndimage

    padded = np.pad(mask.cpu().numpy(), 1)
    depth = ndimage.distance_transform_edt(padded, sampling=voxel_size_mm)[1:-1, 1:-1, 1:-1]
    return torch.from_numpy(depth > by_mm).to(mask.device)


def _mean(volume: torch.Tensor, block: Sequence[int], step: Sequence[int]) -> torch.Tensor:
    return torch.nn.functional.avg_pool3d(volume[None].contiguous(), list(block), list(step))[0]
