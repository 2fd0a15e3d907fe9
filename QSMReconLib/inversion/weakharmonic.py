"""Weak-harmonic inversion: χ beside what background removal left."""

from __future__ import annotations

from functools import partial

from .._lazy import torch
from ..data import ChiMap, FieldNoise, GreData, LocalField
from ..physics.differences import laplacian_spectrum
from ..physics.fourier import Spectrum
from ..runtime import Runtime
from ..solvers.admm import MeasuredField, in_corner
from ..stage import Stage, option
from .fidelity import Nearest
from .nltv import Fansi
from .problem import Problem

CURVATURE_PULL = 3.0
"""How strongly the Laplacian of h is bound to one that is 0 inside, mm⁴: changes the speed, not the result."""


def surrounded(inside: torch.Tensor) -> torch.Tensor:
    """The voxels of a mask (X, Y, Z), boolean, whose six neighbours are in it and in the box."""
    padded = torch.nn.functional.pad(inside, (1, 1, 1, 1, 1, 1))
    kept = padded.clone()
    for axis in range(3):
        kept &= padded.roll(1, axis) & padded.roll(-1, axis)
    return kept[1:-1, 1:-1, 1:-1]


class HarmonicField(MeasuredField):
    """A measured field that is χ's and a nearly harmonic one's, h: ½·`weight`‖∇²h‖² where `surrounded` is its price.

    h is tied to the data where there are any and to its Laplacian everywhere, which a division in k resolves; a further
    split keeps the Laplacian small inside and free outside.
    """

    def __init__(
        self,
        first: torch.Tensor,
        nearest: Nearest,
        coupling: float,
        *,
        inside: torch.Tensor,
        spectrum: Spectrum,
        weight: float,
    ) -> None:
        super().__init__(first, nearest, coupling)
        self.spectrum = spectrum
        self.laplacian = laplacian_spectrum(spectrum, first.device).neg_()
        self.inverse = 1 / (self.laplacian.square().mul_(CURVATURE_PULL).add_(coupling))
        self.kept = CURVATURE_PULL / (CURVATURE_PULL + weight * in_corner(surrounded(inside).float(), spectrum.padded))
        self.harmonic, self.bent, self.bent_dual = (first.new_zeros(spectrum.padded) for _ in range(3))

    def step(self, model: torch.Tensor) -> torch.Tensor:
        """Splits, duals and h move on; `model` becomes the field wanted next."""
        x, y, z = self.dual.shape
        own, harmonic = model[:x, :y, :z], self.harmonic[:x, :y, :z]
        moved = own + harmonic + self.dual
        fitted = self.nearest(moved)
        torch.sub(moved, fitted, out=self.dual)
        left = fitted - self.dual
        # Where nothing is known, h is tied to itself.
        torch.sub(left, own, out=harmonic)
        bent = self.bent.add_(self.bent_dual)
        small = bent * self.kept
        self.bent_dual = bent - small
        wanted = self.spectrum.to_k(small.sub_(self.bent_dual)).mul_(self.laplacian).mul_(CURVATURE_PULL)
        harmonic_k = self.spectrum.to_k(self.harmonic).mul_(self.coupling).add_(wanted).mul_(self.inverse)
        self.harmonic = self.spectrum.from_k(harmonic_k.clone())
        self.bent = self.spectrum.from_k(harmonic_k.mul_(self.laplacian))
        torch.sub(left, self.harmonic[:x, :y, :z], out=own)
        return model


class WeakHarmonic(Fansi, Stage):
    """FANSI with total variation beside a weakly harmonic field (WH-QSM; Milovic et al. 2019, doi:10.1002/mrm.27483).

    What background removal left is smooth: it goes into a field of its own, and not into χ.
    """

    harmonic: float = option(150.0, "Weight β of what of the other field is not harmonic", unit="mm⁴", ge=0.01, le=1e6)

    def apply(
        self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None, gre: GreData | None = None
    ) -> ChiMap:
        problem = Problem.of(local, noise)
        term = partial(
            HarmonicField, inside=problem.inside, spectrum=problem.dipole.spectrum.uncut, weight=self.harmonic
        )
        return self.solve(problem, self.total_variation(problem), gre, runtime, term)
