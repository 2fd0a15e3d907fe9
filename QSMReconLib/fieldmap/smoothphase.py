"""The smooth part of a phase, unbiased where it bends and up to the edge of what is seen.

A kernel as wide as noise asks for is off by 0.3 rad at the edge of the head in a 3 T scan, worth 20 ppb of field.
Rounds that smooth what the rounds before left over bring that down to some hundredths, still worth 2 ppb over the whole
surface of the brain, which no background removal can mend. So what is most of a starting phase, a polynomial over the
head, is fitted as such first.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._lazy import torch
from ..solvers.leastsquares import fitted
from .smooth import block_sum, from_blocks, gaussian
from .unwrap import wrap

ROUNDS = 60
DEGREE = 4
FITS = 5
"""Of the polynomial, each to what the last one left."""
PLACES = 200_000
"""Of a volume that are looked at for its 35 numbers."""
COHERENT = 0.5
"""Of the signal that must be in phase after the fit; a phase with poles is no polynomial."""


def smooth_phase(
    weighted: torch.Tensor, voxel_size_mm: Sequence[float], sigma_mm: float, rounds: int = ROUNDS
) -> torch.Tensor:
    """The smooth part (X, Y, Z) of the angle of a complex volume, whose modulus is the weight."""
    bulk = polynomial_phase(weighted)
    left = turned(weighted, bulk)
    factors = [max(1, int(sigma_mm / 3 / voxel)) for voxel in voxel_size_mm]
    coarse_size = [voxel * factor for voxel, factor in zip(voxel_size_mm, factors, strict=True)]
    small = torch.complex(block_sum(left.real, factors), block_sum(left.imag, factors))
    small = small / small.abs().max().clamp(min=1e-30)
    rest = torch.zeros_like(small.real)
    for _ in range(rounds):
        rest = rest + gaussian(turned(small, rest), coarse_size, sigma_mm).angle()
    unit = torch.polar(torch.ones_like(rest), rest)
    return wrap(from_blocks(unit, weighted.shape, factors).angle() + bulk)


def polynomial_phase(weighted: torch.Tensor, degree: int = DEGREE) -> torch.Tensor:
    """The polynomial of x, y and z (X, Y, Z), in radians, that is closest to the angle of a complex volume.

    Differences between neighbours, which do not wrap, give a first one; then it is fitted to what it leaves. Zero where
    no polynomial brings the signal into phase.
    """
    powers = [(a, b, c) for a in range(degree + 1) for b in range(degree + 1 - a) for c in range(degree + 1 - a - b)]
    shape, flat = weighted.shape, weighted.flatten()
    places = torch.arange(0, len(flat), max(1, len(flat) // PLACES), device=flat.device)
    places = places[flat[places].abs() > 0]
    at = torch.stack(torch.unravel_index(places, shape))

    def monomials(index: torch.Tensor) -> torch.Tensor:
        x, y, z = (_scaled(i, n) for i, n in zip(index, shape, strict=True))
        return torch.stack([x**a * y**b * z**c for a, b, c in powers])

    here, signal = monomials(at), flat[places]
    slopes, pairs = [], []
    for axis, stride in enumerate((shape[1] * shape[2], shape[2], 1)):
        inner = at[axis] < shape[axis] - 1
        step = torch.zeros_like(at[:, :1])
        step[axis] = 1
        slopes.append(monomials(at[:, inner] + step) - here[:, inner])
        pairs.append(flat[places[inner] + stride] * signal[inner].conj())
    turns = torch.cat(pairs)
    amounts = fitted(torch.cat(slopes, 1), turns.angle(), turns.abs().sqrt())
    for _ in range(FITS):
        left = turned(signal, (amounts @ here).float())
        # Counted from what all have in common, nothing is wrapped.
        common = left.sum().angle()
        amounts = amounts + fitted(here, turned(left, common).angle(), left.abs())
        amounts[0] += common
    in_phase = turned(signal, (amounts @ here).float()).sum().abs()
    if not float(in_phase) > COHERENT * float(signal.abs().sum()):
        return torch.zeros_like(weighted.real)
    table = amounts.new_zeros((degree + 1,) * 3)
    table[tuple(torch.tensor(powers).T)] = amounts
    for n in shape:
        edges = _scaled(torch.arange(n, device=flat.device), n)
        table = torch.tensordot(table, edges ** torch.arange(degree + 1, device=flat.device)[:, None], ([0], [0]))
    return table.float()


def turned(signal: torch.Tensor, back_rad: torch.Tensor) -> torch.Tensor:
    """The signal turned back by a phase."""
    return signal * torch.polar(torch.ones_like(back_rad), -back_rad)


def _scaled(index: torch.Tensor, n: int) -> torch.Tensor:
    """Places along an axis of `n` voxels, from -1 to 1."""
    return (index.double() - (n - 1) / 2) / (n / 2)
