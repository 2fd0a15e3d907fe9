from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.errors import Cancelled
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.inversion.tkd import tkd
from QSMReconLib.physics.differences import laplacian_spectrum
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.physics.fourier import Spectrum
from QSMReconLib.separation.joint import Joint, _bend, edge_weight, joint_separation, nearest_sources
from QSMReconLib.separation.nullseparation import null_separation

GRID = Grid.centred((29, 32, 25), (2.0, 1.8, 2.4), (0.2, -0.3, 0.93))


def head() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """χ_para and χ_dia of a ball of tissue with an iron and a calcium deposit, and the ball."""
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    brain = x**2 + y**2 + z**2 < 24**2
    iron = ((x - 9) ** 2 + y**2 + z**2 < 25).float()
    calcium = ((x + 9) ** 2 + (y - 4) ** 2 + z**2 < 25).float()
    white = ((z > 0) & brain).float()
    para = (0.025 * brain + 0.10 * iron - 0.02 * calcium) * brain
    dia = (0.012 * brain + 0.018 * white + 0.08 * calcium) * brain
    return para, dia, brain


def local_field(chi: torch.Tensor) -> torch.Tensor:
    """The field of sources in air: padded more widely than a reconstruction pads."""
    return Dipole.of(GRID, padding_mm=80).field(chi)


def noise(sigma: float, seed: int) -> torch.Tensor:
    return sigma * torch.randn(GRID.shape, generator=torch.Generator().manual_seed(seed))


def separate_fully(
    field: torch.Tensor, total: torch.Tensor, mask: torch.Tensor, sigma: float, **options: object
) -> Joint:
    """With as much noise taken for R2′/Dr as for the field."""
    level = sigma * mask.float()
    return joint_separation(
        field * mask,
        total * mask,
        mask,
        Dipole.of(GRID),
        **{"field_noise_ppm": level, "sum_noise_ppm": level} | options,  # type: ignore[arg-type]
    )


def separate(
    field: torch.Tensor, total: torch.Tensor, mask: torch.Tensor, sigma: float, **options: object
) -> torch.Tensor:
    return separate_fully(field, total, mask, sigma, **options).maps


def test_without_noise_and_with_one_relaxivity_both_maps_are_the_truth() -> None:
    para, dia, brain = head()
    found = separate(local_field(para - dia), para + dia, brain, 0.0005, outside_ppm=0.0, iterations=80, tolerance=0.0)
    assert found.shape == (2, *GRID.shape)
    # What the dipole cannot see, an offset of χ, comes last: a ppb of it is left.
    assert float((found[0] - para).abs().max()) < 0.0025
    assert float((found[1] - dia).abs().max()) < 0.0025
    offset = (found - torch.stack((para, dia)))[:, brain].mean(1)
    assert float((found[:, brain] - torch.stack((para, dia))[:, brain] - offset[:, None]).std()) < 0.0005
    assert not found[:, ~brain].any()


def test_noise_hurts_less_than_in_the_voxelwise_separation_even_of_the_true_susceptibility() -> None:
    para, dia, brain = head()
    field = local_field(para - dia) + noise(0.002, 1)
    total = (para + dia + noise(0.0073, 2)).clamp(min=0)
    levels = {"field_noise_ppm": 0.002 * brain, "sum_noise_ppm": 0.0073 * brain}
    found = separate(field, total, brain, 0.0, **levels)
    ideal = null_separation((para - dia) * brain, total * brain)
    usual = null_separation(tkd(field * brain, Dipole.of(GRID)) * brain, total * brain)
    for ours, best, other, truth in zip(found, ideal, usual, (para, dia), strict=True):
        error = nrmse(ours, truth, brain)
        assert error < 0.6 * nrmse(best, truth, brain)
        assert error < 0.5 * nrmse(other, truth, brain)


def test_iron_stays_out_of_chi_dia_and_calcium_out_of_chi_para() -> None:
    para, dia, brain = head()
    field = local_field(para - dia) + noise(0.002, 3)
    total = (para + dia + noise(0.0073, 4)).clamp(min=0)
    found = separate(field, total, brain, 0.0, field_noise_ppm=0.002 * brain, sum_noise_ppm=0.0073 * brain)
    iron, calcium = para > 0.1, dia > 0.08
    assert abs(float((found[1] - dia)[iron].mean())) < 0.006
    assert abs(float((found[0] - para)[calcium].mean())) < 0.006
    assert float(found[0][iron].mean()) == pytest.approx(float(para[iron].mean()), rel=0.06)
    assert float(found[1][calcium].mean()) == pytest.approx(float(dia[calcium].mean()), rel=0.08)


def test_what_background_removal_left_goes_to_sources_outside() -> None:
    para, dia, brain = head()
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)]
    x, y, _ = torch.meshgrid(*axes, indexing="ij")
    left = 0.0002 * x + 0.0001 * y
    truth = torch.stack((para, dia))

    def error(outside_ppm: float) -> float:
        found = separate(local_field(para - dia) + left, para + dia, brain, 0.001, outside_ppm=outside_ppm)
        return float((found - truth)[:, brain].square().mean().sqrt())

    assert error(0.1) < 0.7 * error(0.0)


def test_a_region_with_a_large_field_noise_has_no_say() -> None:
    para, dia, brain = head()
    wrong = torch.zeros(GRID.shape, dtype=torch.bool)
    wrong[12:16, 8:12, 10:14] = True
    spoilt = local_field(para - dia) + 0.3 * wrong
    believed = 0.001 * brain.float()
    doubted = torch.where(wrong & brain, torch.tensor(5.0), believed)
    errors = []
    for level in (believed, doubted):
        found = separate(spoilt, para + dia, brain, 0.0, field_noise_ppm=level, sum_noise_ppm=0.003 * brain)
        errors.append(nrmse(found[0], para, brain))
    assert errors[1] < 8.0
    assert errors[0] > 3 * errors[1]


def test_fluid_is_held_to_zero() -> None:
    para, dia, brain = head()
    fluid = torch.zeros(GRID.shape)
    fluid[12:17, 20:24, 10:14] = 1
    found = separate(local_field(para - dia), para + dia, brain, 0.003, zero=fluid, zero_ppm=0.0002)
    free = separate(local_field(para - dia), para + dia, brain, 0.003)
    inside = (fluid > 0) & brain
    assert float(found[:, inside].max()) < 0.002
    assert float(free[:, inside].mean()) > 0.01


def test_a_map_that_agrees_is_evidence_and_one_that_does_not_is_none() -> None:
    para, dia, brain = head()
    field, total = local_field(para - dia) + noise(0.006, 5), (para + dia + noise(0.01, 6)).clamp(min=0)
    truth = torch.stack((para, dia))
    levels = {"field_noise_ppm": 0.006 * brain, "sum_noise_ppm": 0.01 * brain}

    def error(found: Joint) -> float:
        return float((found.maps - truth)[:, brain].square().mean().sqrt())

    alone = separate_fully(field, total, brain, 0.0, **levels)
    assert alone.difference_ppm is None
    # The offset of a χ map means nothing, and must not matter.
    good = separate_fully(field, total, brain, 0.0, chi_ppm=para - dia + 0.02 + noise(0.002, 7), **levels)
    assert good.difference_ppm is not None
    assert good.chi_error_ppm == pytest.approx(2 * good.difference_ppm)
    assert error(good) < 0.9 * error(alone)
    bad = separate_fully(field, total, brain, 0.0, chi_ppm=noise(0.05, 8), **levels)
    assert bad.difference_ppm is not None
    assert bad.difference_ppm > 0.03
    assert bad.chi_error_ppm is None


def test_ends_when_the_maps_stand_still_and_stops_when_told() -> None:
    para, dia, brain = head()
    field, seen = local_field(para - dia), []
    separate(field, para + dia, brain, 0.002, iterations=150, tolerance=0.003, progress=seen.append)
    assert 0.6 < seen[-1] < 0.8
    assert seen == sorted(seen)

    def stop(fraction: float) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        separate(field, para + dia, brain, 0.002, progress=stop)


def test_the_nearest_sources_are_the_best_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (6, 7, 8)
    wanted = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    total, weight, weight_chi, pull = torch.rand(4, *shape, generator=generator, dtype=torch.float64) * 3
    chi = torch.randn(shape, generator=generator, dtype=torch.float64)
    rho = 0.7

    def cost(maps: torch.Tensor) -> torch.Tensor:
        misfit = weight * (maps.sum(0) - total) ** 2 + weight_chi * (maps[0] - maps[1] - chi) ** 2
        return misfit + pull * maps.square().sum(0) + rho * (maps - wanted).square().sum(0)

    best = nearest_sources(wanted, total, weight, chi, weight_chi, pull, rho)
    assert (best >= 0).all()
    assert (best[0] == 0).any()
    assert (best[1] == 0).any()
    for _ in range(200):
        step = 0.05 * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        assert (cost((best + step).clamp(min=0)) >= cost(best) - 1e-12).all()


def test_the_bend_is_the_adjoint_of_the_jumps_and_what_the_spectrum_says() -> None:
    spectrum = Spectrum.of((12, 15, 10), GRID.voxel_size_mm, 6.0)
    x, y = torch.randn(2, 2, *spectrum.padded, generator=torch.Generator().manual_seed(0))
    free = torch.zeros(2, *spectrum.padded)

    def bent(maps: torch.Tensor) -> torch.Tensor:
        return _bend(maps, [torch.zeros_like(maps) for _ in range(3)], free, spectrum)

    assert float((x * bent(y)).sum()) == pytest.approx(float((y * bent(x)).sum()), rel=1e-4)
    assert float((x * bent(x)).sum()) > 0
    mean = (2.0 * 1.8 * 2.4) ** (1 / 3)
    multiplied = mean**2 * laplacian_spectrum(spectrum) * torch.fft.rfftn(x, dim=(-3, -2, -1))
    expected = torch.fft.irfftn(multiplied, s=spectrum.padded, dim=(-3, -2, -1))
    torch.testing.assert_close(bent(x), expected, atol=1e-4, rtol=1e-4)


def test_an_edge_of_the_given_height_weighs_half_on_both_of_its_sides() -> None:
    spectrum = Spectrum.of((10, 10, 10), (1.0, 1.0, 1.0))
    step = torch.zeros(10, 10, 10)
    step[5:] = 0.04
    weight = edge_weight(step, 0.04, spectrum)
    assert weight[4, 5, 5] == pytest.approx(0.5)
    assert weight[5, 5, 5] == pytest.approx(0.5)
    assert weight[3, 5, 5] == weight[6, 5, 5] == 1
