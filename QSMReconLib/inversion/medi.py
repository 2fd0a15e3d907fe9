"""Morphology-enabled dipole inversion: edges of χ where the magnitude has edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .._lazy import torch
from ..data import ChiMap, CsfMask, FieldNoise, GreData, LocalField, R2StarMap
from ..physics.differences import laplacian_spectrum
from ..physics.dipole import Dipole
from ..physics.smv import SphericalMean
from ..runtime import Runtime
from ..separation.findcsf import ventricles
from ..solvers.admm import in_corner
from ..solvers.cg import conjugate_gradients
from ..stage import Stage, option
from .automatic import WAYS, automatic
from .closedform import closed_form_l2
from .morphology import flat_places
from .problem import Problem, phase_per_ppm

SMOOTHED_RAD = 1e-3
"""√ε of |∇χ| ≈ √(|∇χ|² + ε), per mm, in radians of phase."""
FIRST_GUESS = 0.02
"""Weight of the closed form that a search without a start begins at."""


@dataclass(frozen=True)
class Cost:
    """What MEDI lessens over χ in ppm that fills the padded box of `dipole`, divided by 2λs², s the `radians_per_ppm`:

        ½‖w(exp(is·Dχ) - exp(is·f))‖²/s² + ‖M∇χ‖₁/(2λs) + ½(λ_csf/λ)‖χ - mean χ‖² in the fluid.

    `field_ppm` and `weight` (w² >= 0) are (X, Y, Z); `flat`, M, is (3, padded), boolean; `fluid` is boolean, padded.
    """

    field_ppm: torch.Tensor
    dipole: Dipole
    weight: torch.Tensor
    flat: torch.Tensor
    radians_per_ppm: float
    data_weight: float
    fluid: torch.Tensor | None = None
    csf_weight: float = 0.0

    def residual(self, model_ppm: torch.Tensor) -> torch.Tensor:
        """The length of exp(is·Dχ) - exp(is·f) in each voxel, over s: |Dχ - f| where that is small."""
        half = self.radians_per_ppm / 2
        return torch.sin((model_ppm - self.field_ppm).mul_(half)).abs_().div_(half)

    def value(self, chi: torch.Tensor) -> float:
        """The cost."""
        data = 0.5 * (self.residual(self.dipole.field(chi)).square_() * self.weight).sum(dtype=torch.float64)
        edges = sum(
            part.square().add_(self._epsilon).sqrt_().mul_(flat).sum(dtype=torch.float64)
            for part, flat in zip(self._differences(chi), self.flat, strict=True)
        )
        fluid = 0.5 * (chi * self._still(chi)).sum(dtype=torch.float64) if self.fluid is not None else 0.0
        return float(data + edges / (2 * self.data_weight * self.radians_per_ppm) + fluid)

    def slope(self, chi: torch.Tensor, diffusivity: list[torch.Tensor]) -> torch.Tensor:
        """The half-spectrum of the gradient of the cost."""
        s = self.radians_per_ppm
        wrong = torch.sin((self.dipole.field(chi) - self.field_ppm).mul_(s)).mul_(self.weight).div_(s)
        return self._gathered(wrong, chi, diffusivity)

    def curvature(
        self, chi_k: torch.Tensor, diffusivity: list[torch.Tensor], scratch: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Gauss and Newton's second derivative applied to a half-spectrum: the field's term taken as linear, the
        edges' with its `diffusivity` held. `scratch` is overwritten."""
        spectrum = self.dipole.spectrum
        field = spectrum.from_k(torch.mul(chi_k, self.dipole.kernel, out=scratch)) * self.weight
        return self._gathered(field, spectrum.uncut.from_k(chi_k), diffusivity)

    def diffusivity(self, chi: torch.Tensor) -> list[torch.Tensor]:
        """By how much differences along each axis (padded) are pulled together: M/(2λs√((∂χ)² + ε)), per voxel²."""
        scale = 1 / (2 * self.data_weight * self.radians_per_ppm)
        sizes = self.dipole.spectrum.voxel_size_mm
        return [
            part.square_().add_(self._epsilon).rsqrt_().mul_(flat).mul_(scale / size**2)
            for part, flat, size in zip(self._differences(chi), self.flat, sizes, strict=True)
        ]

    def preconditioner(self, diffusivity: list[torch.Tensor]) -> torch.Tensor:
        """About the inverse of the curvature, a multiplication in k: weights and diffusivity by their means."""
        spectrum = self.dipole.spectrum.uncut
        sizes = spectrum.voxel_size_mm
        mean = sum(float(part.mean()) * size**2 for part, size in zip(diffusivity, sizes, strict=True)) / 3
        inverse = laplacian_spectrum(spectrum, self.dipole.kernel.device).mul_(mean)
        share = float(self.weight.sum(dtype=torch.float64)) / self.flat[0].numel()
        inverse.addcmul_(self.dipole.kernel, self.dipole.kernel, value=share)
        inverse[0, 0, 0] = 1.0
        return inverse.reciprocal_()

    @property
    def _epsilon(self) -> float:
        return (SMOOTHED_RAD / self.radians_per_ppm) ** 2

    def _differences(self, chi: torch.Tensor) -> list[torch.Tensor]:
        sizes = self.dipole.spectrum.voxel_size_mm
        return [(chi.roll(-1, axis) - chi).div_(size) for axis, size in enumerate(sizes)]

    def _still(self, chi: torch.Tensor) -> torch.Tensor:
        assert self.fluid is not None
        inside = chi * self.fluid
        mean = float(inside.sum()) / max(int(self.fluid.sum()), 1)
        return torch.where(self.fluid, inside.sub_(mean), 0.0).mul_(self.csf_weight / self.data_weight)

    def _gathered(self, field: torch.Tensor, chi: torch.Tensor, diffusivity: list[torch.Tensor]) -> torch.Tensor:
        pulled = torch.zeros_like(chi) if self.fluid is None else self._still(chi)
        for axis, part in enumerate(diffusivity):
            last = chi.shape[axis] - 1
            for start, stop, length in ((0, 1, last), (last, 0, 1)):
                here, there = (pulled.narrow(axis, at, length) for at in (start, stop))
                flow = chi.narrow(axis, stop, length) - chi.narrow(axis, start, length)
                flow.mul_(part.narrow(axis, start, length))
                here.sub_(flow)
                there.add_(flow)
        spectrum = self.dipole.spectrum
        return spectrum.to_k(field).mul_(self.dipole.kernel).add_(spectrum.to_k(pulled))


def medi(
    cost: Cost,
    merit: bool = True,
    tolerance: float = 0.1,
    iterations: int = 10,
    cg_tolerance: float = 0.01,
    cg_iterations: int = 100,
    start: torch.Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:
    """χ in ppm over the padded box, by Gauss and Newton's steps, each by conjugate gradients (Liu et al. 2012,
    doi:10.1016/j.neuroimage.2011.08.082; nonlinear data term: Liu et al. 2013, doi:10.1002/mrm.24272).

    Everything happens in k, where a preconditioner costs nothing. With `merit`, voxels that the model misses by more
    than six standard deviations count less from one step to the next. Ends when χ changes by less than `tolerance`,
    relative, or after `iterations`. `start` is a first guess over the padded box, else the closed form is.
    """
    dipole = cost.dipole
    whole = dipole.spectrum.uncut
    if start is None:
        start = closed_form_l2(cost.field_ppm, Dipole(whole, dipole.kernel), FIRST_GUESS)
    chi, chi_k = start, whole.to_k(start)
    for iteration in range(iterations):

        def told(done: int, residual: float, before: int = iteration) -> None:
            if progress is not None:
                progress((before + done / cg_iterations) / iterations)

        step = newton_step(cost, chi, cg_tolerance, cg_iterations, told)
        chi_k.add_(step)
        change = (whole.inner(step, step) / max(whole.inner(chi_k, chi_k), 1e-30)) ** 0.5
        del step
        chi = whole.from_k(chi_k)
        if change < tolerance:
            break
        if merit:
            cost = replace(cost, weight=trusted(cost, chi))
    return chi


def newton_step(
    cost: Cost, chi: torch.Tensor, tolerance: float, iterations: int, callback: Callable[[int, float], None]
) -> torch.Tensor:
    """The half-spectrum of the step from χ to the minimum of the parabola that touches the cost there."""
    diffusivity = cost.diffusivity(chi)
    inverse = cost.preconditioner(diffusivity)
    downhill = cost.slope(chi, diffusivity).neg_()
    # New memory for a product takes longer than the product; neither of the two is needed when the other is made.
    scratch = torch.empty_like(downhill)
    return conjugate_gradients(
        lambda k: cost.curvature(k, diffusivity, scratch),
        downhill,
        iterations=iterations,
        tolerance=tolerance,
        precondition=lambda k: torch.mul(k, inverse, out=scratch),
        inner=cost.dipole.spectrum.uncut.inner,
        callback=callback,
    ).value


def trusted(cost: Cost, chi: torch.Tensor) -> torch.Tensor:
    """w² after voxels that miss by more than six standard deviations were given less: w falls as the square of how many
    times six it is (model error reduction through iterative tuning)."""
    missed = cost.residual(cost.dipole.field(chi)).mul_(cost.weight.sqrt())
    limit = 6 * float(missed[cost.weight > 0].std())
    return cost.weight / (missed / max(limit, 1e-12)).clamp_(min=1.0).pow_(4)


class Medi(Stage):
    """Morphology-enabled dipole inversion (Liu et al. 2012, doi:10.1016/j.neuroimage.2011.08.082), and MEDI+0 (Liu et
    al. 2018, doi:10.1002/mrm.26946).

    Edges of χ cost nothing where the magnitude has edges. With a mask of the ventricles, or R2* to find them by, χ is
    held uniform in the fluid there, and referenced to it (MEDI+0).
    """

    data_weight: float = option(1000.0, "Weight λ of the field against edges; smaller is smoother", ge=1, le=1e6)
    flat_share: float = option(0.9, "Share of the magnitude's differences that are no edges", ge=0.1, le=1)
    csf_weight: float = option(100.0, "Weight of uniform χ in the fluid, where that is known; 0: none", ge=0, le=1e5)
    merit: bool = option(True, "Trust voxels less that the model misses by far")
    smv_radius_mm: float | None = option(
        None,
        "Compare spherical means instead of the field (5 as published), which shrinks the mask",
        unit="mm",
        ge=1,
        le=20,
    )
    radians_per_ppm: float | None = option(
        None, "Phase that 1 ppm of field makes; auto: between the echoes of the scan", unit="rad/ppm", ge=0.01, le=1e3
    )
    tolerance: float = option(0.1, "Stop when χ changes by less than this fraction", ge=1e-4, le=0.5)
    iterations: int = option(10, "Steps of Gauss and Newton at most", ge=1, le=100)
    cg_tolerance: float = option(0.01, "Residual that is small enough within a step", ge=1e-6, le=0.5)
    cg_iterations: int = option(100, "Conjugate gradients within a step at most", ge=1, le=1000)
    automatic: str = option("off", "Choose λ from the data: corner of the L-curve, or misfit as noise", choices=WAYS)

    def apply(
        self,
        local: LocalField,
        gre: GreData,
        runtime: Runtime,
        noise: FieldNoise | None = None,
        csf: CsfMask | None = None,
        r2star: R2StarMap | None = None,
    ) -> ChiMap:
        if self.smv_radius_mm is not None:
            local = self._shrunk(local, runtime)
        problem = Problem.of(local, noise)
        fluid = self._fluid(problem, csf, r2star, runtime)
        cost = self._cost(problem, gre, fluid)

        def solve(regularisation: float, start: torch.Tensor | None, progress: Callable[[float], None]) -> torch.Tensor:
            return medi(
                replace(cost, data_weight=1 / (2 * cost.radians_per_ppm * regularisation)),
                self.merit,
                self.tolerance,
                self.iterations,
                self.cg_tolerance,
                self.cg_iterations,
                start,
                progress,
            )

        # Divided by 2λs² the cost has the weight 1/(2λs) on edges, as total variation has its λ.
        scale = 1 / (2 * cost.radians_per_ppm)
        if self.automatic == "off":
            found = solve(scale / self.data_weight, None, runtime.progress)
        else:
            found = automatic(self.automatic, problem, solve, noise, runtime, named=lambda weight: scale / weight)
        chi = problem.chi_map(found)
        if fluid is None:
            return chi
        inside = chi.mask > 0
        zero = float(chi.chi_ppm[problem.box.paste(fluid)].mean())
        return replace(chi, chi_ppm=(chi.chi_ppm - zero) * inside, reference="the fluid in the ventricles")

    def _cost(self, problem: Problem, gre: GreData, fluid: torch.Tensor | None) -> Cost:
        magnitude = problem.box.cut(gre.magnitude).square().sum(0).sqrt_()
        padded = problem.dipole.spectrum.padded
        dipole, field = problem.dipole, problem.field_ppm
        if self.smv_radius_mm is not None:
            mean = SphericalMean.of(
                field.shape, dipole.spectrum.voxel_size_mm, self.smv_radius_mm, field.device, dipole.spectrum
            )
            dipole = replace(dipole, kernel=dipole.kernel * (1 - mean.mean_kernel))
        weight = problem.weight
        mean_weight = float(weight.sqrt().sum(dtype=torch.float64)) / int(problem.inside.sum())
        flat = flat_places(magnitude, problem.inside, dipole.spectrum.voxel_size_mm, padded, self.flat_share)
        return Cost(
            field,
            dipole,
            weight / mean_weight**2,
            flat,
            phase_per_ppm(gre, self.radians_per_ppm),
            self.data_weight,
            None if fluid is None else in_corner(fluid, padded),
            self.csf_weight,
        )

    def _shrunk(self, local: LocalField, runtime: Runtime) -> LocalField:
        """What the field differs from its spherical means by, where the sphere lies inside the mask."""
        assert self.smv_radius_mm is not None
        mean = SphericalMean.of(local.grid.shape, local.grid.voxel_size_mm, self.smv_radius_mm, local.field_ppm.device)
        kept = mean.fits(local.mask)
        share = float(kept.sum()) / max(float((local.mask > 0).sum()), 1.0)
        runtime.note(f"Spherical means of {self.smv_radius_mm:g} mm keep {100 * share:.0f} % of the mask.")
        return LocalField(local.grid, mean.deviation(local.field_ppm) * kept, kept)

    def _fluid(
        self, problem: Problem, csf: CsfMask | None, r2star: R2StarMap | None, runtime: Runtime
    ) -> torch.Tensor | None:
        """The ventricles, boolean, in the box of the problem."""
        if self.csf_weight == 0 or (csf is None and r2star is None):
            return None
        if csf is None:
            assert r2star is not None
            voxel = problem.local.grid.voxel_size_mm
            fluid = ventricles(problem.box.cut(r2star.r2star_hz), problem.inside, voxel)
        else:
            fluid = problem.box.cut(csf.voxels) > 0
        fluid = fluid & problem.inside
        if not bool(fluid.any()):
            runtime.note("No fluid was found in the ventricles: χ is not held uniform there.")
            return None
        return fluid
