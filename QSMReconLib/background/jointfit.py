"""Total-field inversion: the susceptibility of the brain and the sources around it, fitted to one field together.

A fit of outside sources alone (PDF) also takes what the brain's own field has in common with theirs, and nothing that
follows can give it back. Here sources outside are free while χ pays for its total variation, so that each part of the
field goes to whom it costs less. The idea is that of Liu et al. 2017, doi:10.1002/mrm.26331; the solver is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .._lazy import torch
from ..data import FieldNoise, Grid, Mask, TotalField
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..solvers.admm import invert
from ..solvers.cg import dot
from ..solvers.shrinkage import TotalVariation
from ..stage import option
from .harmonic import smooth_part
from .measured import Measured, local_std_option
from .outside import OutsideSources, corner

COUPLING = 0.1
RHO = 0.05
"""Penalties of the two splittings, of the field and of the gradient: they change the speed, hardly the result."""
STEPS = 2
"""Steps of the outside sources in each iteration."""
FIRST_GUESS = 20
"""Steps by which outside sources alone are fitted on each grid, before χ moves as well."""


@dataclass(frozen=True)
class JointFit:
    """Over the box (X, Y, Z), ppm: χ of the brain, and the field of what lies outside, known in the mask."""

    chi_ppm: torch.Tensor
    background_ppm: torch.Tensor


class FreeBackground:
    """The field as that of χ and of free sources outside the mask: `FieldTerm` of `solvers.admm`.

    Volumes fill the padded box of `space`. The sources take two-dimensional steps, along the gradient and along the
    last step, which keeps the momentum of conjugate gradients although the field that is left for them changes.
    """

    coupling = COUPLING
    fixed = False

    def __init__(
        self, space: OutsideSources, field_ppm: torch.Tensor, weight: torch.Tensor, sources: torch.Tensor
    ) -> None:
        self.space, self.weighted, self.weight = space, weight * field_ppm, weight
        self.field, self.sources = field_ppm, sources
        self.background = space.field(sources)
        self.count = weight * COUPLING / (weight + COUPLING)
        self.dual = torch.zeros_like(field_ppm)
        self.last, self.its_field = torch.zeros_like(sources), torch.zeros_like(sources)

    def first(self) -> torch.Tensor:
        """What the sources leave of the field."""
        return self.weighted - self.weight * self.background

    def step(self, model: torch.Tensor) -> torch.Tensor:
        """Move the sources, then split and dual; `model` becomes the field wanted next."""
        wanted = model.add_(self.dual)
        self.fit(wanted, STEPS)
        fitted = (self.weighted - self.weight * self.background).add_(wanted, alpha=COUPLING)
        fitted.div_(self.weight + COUPLING)
        torch.sub(wanted, fitted, out=self.dual)
        return torch.sub(fitted, self.dual, out=wanted)

    def fit(self, inner: torch.Tensor | float, steps: int) -> None:
        """Move sources and uniform part towards what `inner`, the field of χ, leaves of the measured one."""
        left = self.count * (self.field - inner - self.background)
        for _ in range(steps):
            self._move(left)
        self.background += float(left.sum()) / max(float(self.count.sum()), 1e-30)

    def _move(self, left: torch.Tensor) -> None:
        """Lessen Σ count·(target - background)²; `left` is count·(target - background) and is kept so."""
        gradient = self.space.dipole(left).mul_(self.space.sources)
        field = self.space.dipole(gradient)
        # The last step and the gradient made conjugate to it: two directions, each with its own best length.
        again, size = 0.0, dot(self.its_field, self.count * self.its_field)
        if size > 0:
            common = dot(field, self.count * self.its_field) / size
            gradient.sub_(self.last, alpha=common)
            field.sub_(self.its_field, alpha=common)
            again = dot(self.its_field, left) / size
        weighted = self.count * field
        along = dot(field, left) / max(dot(field, weighted), 1e-30)
        left.sub_(weighted, alpha=along).sub_(self.count * self.its_field, alpha=again)
        self.last.mul_(again).add_(gradient, alpha=along)
        self.its_field.mul_(again).add_(field, alpha=along)
        self.sources += self.last
        self.background += self.its_field


def joint_fit(
    total_ppm: torch.Tensor,
    mask: torch.Tensor,
    grid: Grid,
    weight: torch.Tensor | None = None,
    regularisation: float = 1e-4,
    iterations: int = 20,
    progress: Callable[[float], None] | None = None,
) -> JointFit:
    """χ and background of a total field (X, Y, Z) in ppm.

    min ½Σ weight·(Dχ + Ds - f)² + λ‖∇χ‖₁ over χ everywhere and s outside the mask, λ the `regularisation` per mm, by
    ADMM. `weight` in 0 to 1 is that of the squared residual, 1 in the mask if not given. The uniform part of the field
    is free as well, and goes with the background.
    """
    space = OutsideSources.around(mask, grid)
    smooth = smooth_part(total_ppm, mask, grid.voxel_size_mm, weight)
    count = space.into_box(((mask > 0) if weight is None else weight * (mask > 0)).float())
    field = space.into_box(total_ppm - smooth).mul_(count > 0)
    share = FIRST_GUESS / (FIRST_GUESS + iterations)

    def report(fraction: float) -> None:
        if progress is not None:
            progress(share + (1 - share) * fraction)

    guess = space.first_guess(field, count, FIRST_GUESS, None)
    data = FreeBackground(space, field, count, torch.zeros_like(field) if guess is None else guess)
    for step in range(FIRST_GUESS):
        data.fit(0.0, 1)
        if progress is not None:
            progress(share * (step + 1) / FIRST_GUESS)
    prior = TotalVariation.starting(
        space.spectrum.padded, space.spectrum.voxel_size_mm, regularisation / RHO, field.device
    )
    dipole = Dipole(space.spectrum, space.kernel)
    chi = invert(dipole, data, prior, rho=RHO, tolerance=0.0, iterations=iterations, progress=report)
    return JointFit(corner(chi, mask.shape), corner(data.background, mask.shape) + smooth)


@dataclass(frozen=True, kw_only=True)
class TotalFieldInversion:
    """The options that every stage on `joint_fit` has, and its run."""

    iterations: int = option(30, "Iterations of the joint fit", ge=1, le=1000)
    regularisation: float = option(1e-4, "Weight λ of the total variation of χ; larger is smoother", ge=1e-7, le=0.1)
    local_std_ppm: float = local_std_option()

    def fit(
        self, total: TotalField, mask: Mask, noise: FieldNoise | None, runtime: Runtime
    ) -> tuple[Measured, JointFit]:
        """What is known of the total field, and `joint_fit` of it."""
        field = Measured.of(total, mask, noise, self.local_std_ppm)
        known = field.known
        fit = joint_fit(
            field.field_ppm,
            known.mask,
            field.grid,
            known.weight,
            self.regularisation,
            self.iterations,
            runtime.progress,
        )
        return field, fit
