"""Dipole inversion by the alternating direction method of multipliers.

Boyd et al. 2011, doi:10.1561/2200000016. What a map should look like (`Prior`) and how it should explain the field
(`FieldTerm`) are each dealt with voxel by voxel, in turns with a χ that agrees with both: a multiplication in k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .._lazy import torch
from ..physics.dipole import Dipole
from ..physics.fourier import Spectrum


class Prior(Protocol):
    """A penalty on χ, split off with a quadratic tie of weight 1 (times `rho`)."""

    def curvature(self, spectrum: Spectrum, device: torch.device) -> torch.Tensor:
        """What the tie multiplies a half-spectrum of χ by, real, >= 0."""

    def step(self, volume: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Move the split and its dual on for χ = `volume`; what the tie now pulls χ towards, negated, goes to `out`."""


class FieldTerm(Protocol):
    """A penalty on the field of χ, split off with a quadratic tie of weight `coupling`. Where `fixed`, the field never
    changes and `step` is not called."""

    coupling: float
    fixed: bool

    def first(self) -> torch.Tensor:
        """The field (X, Y, Z) that χ should have at first."""

    def step(self, model: torch.Tensor) -> torch.Tensor:
        """Move the split and its dual on for the field `model` of χ over the padded box; the field wanted next, which
        may be stored in `model`."""


def invert(
    dipole: Dipole,
    data: FieldTerm,
    prior: Prior,
    *,
    rho: float,
    tolerance: float,
    iterations: int,
    start: torch.Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ (ppm) over the padded box of `dipole` that lessens data(Dχ) + prior(χ).

    `start`, a first guess over the padded box, is not changed. Ends when χ changes by less than `tolerance`, relative,
    or after `iterations`.
    """
    spectrum, kernel = dipole.spectrum.uncut, dipole.kernel
    denominator = prior.curvature(spectrum, kernel.device).mul_(rho).add_(kernel**2, alpha=data.coupling)
    inverse = torch.where(denominator > 1e-12, 1 / denominator, 0.0)
    gain = kernel * inverse * data.coupling
    inverse.mul_(-rho)

    pull, wanted = None, in_corner(data.first(), spectrum.padded)
    if start is not None:
        pull = prior.step(start, torch.empty_like(start))
        wanted = wanted if data.fixed else data.step(spectrum.from_k(spectrum.to_k(start).mul_(kernel)))
    known = spectrum.to_k(wanted).mul_(gain)
    chi = torch.zeros_like(wanted) if start is None else start
    del wanted
    for iteration in range(iterations):
        chi_k = known.clone() if pull is None else spectrum.to_k(pull).mul_(inverse).add_(known)
        if not data.fixed:
            model = spectrum.from_k(chi_k * kernel)
        previous, chi = chi, spectrum.from_k(chi_k)
        change = float(torch.dist(chi, previous)) / max(float(chi.norm()), 1e-12)
        del previous, chi_k
        if progress is not None:
            progress((iteration + 1) / iterations)
        if change < tolerance or iteration + 1 == iterations:
            break
        if not data.fixed:
            known = spectrum.to_k(data.step(model)).mul_(gain)
        pull = prior.step(chi, torch.zeros_like(chi) if pull is None else pull)
    return chi


class KnownField:
    """The field as it is, taken as known everywhere: nothing to split, and χ has a closed form in each iteration."""

    coupling = 1.0
    fixed = True

    def __init__(self, field_ppm: torch.Tensor) -> None:
        self.field = field_ppm

    def first(self) -> torch.Tensor:
        """The field itself."""
        return self.field

    def step(self, model: torch.Tensor) -> torch.Tensor:
        """Nothing moves."""
        return in_corner(self.field, (model.shape[0], model.shape[1], model.shape[2]))


class MeasuredField:
    """A field known in part of the box; where it is not, it follows the model, χ's own.

    `nearest(wanted)` is the voxelwise proximal map of the data term over (X, Y, Z): the field that lessens
    data(z) + coupling/2·(z - wanted)²; `wanted` itself where there is no data.
    """

    fixed = False

    def __init__(self, first: torch.Tensor, nearest: Callable[[torch.Tensor], torch.Tensor], coupling: float) -> None:
        self.start, self.nearest, self.coupling = first, nearest, coupling
        self.dual = torch.zeros_like(first)

    def first(self) -> torch.Tensor:
        """The weighted field."""
        return self.start

    def step(self, model: torch.Tensor) -> torch.Tensor:
        """Split and dual move on; `model` becomes the field wanted next."""
        x, y, z = self.dual.shape
        inside = model[:x, :y, :z]
        inside += self.dual
        fitted = self.nearest(inside)
        torch.sub(inside, fitted, out=self.dual)
        torch.sub(fitted, self.dual, out=inside)
        return model


def in_corner(volume: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """The volume in the corner of a box of zeros; itself if it fills the box."""
    if tuple(volume.shape) == tuple(shape):
        return volume
    whole = volume.new_zeros(shape)
    x, y, z = volume.shape
    whole[:x, :y, :z] = volume
    return whole
