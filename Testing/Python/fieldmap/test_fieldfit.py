from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import FieldNoise, GreData, Grid, Mask, PhaseQuality, TotalField, UnwrappedPhase
from QSMReconLib.fieldmap.complexfit import ComplexFit, complex_fit
from QSMReconLib.fieldmap.fieldfit import FieldFit, weighted_rate
from QSMReconLib.physics.constants import radians_per_ppm
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage

TIMES_S = (0.005, 0.012, 0.019, 0.026)
GRID = Grid.centred((24, 22, 20), (1.0, 1.0, 2.0))
SIGMA = 0.02


def echoes(
    noise: float = SIGMA, offset_rad: float = 0.0, times_s: tuple[float, ...] = TIMES_S
) -> tuple[GreData, UnwrappedPhase, Mask, torch.Tensor]:
    """A scan at 3 T with its phase unwrapped, and its field in ppm."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in GRID.shape], indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.95
    field = 0.3 * x - 0.2 * y * z + 0.1
    times = torch.tensor(times_s)[:, None, None, None]
    true = radians_per_ppm(3.0, 1.0) * field * times + offset_rad
    generator = torch.Generator().manual_seed(0)
    rough = noise * torch.randn(2, *true.shape, generator=generator)
    apart = torch.polar(torch.exp(-20 * times).expand_as(true).contiguous(), torch.zeros_like(true))
    apart = apart + torch.complex(rough[0], rough[1])
    phase = (true + apart.angle()) * mask
    gre = GreData(GRID, apart.abs(), torch.remainder(phase + torch.pi, 2 * torch.pi) - torch.pi, times_s, 3.0)
    return gre, UnwrappedPhase(GRID, phase, times_s, 3.0), Mask(GRID, mask), field


both = pytest.mark.parametrize("stage", [FieldFit(), ComplexFit()], ids=["fieldfit", "complexfit"])


def run(stage: Stage, *given: object, quality: PhaseQuality | None = None) -> tuple[TotalField, FieldNoise]:
    made: tuple[TotalField, FieldNoise] = stage.apply(*given, runtime=Runtime(), quality=quality)
    return made


@both
def test_without_noise_the_field_is_exact_and_positive_phase_is_positive_ppm(stage: Stage) -> None:
    gre, phase, mask, field = echoes(noise=0.0)
    total, _ = run(stage, gre, phase, mask)
    assert torch.allclose(total.field_ppm, field * mask.voxels, atol=2e-6)


@both
def test_the_noise_map_is_the_scatter_of_the_field(stage: Stage) -> None:
    gre, phase, mask, field = echoes()
    total, noise = run(stage, gre, phase, mask)
    inside = mask.voxels
    error = (total.field_ppm - field)[inside]
    # σ of one part of the signal, propagated: 1/√Σ(m·TE/σ)² in radians per second.
    times = torch.tensor(TIMES_S)
    expected = SIGMA / float(((torch.exp(-20 * times) * times) ** 2).sum()) ** 0.5 / radians_per_ppm(3.0, 1.0)
    assert float(error.std()) == pytest.approx(expected, rel=0.05)
    assert float(noise.noise_ppm[inside].median()) == pytest.approx(expected, rel=0.25)
    assert not noise.noise_ppm[~inside].any()


def test_the_weighted_mean_has_least_variance() -> None:
    gre, phase, mask, field = echoes()
    inside = mask.voxels
    best = (weighted_rate(phase.phase_rad, gre.magnitude, TIMES_S) / radians_per_ppm(3.0, 1.0) - field)[inside].std()
    for echo, time in enumerate(TIMES_S):
        assert best < (phase.phase_rad[echo] / radians_per_ppm(3.0, time) - field)[inside].std()


def test_a_voxel_without_signal_has_no_field_and_no_trust() -> None:
    gre, phase, mask, _ = echoes()
    gre.magnitude[:, 12, 11, 10] = 0.0
    total, noise = run(FieldFit(), gre, phase, mask)
    assert total.field_ppm[12, 11, 10] == 0
    assert noise.noise_ppm[12, 11, 10] == noise.noise_ppm.max()


@both
def test_an_echo_a_turn_off_is_found_out(stage: Stage) -> None:
    gre, phase, mask, _ = echoes()
    phase.phase_rad[1, 12, 11, 10] += 2 * torch.pi
    _, noise = run(stage, gre, phase, mask)
    # Half a turn of the first echo: the mark of the unreliable.
    most = torch.pi / TIMES_S[0] / radians_per_ppm(3.0, 1.0)
    if isinstance(stage, FieldFit):
        assert float(noise.noise_ppm[12, 11, 10]) == pytest.approx(most)
    else:
        assert float(noise.noise_ppm[12, 11, 10]) < 0.1 * most, "a whole turn does not move a complex fit"


@both
def test_phase_that_bends_in_time_is_found_out_and_only_that(stage: Stage) -> None:
    gre, phase, mask, _ = echoes()
    bent = torch.zeros(GRID.shape, dtype=torch.bool)
    bent[8:11, 8:11, 8:11] = True
    phase.phase_rad[3, bent] += 1.2
    _, noise = run(stage, gre, phase, mask)
    marked = noise.noise_ppm > 0.5
    assert marked[bent].all()
    assert int(marked.sum()) < 3 * int(bent.sum())


def test_poor_phase_quality_marks_a_voxel() -> None:
    gre, phase, mask, _ = echoes()
    quality = 0.8 * mask.voxels
    quality[10, 10, 10] = 0.05
    _, noise = run(FieldFit(), gre, phase, mask, quality=PhaseQuality(GRID, quality))
    assert (noise.noise_ppm > 0.5).nonzero().tolist() == [[10, 10, 10]]


def test_a_jump_of_the_first_echo_marks_both_its_sides() -> None:
    gre, phase, mask, _ = echoes(times_s=(0.02,))
    phase.phase_rad[0, 12, 11, 10] += 2 * torch.pi
    _, noise = run(FieldFit(), gre, phase, mask)
    marked = noise.noise_ppm == noise.noise_ppm.max()
    assert marked[12, 11, 10]
    assert marked[11, 11, 10]
    assert int(marked.sum()) == 7


def test_a_starting_phase_left_in_is_said_and_can_be_fitted() -> None:
    gre, phase, mask, field = echoes(offset_rad=1.0)
    inside = mask.voxels
    runtime = Runtime()
    FieldFit().apply(gre, phase, mask, runtime)
    assert "mcpc3ds" in runtime.notes[0]
    total, noise = run(ComplexFit(free_offset=True), gre, phase, mask)
    error = (total.field_ppm - field)[inside]
    assert abs(float(error.mean())) < 1e-3
    assert float(error.std()) == pytest.approx(float(noise.noise_ppm[inside].median()), rel=0.35)


def test_the_complex_fit_finds_offset_and_rate_of_each_voxel() -> None:
    generator = torch.Generator().manual_seed(0)
    rate = 200 * torch.rand(50, generator=generator) - 100
    offset = 2 * torch.rand(50, generator=generator) - 1
    times = torch.tensor(TIMES_S)[:, None]
    magnitude = torch.exp(-30 * times).expand(4, 50)
    found, start = complex_fit(offset + rate * times, magnitude, TIMES_S, rate + 10, free_offset=True)
    assert torch.allclose(found, rate, atol=1e-2)
    assert torch.allclose(start, offset, atol=1e-4)


def test_the_complex_fit_takes_no_harm_from_a_turn() -> None:
    gre, phase, mask, field = echoes(noise=0.0)
    phase.phase_rad[2] += 2 * torch.pi * mask.voxels
    true = radians_per_ppm(3.0, 1.0) * field
    found, _ = complex_fit(phase.phase_rad, gre.magnitude, TIMES_S, true + 5.0)
    assert torch.allclose(found[mask.voxels], true[mask.voxels], atol=1e-2)
