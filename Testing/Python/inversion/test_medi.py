"""MEDI: its cost and its derivatives, what edges, fluid and wild voxels do, and the option of spherical means."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import pytest
import torch

from QSMReconLib.data import Artifact, ChiMap, CsfMask, GreData, Grid, LocalField
from QSMReconLib.inversion.medi import Cost, Medi, medi, trusted
from QSMReconLib.inversion.morphology import flat_places
from QSMReconLib.phantoms.closed_forms import sphere
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime

S = 5.0
Head = dict[type[Artifact], Artifact]


def error(found: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    x, y, z = truth.shape
    one, other = found[:x, :y, :z][mask], truth[mask]
    one, other = one - one.mean(), other - other.mean()
    return float((one - other).norm() / other.norm())


@pytest.fixture
def cost(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> Cost:
    """Of the boxes, with a magnitude that has their edges."""
    padded, voxel = dipole.spectrum.padded, dipole.spectrum.voxel_size_mm
    flat = flat_places(1 + 5 * chi, mask, voxel, padded, 0.9)
    return Cost(dipole.field(chi) * mask, dipole, mask.float(), flat, S, 1000.0)


def with_fluid(cost: Cost) -> Cost:
    fluid = torch.zeros(cost.dipole.spectrum.padded, dtype=torch.bool)
    fluid[20:25, 8:12, 8:12] = True
    return replace(cost, fluid=fluid, csf_weight=300.0)


@pytest.mark.parametrize("fluid", [False, True])
def test_the_slope_is_that_of_the_cost(cost: Cost, fluid: bool) -> None:
    """By finite differences, in double precision, in a direction of its own."""
    cost = with_fluid(cost) if fluid else cost
    cost = replace(
        cost,
        field_ppm=cost.field_ppm.double(),
        weight=cost.weight.double(),
        dipole=replace(cost.dipole, kernel=cost.dipole.kernel.double()),
    )
    generator = torch.Generator().manual_seed(0)
    padded = cost.dipole.spectrum.padded
    at, way = (0.05 * torch.randn(padded, generator=generator, dtype=torch.float64) for _ in range(2))
    whole, step = cost.dipole.spectrum.uncut, 1e-5
    slope = whole.from_k(cost.slope(at, cost.diffusivity(at)))
    expected = (cost.value(at + step * way) - cost.value(at - step * way)) / (2 * step)
    assert float((slope * way).sum()) == pytest.approx(expected, rel=1e-4)


def test_the_curvature_is_symmetric_positive_and_that_of_small_steps(cost: Cost) -> None:
    cost = with_fluid(cost)
    generator = torch.Generator().manual_seed(1)
    whole = cost.dipole.spectrum.uncut
    one, other = (whole.to_k(torch.randn(whole.padded, generator=generator)) for _ in range(2))
    held = cost.diffusivity(torch.zeros(whole.padded))
    image = cost.curvature(one, held)
    assert whole.inner(image, other) == pytest.approx(whole.inner(one, cost.curvature(other, held)), rel=1e-4)
    assert whole.inner(image, one) > 0
    # From zero field and zero χ the slope is linear in small χ, and the curvature is its factor.
    still = replace(cost, field_ppm=torch.zeros_like(cost.field_ppm))
    small = 1e-6 * torch.randn(whole.padded, generator=generator)
    expected = still.slope(small, held)
    found = still.curvature(whole.to_k(small), held)
    assert float((found - expected).abs().max()) < 1e-3 * float(expected.abs().max())


def test_recovers_boxes_and_lessens_its_cost(cost: Cost, mask: torch.Tensor, chi: torch.Tensor) -> None:
    found = medi(cost, tolerance=1e-3, iterations=8)
    assert error(found, chi, mask) < 0.06
    assert cost.value(found) < cost.value(medi(cost, iterations=1)) < cost.value(torch.zeros_like(found))
    assert float(found[17:21, 20:23, 12:16].mean() - found[5:7, 6:8, 5:7].mean()) == pytest.approx(-0.06, abs=0.006)


def test_edges_of_the_magnitude_help(cost: Cost, mask: torch.Tensor, chi: torch.Tensor) -> None:
    strict = replace(cost, data_weight=20.0)
    blind = replace(strict, flat=torch.ones_like(cost.flat))
    assert error(medi(strict), chi, mask) < 0.5 * error(medi(blind), chi, mask)


def test_flat_places_are_a_share_of_the_mask_and_know_voxel_sizes(mask: torch.Tensor) -> None:
    ramp = torch.arange(mask.shape[0], dtype=torch.float32)[:, None, None] * torch.ones(mask.shape)
    ramp[:15] *= 0.5
    flat = flat_places(ramp, mask, (1.0, 1.0, 1.0), mask.shape, 0.75)
    assert flat[1, 5:25, 6:27].all()
    assert not flat[0, 16:24, 6:27, 5:21].any(), "the steeper half of the ramp"
    assert flat[0, 5:13, 6:27, 5:21].all()
    longer = flat_places(ramp.transpose(0, 1), mask.transpose(0, 1), (1.0, 3.0, 1.0), mask.transpose(0, 1).shape, 0.75)
    assert torch.equal(longer[1], flat[0].transpose(0, 1))


def test_a_turn_of_the_phase_does_not_matter(cost: Cost, mask: torch.Tensor, chi: torch.Tensor) -> None:
    start = torch.zeros(cost.dipole.spectrum.padded)
    turned = cost.field_ppm.clone()
    turned[17:20, 8:11, 6:9] += 2 * pi / S
    right, wrong = (medi(replace(cost, field_ppm=field), start=start) for field in (cost.field_ppm, turned))
    assert torch.allclose(right, wrong, atol=1e-3)


def test_merit_leaves_out_what_no_source_explains(cost: Cost, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field = cost.field_ppm.clone()
    field[8:20:4, 8:26:5, 6:20:5] += 0.3
    spoiled = replace(cost, field_ppm=field)
    errors = [error(medi(spoiled, merit, tolerance=0.02, iterations=4), chi, mask) for merit in (True, False)]
    assert errors[0] < 0.7 * errors[1]
    weight = trusted(
        spoiled,
        torch.nn.functional.pad(
            chi, (0, cost.flat.shape[3] - 27, 0, cost.flat.shape[2] - 34, 0, cost.flat.shape[1] - 30)
        ),
    )
    assert torch.equal(weight[12, 10, 10], cost.weight[12, 10, 10])
    assert float(weight[8, 8, 6]) < 0.5


def test_fluid_becomes_uniform(cost: Cost) -> None:
    noisy = replace(cost, field_ppm=cost.field_ppm + 5e-3 * torch.randn(cost.field_ppm.shape) * (cost.weight > 0))
    held = with_fluid(noisy)
    assert held.fluid is not None
    spreads = [float(medi(one)[held.fluid].std()) for one in (noisy, replace(held, csf_weight=1e5))]
    assert spreads[1] < 0.3 * spreads[0]


def test_tells_how_far_it_is(cost: Cost) -> None:
    seen: list[float] = []
    medi(cost, iterations=3, tolerance=1e-6, cg_iterations=20, progress=seen.append)
    assert seen == sorted(seen)
    assert len(seen) > 20
    assert 0 < seen[0] <= seen[-1] <= 1


def test_follows_the_sign_of_a_sphere_under_an_oblique_field() -> None:
    grid = Grid.centred((34, 30, 28), (1.0, 1.2, 1.5), (0.3, 0.2, 0.93))
    mask = torch.zeros(grid.shape, dtype=torch.bool)
    mask[3:-3, 3:-3, 3:-3] = True
    chi, field = sphere(grid, radius_mm=7, chi_ppm=0.2)
    gre = GreData(grid, (1 + chi)[None], torch.zeros(1, *grid.shape), (0.01,), 3.0)
    made = [Medi().apply(LocalField(grid, s * field * mask, mask), gre, Runtime()).chi_ppm for s in (1.0, -1.0)]
    assert torch.allclose(made[0], -made[1], atol=2e-4)
    inner, outer = chi > 0.19, (chi < 0.01) & mask
    assert float(made[0][inner].mean() - made[0][outer].mean()) == pytest.approx(0.2, rel=0.06)


def test_fluid_is_the_zero_of_the_stage(small_head: Head) -> None:
    given = {kind: small_head[kind] for kind in (LocalField, GreData, CsfMask)}
    (made,) = Medi().run(given, Runtime())
    csf = small_head[CsfMask]
    assert isinstance(made, ChiMap)
    assert isinstance(csf, CsfMask)
    assert "fluid" in made.reference
    assert float(made.chi_ppm[csf.voxels].mean()) == pytest.approx(0, abs=1e-6)
    (plain,) = Medi(csf_weight=0).run(given, Runtime())
    assert isinstance(plain, ChiMap)
    assert "fluid" not in plain.reference
    assert float(made.chi_ppm[csf.voxels].std()) < float(plain.chi_ppm[csf.voxels].std())


def test_spherical_means_ignore_what_is_harmonic_and_say_that_the_mask_shrinks(small_head: Head) -> None:
    local, gre, truth = small_head[LocalField], small_head[GreData], small_head[ChiMap]
    assert isinstance(local, LocalField)
    assert isinstance(gre, GreData)
    assert isinstance(truth, ChiMap)
    ramp = 0.2 * torch.linspace(-1, 1, local.grid.shape[0])[:, None, None] * local.mask
    spoiled = replace(local, field_ppm=local.field_ppm + ramp)
    runtime = Runtime()
    stage = Medi(smv_radius_mm=5)
    clean, made = stage.apply(local, gre, Runtime()), stage.apply(spoiled, gre, runtime)
    assert int(made.mask.sum()) < int((local.mask > 0).sum())
    assert any("of the mask" in note for note in runtime.notes)
    assert error(made.chi_ppm, truth.chi_ppm, made.mask > 0) < 0.3
    assert torch.allclose(clean.chi_ppm, made.chi_ppm, atol=2e-3)
