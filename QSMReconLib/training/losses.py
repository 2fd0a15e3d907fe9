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
    gradient: float = 0.2,
    consistency: float = 0.05,
) -> torch.Tensor:
    """The loss of maps (B, 1, X, Y, Z), each step's estimate counting half as much as the next one's.

    Errors are relative to the contrast of the truth inside the mask: mean absolute, root mean square, and mean absolute
    of the differences between neighbours; the last estimate's field is held against the truth's.
    """
    mask = (weight > 0).to(truth.dtype)
    count = mask.sum((1, 2, 3, 4)).clamp(min=1)
    shape = (-1, 1, 1, 1, 1)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (values * mask).sum((1, 2, 3, 4)) / count

    centred = truth - mean(truth).reshape(shape)
    absolute = mean(centred.abs()).clamp(min=1e-4)
    root = mean(centred.square()).sqrt().clamp(min=1e-4)
    total = truth.new_zeros(())
    for index, estimate in enumerate(estimates):
        error = (estimate - truth) * mask
        loss = mean(error.abs()) / absolute + (mean(error.square()) + 1e-12).sqrt() / root
        for axis in (-3, -2, -1):
            n = error.shape[axis]
            both = mask.narrow(axis, 1, n - 1) * mask.narrow(axis, 0, n - 1)
            jump = (error.narrow(axis, 1, n - 1) - error.narrow(axis, 0, n - 1)).abs() * both
            loss = loss + gradient / 3 * jump.sum((1, 2, 3, 4)) / count / absolute
        total = total + loss.mean() * 0.5 ** (len(estimates) - 1 - index)
    if consistency:
        field_error = spectrum.from_k(kernel * spectrum.to_k((estimates[-1] - truth) * mask)) * mask
        total = total + consistency * (mean(field_error.abs()) / (0.3 * absolute)).mean()
    return total
