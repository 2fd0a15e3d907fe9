"""Whether the phase of a scan can be what a field leaves behind: not high-pass filtered, and of the right sign.

Both checks see the signal averaged to about 2 mm, and take a second for a whole head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Literal

from .._lazy import torch
from ..physics.constants import radians_per_ppm
from ..physics.dipole import dipole_kernel
from ..physics.fourier import Spectrum

POOLED_MM = 2.0

BLOCK_MM = 15.0
"""Blocks over which the slow part of the phase is taken: longer than the kernels of the filters for SWI."""

FILTERED_RMS, FILTERED_RMS_HEAD = 0.5, 0.9
"""The slow phase (radians, rms over blocks) below which a scan may be filtered. Measured on the simulated heads' last
echo: at least 1.4 unfiltered; at most 0.44 after homodyne filters of 16 to 96 lines and Gaussian ones of 3 and 6 mm, at
most 0.87 after the mildest tried, 8 lines or 12 mm."""

FILTERED_RATIO, FILTERED_RATIO_HEAD = 0.75, 1.1
"""The median ratio of slow phase to the phase's spread within a block. Where a field is weak because the sources are
(a sphere in water), far from them it is smooth, and the ratio is large; only a filter takes the smooth part away and
leaves the rest. Measured: at most 0.63 filtered, 1.02 by the mildest filter; at least 0.8 around strong spheres, 1.3
in volumes as large as a head; 1.2 (last echo) to 4 (first) in unfiltered heads."""

HEAD_MM = 120.0
"""From this extent (along two axes) on, the limits for heads hold."""

FILTERED_COHERENCE = 0.982
"""Blocks of a filtered head lose coherence where strong gradients were, although their mean phase is zero. Measured: at
most 0.977 at the last echo; 0.983 to 0.992 in a head without background field."""

FILTERED_EXTENT_MM = 40.0
"""Below this extent (along two axes) a weak phase may simply be a small object: that is said, not refused."""

SIGN_TAIL = (0.002, 0.010)
SIGN_EVIDENCE = 0.3
SIGN_DECAY, SIGN_DECAY_HZ = 1.15, 2.0
"""Deep in a head, the most paramagnetic voxels of a coarse χ (veins, iron) lie further out and decay faster than the
most diamagnetic ones. With both tails from rank 0.2 % to 1 %, which a few bleeds and calcifications do not fill, the
ratio of their R2* was 1.17 to 2.1, and its logarithm and that of the ratio of their χ added up to 0.23 to 1.4, on seven
simulated heads (1.5, 3 and 7 T; 1.5 to 3 mm; oblique; one with 8 calcifications and no bleed). With the phase negated
both turn round, and for a verdict both must, by more than this, and R2* by this many Hz as well."""

SIGN_VOXEL_MM = 3.5
"""Veins and nuclei do not stand out in voxels longer than this, and nothing is decided."""

SIGN_DEPTH_MM = 12.0
SIGN_VOLUME_MM3 = 200e3
"""Fat, bone and air at the surface have strong fields of either sign. Deep inside, iron and veins stand out; in less
than this volume nothing is decided."""

DAMPING_PER_MM2 = 0.1

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
    """Whether the phase has been high-pass filtered, as for susceptibility-weighted images (Haacke et al. 2004,
    doi:10.1002/mrm.20198).

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
    extent = sorted(n * v for n, v in zip(shape, coarse.voxel_size_mm, strict=True))[1]
    as_head = extent >= HEAD_MM
    if slowest >= (FILTERED_RMS_HEAD if as_head else FILTERED_RMS):
        return "no"
    if ratio >= (FILTERED_RATIO_HEAD if as_head else FILTERED_RATIO):
        return "no"
    return "yes" if coherence < FILTERED_COHERENCE and extent >= FILTERED_EXTENT_MM else "perhaps"


def sign_flipped(
    coarse: CoarseSignal, echo_times_s: Sequence[float], b0_direction: Sequence[float], field_strength_t: float
) -> bool:
    """Whether the phase certainly has the wrong sign: iron and veins would come out diamagnetic.

    A coarse χ is made from the Laplacian of the phase (Schofield and Zhu 2003, doi:10.1364/OL.28.001194), which needs
    neither unwrapping nor background removal. In a head its distribution has a long tail of veins and iron, which also
    decay fast. With a single echo, in long voxels, in too small a volume, or where the evidence is thin, nothing is
    claimed.
    """
    signal, voxel = coarse.signal, coarse.voxel_size_mm
    if len(signal) == 1 or max(voxel) > SIGN_VOXEL_MM:
        return False
    head = _head(signal[0].abs())
    deep = _shrunk(head, voxel, SIGN_DEPTH_MM)
    if int(deep.sum()) * voxel[0] * voxel[1] * voxel[2] < SIGN_VOLUME_MM3:
        return False
    inside = _shrunk(head, voxel, 3.0)
    chi = _coarse_chi(coarse, inside, echo_times_s, b0_direction, field_strength_t)[deep].double()
    first, last = (echo.abs()[deep].clamp(min=1e-12) for echo in (signal[0], signal[-1]))
    decay = ((first / last).log() / (echo_times_s[-1] - echo_times_s[0])).clamp(0.0, 200.0)
    order = chi.argsort()
    start, stop = (int(share * len(order)) for share in SIGN_TAIL)
    negative, positive = order[start:stop], order.flip(0)[start:stop]
    middle = chi.median()
    fast, slow = float(decay[negative].mean()), float(decay[positive].mean())
    if fast < SIGN_DECAY * slow or fast - slow < SIGN_DECAY_HZ:
        return False
    reach = float((chi[positive].mean() - middle) / (middle - chi[negative].mean()).clamp(min=1e-12))
    return reach * slow < exp(-SIGN_EVIDENCE) * fast


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
    return spectrum.from_k(spectrum.to_k(laplacian) * response / (response**2 + DAMPING_PER_MM2**2))


def _head(magnitude: torch.Tensor) -> torch.Tensor:
    """The largest connected region with signal; veins in it are filled, air is not."""
    import numpy as np
    from scipy import ndimage

    values = magnitude.cpu().numpy()
    signal = ndimage.binary_opening(values > 0.25 * np.percentile(values, 95))
    labels, count = ndimage.label(signal)
    if count == 0:
        return torch.zeros_like(magnitude, dtype=torch.bool)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return torch.from_numpy(ndimage.binary_closing(labels == largest)).to(magnitude.device)


def _shrunk(mask: torch.Tensor, voxel_size_mm: Sequence[float], by_mm: float) -> torch.Tensor:
    """The voxels of a mask further than `by_mm` from its outside; beyond the volume's edge counts as outside."""
    import numpy as np
    from scipy import ndimage

    padded = np.pad(mask.cpu().numpy(), 1)
    depth = ndimage.distance_transform_edt(padded, sampling=voxel_size_mm)[1:-1, 1:-1, 1:-1]
    return torch.from_numpy(depth > by_mm).to(mask.device)


def _mean(volume: torch.Tensor, block: Sequence[int], step: Sequence[int]) -> torch.Tensor:
    return torch.nn.functional.avg_pool3d(volume[None].contiguous(), list(block), list(step))[0]
