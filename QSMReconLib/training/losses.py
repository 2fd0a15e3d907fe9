"""What training minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..physics.fourier import Spectrum


def chi_loss(
    estimates: Sequence[torch.Tensor],
    truth: torch.Tensor,
    weight: torch.Tensor,
    kernel: torch.Tensor,
    spectrum: Spectrum,
    gradient: float = 0.5,
    consistency: float = 0.1,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss of maps (B, 1, X, Y, Z), each step's estimate counting half as much as the next one's.

    Errors inside the mask, mean absolute and root mean square, of differences between neighbours, and of the field, are
    relative to those of `start`, so that easy cases teach as much as hard ones; without one, to those of a flat map.
    """
    mask = (weight > 0).to(truth.dtype)
    count = mask.sum((1, 2, 3, 4)).clamp(min=1)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (values * mask).sum((1, 2, 3, 4)) / count

    def sizes(error: torch.Tensor) -> list[torch.Tensor]:
        jumps = torch.zeros_like(count)
        for axis in (-3, -2, -1):
            n = error.shape[axis]
            both = mask.narrow(axis, 1, n - 1) * mask.narrow(axis, 0, n - 1)
            jump = (error.narrow(axis, 1, n - 1) - error.narrow(axis, 0, n - 1)).abs() * both
            jumps = jumps + jump.sum((1, 2, 3, 4)) / (3 * count)
        return [mean(error.abs()), (mean(error.square()) + 1e-14).sqrt(), jumps]

    def field_size(error: torch.Tensor) -> torch.Tensor:
        return mean(spectrum.from_k(kernel * spectrum.to_k(error)).abs())

    flat = (mean(truth).reshape(-1, 1, 1, 1, 1) - truth) * mask
    with torch.no_grad():
        against = flat if start is None else (start - truth) * mask
        # A start that is right already would make a loss of nothing: it counts as a twentieth of the contrast.
        scales = [torch.maximum(a, 0.05 * b) + 1e-7 for a, b in zip(sizes(against), sizes(flat), strict=True)]
        field_scale = torch.maximum(field_size(against), 0.02 * field_size(flat)) + 1e-8
    total = truth.new_zeros(())
    for index, estimate in enumerate(estimates):
        absolute, root, jumps = (a / b for a, b in zip(sizes((estimate - truth) * mask), scales, strict=True))
        loss = (absolute + root + gradient * jumps).mean()
        total = total + loss * 0.5 ** (len(estimates) - 1 - index)
    if consistency:
        total = total + consistency * (field_size((estimates[-1] - truth) * mask) / field_scale).mean()
    return total


def l1_loss(estimate: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor, unit_ppm: float) -> torch.Tensor:
    """The mean absolute error of maps (B, 1, X, Y, Z) inside the mask, in `unit_ppm`."""
    mask = (weight > 0).to(truth.dtype)
    return ((estimate - truth).abs() * mask).sum() / (unit_ppm * mask.sum().clamp(min=1))
