"""Gaussian smoothing in mm, and coarser grids for what is smooth anyway."""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch


def gaussian(volume: torch.Tensor, voxel_size_mm: Sequence[float], sigma_mm: float) -> torch.Tensor:
    """The volume (X, Y, Z), real or complex, smoothed with a Gaussian of `sigma_mm`; zeros are taken to lie outside."""
    for axis, voxel in enumerate(voxel_size_mm):
        # One matrix per axis: as wide as wanted, exact at the edges, and no longer than the axis.
        n, reach = volume.shape[axis], int(6 * sigma_mm / voxel) + 1
        at = torch.arange(max(n, reach), device=volume.device, dtype=torch.float32)
        bell = torch.exp(-0.5 * (at * (voxel / sigma_mm)) ** 2)
        bell = bell / (2 * bell.sum() - 1)
        apart = (at[:n, None] - at[:n]).abs().long()
        volume = along(volume, bell[apart], axis)
    return volume


def gaussian_inside(
    volume: torch.Tensor, inside: torch.Tensor, voxel_size_mm: Sequence[float], sigma_mm: float
) -> torch.Tensor:
    """The Gaussian mean (X, Y, Z) over the voxels `inside` alone (0 or 1), around every voxel; far from all, zero."""
    weight = gaussian(inside, voxel_size_mm, sigma_mm)
    return gaussian(volume * inside, voxel_size_mm, sigma_mm) / weight.clamp(min=1e-6)


def along(volume: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """`matrix` (new, old), real, applied to one axis of a real or complex volume."""
    moved = torch.movedim(volume, axis, -1)
    if moved.is_complex():
        return torch.complex(along(volume.real, matrix, axis), along(volume.imag, matrix, axis))
    return torch.movedim(moved @ matrix.T, -1, axis)


def block_sum(volume: torch.Tensor, factors: Sequence[int]) -> torch.Tensor:
    """Sums over blocks of `factors` voxels; blocks that stick out are filled with zeros."""
    pad = [extra for n, f in zip(reversed(volume.shape), reversed(factors), strict=True) for extra in (0, -n % f)]
    whole = torch.nn.functional.pad(volume, pad)
    a, b, c = (n // f for n, f in zip(whole.shape, factors, strict=True))
    return whole.reshape(a, factors[0], b, factors[1], c, factors[2]).sum((1, 3, 5))


def from_blocks(coarse: torch.Tensor, shape: Sequence[int], factors: Sequence[int]) -> torch.Tensor:
    """A volume of `shape` interpolated linearly between the blocks' centres, and straight on beyond the last ones."""
    for axis, (n, factor) in enumerate(zip(shape, factors, strict=True)):
        count = coarse.shape[axis]
        if factor == 1 or count == 1:
            coarse = coarse.repeat_interleave(factor, axis).narrow(axis, 0, n)
            continue
        at = (torch.arange(n, device=coarse.device, dtype=torch.float32) - (factor - 1) / 2) / factor
        low = at.floor().clamp(0, count - 2)
        matrix = torch.zeros(n, count, device=coarse.device)
        rows = torch.arange(n, device=coarse.device)
        matrix[rows, low.long()] = 1 - (at - low)
        matrix[rows, low.long() + 1] = at - low
        coarse = along(coarse, matrix, axis)
    return coarse
