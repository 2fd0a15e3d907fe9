from dataclasses import replace

import pytest
import torch

from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.shapes import Dice
from QSMReconLib.training.simulator import Sample, Simulator, stacked
from QSMReconLib.training.simulatorconfig import SimulatorConfig

PLAIN = SimulatorConfig(
    sizes=(32,), thick_slices=0.0, noise_free=1.0, harmonic=0.0, wrapped=0.0, eroded=0.0, known_noise=0.0
)


def test_a_sample_is_the_same_on_every_run_and_differs_from_the_next(ball_anatomy: Anatomy) -> None:
    config = SimulatorConfig(sizes=(32,))
    one, again = (Simulator(ball_anatomy, config, seed=7).sample(11) for _ in range(2))
    assert torch.equal(one.field_ppm, again.field_ppm)
    assert torch.equal(one.chi_ppm, again.chi_ppm)
    other = Simulator(ball_anatomy, config, seed=7).sample(12)
    assert one.chi_ppm.shape != other.chi_ppm.shape or not torch.equal(one.chi_ppm, other.chi_ppm)


@pytest.mark.parametrize("number", range(4))
def test_without_disturbances_the_field_is_the_dipole_field_of_chi(ball_anatomy: Anatomy, number: int) -> None:
    sample = Simulator(ball_anatomy, replace(PLAIN, axial=0.0), seed=1).sample(number)
    expected = sample.spectrum.from_k(sample.kernel * sample.spectrum.to_k(sample.chi_ppm)) * sample.mask
    assert torch.allclose(sample.field_ppm, expected, atol=1e-6)
    assert float(expected.abs().max()) > 1e-3


def test_everything_is_finite_consistent_and_zero_outside(ball_anatomy: Anatomy) -> None:
    simulator = Simulator(ball_anatomy, SimulatorConfig(sizes=(32, 40)), seed=2)
    for number in range(25):
        sample = simulator.sample(number)
        for volume in _volumes(sample):
            assert torch.isfinite(volume).all()
            assert not volume[sample.mask == 0].any()
        assert torch.allclose(sample.chi_ppm, sample.chi_para_ppm - sample.chi_dia_ppm, atol=1e-6)
        assert float(sample.chi_para_ppm.min()) >= 0
        assert float(sample.chi_dia_ppm.min()) >= 0
        assert float(sample.r2prime_hz.min()) >= 0
        assert float(sample.r2_hz.min()) >= 0
        assert float(sample.measured_r2star_hz.min()) >= 0
        assert float(sample.weight.max()) <= 1
        assert float(sample.mask.mean()) > 0.05
        assert all(n % 8 == 0 for n in sample.mask.shape)
        assert sum(c * c for c in sample.b0_direction) == pytest.approx(1.0)


def test_thick_slices_are_means_of_thin_ones(ball_anatomy: Anatomy) -> None:
    config = replace(PLAIN, thick_slices=1.0)
    for number in range(3):
        sample = Simulator(ball_anatomy, config, seed=3).sample(number)
        assert sample.spectrum.voxel_size_mm[2] >= 1.6
        field = sample.spectrum.from_k(sample.kernel * sample.spectrum.to_k(sample.chi_ppm)) * sample.mask
        # The field within a thick voxel is not quite that of its mean χ, but nearly.
        assert 1e-4 < float((field - sample.field_ppm).norm() / sample.field_ppm.norm()) < 0.6


def test_noise_has_the_size_it_says(ball_anatomy: Anatomy) -> None:
    clean = Simulator(ball_anatomy, PLAIN, seed=4)
    noisy = Simulator(ball_anatomy, replace(PLAIN, noise_free=0.0, noise_ppb=(2.0, 2.001)), seed=4)
    ratios = []
    for number in range(12):
        a, b = clean.sample(number), noisy.sample(number)
        assert torch.equal(a.chi_ppm, b.chi_ppm)
        assert b.noise_ppm == pytest.approx(2e-3, rel=1e-3)
        ratios.append(float((b.field_ppm - a.field_ppm)[a.mask > 0].std()) / 2e-3)
    assert min(ratios) == pytest.approx(1.0, abs=0.05)  # White in half of the samples, shaded in the others.
    assert max(ratios) < 2.5


def test_wrapped_voxels_are_told_where_the_noise_is_known(ball_anatomy: Anatomy) -> None:
    config = replace(PLAIN, wrapped=1.0, known_noise=1.0)
    weights = [Simulator(ball_anatomy, config, seed=5).sample(number).weight for number in range(6)]
    assert min(float(w[w > 0].min()) for w in weights) <= 0.06


def test_a_batch_shares_its_grid_and_holds_its_samples(ball_anatomy: Anatomy) -> None:
    simulator = Simulator(ball_anatomy, SimulatorConfig(sizes=(24, 32)), seed=6)
    samples = simulator.samples(3, 3)
    assert stacked(samples, "field_ppm").shape[:2] == (3, 1)
    assert torch.equal(samples[0].chi_ppm, simulator.sample(3).chi_ppm)
    assert {sample.spectrum for sample in samples} == {simulator.sample(3).spectrum}
    assert not torch.equal(samples[0].chi_ppm, samples[1].chi_ppm)


def test_residue_of_background_removal_is_a_field_of_sources_outside_and_strongest_at_the_edge(
    ball_anatomy: Anatomy,
) -> None:
    plain = replace(PLAIN, noise_free=1.0)
    with_residue = replace(plain, residue=1.0, residue_ppb=3.0)
    sizes = []
    for number in range(5):
        clean = Simulator(ball_anatomy, plain, seed=9).sample(number)
        spoiled = Simulator(ball_anatomy, with_residue, seed=9).sample(number)
        assert torch.equal(clean.chi_ppm, spoiled.chi_ppm)
        residue = (spoiled.field_ppm - clean.field_ppm).double()
        inner = clean.mask > 0
        for _ in range(4):
            # Beyond the box is outside, too.
            inner = torch.nn.functional.avg_pool3d(inner[None, None].float(), 3, 1, 1)[0, 0] > 0.999
        if not bool(inner.any()):
            continue
        core = residue[inner].square().mean().sqrt()
        whole = residue[clean.mask > 0].square().mean().sqrt()
        assert core < 0.7 * whole
        sizes.append(float(whole) * 1e3)
    assert len(sizes) >= 3
    assert all(0.5 < size < 5.0 for size in sizes)


def test_values_are_those_of_brains(ball_anatomy: Anatomy) -> None:
    """Published spreads in a brain: field 11 ppb, χ 32, χ_para 35, χ_dia 28 (facts of χ-sepnet's training set)."""
    config = SimulatorConfig(sizes=(48,), geometric=0.0, scaled=0.0, flipped=0.0, thick_slices=0.0)
    simulator = Simulator(ball_anatomy, config, seed=8)
    spreads = {"field_ppm": [], "chi_ppm": []}
    for number in range(12):
        sample = simulator.sample(number)
        for name, found in spreads.items():
            found.append(float(getattr(sample, name)[sample.mask > 0].std()))
    median = {name: sorted(found)[len(found) // 2] for name, found in spreads.items()}
    assert 0.003 < median["field_ppm"] < 0.02
    assert 0.012 < median["chi_ppm"] < 0.06


def test_the_template_has_every_nucleus_in_the_brain() -> None:
    pytest.importorskip("nilearn")
    anatomy = Anatomy.load()
    assert anatomy.channels.shape[0] == 12
    brain, grey, white = anatomy.channels[:3]
    assert float(brain.mean()) == pytest.approx(0.44, abs=0.05)
    assert float((grey + white).max()) <= 1.02
    for nucleus in anatomy.channels[4:]:
        assert float(nucleus.sum()) > 200
        assert float((nucleus * brain).sum() / nucleus.sum()) > 0.99


def test_decay_follows_the_sources_but_not_exactly(ball_anatomy: Anatomy) -> None:
    """Without variation R2′ is Dr times the sources; with it the closed form is only near."""
    fixed = replace(PLAIN, dr_varies=0.0, decay_noise_free=1.0)
    exact = Simulator(ball_anatomy, fixed, seed=3).sample(0)
    sources = exact.chi_para_ppm + exact.chi_dia_ppm
    assert torch.allclose(exact.r2prime_hz, 137 * sources, rtol=1e-4, atol=1e-3)
    varied = Simulator(ball_anatomy, replace(fixed, dr_varies=0.08), seed=3).sample(0)
    inside = (varied.mask > 0) & (sources > 0.01)
    ratio = varied.r2prime_hz[inside] / (varied.chi_para_ppm + varied.chi_dia_ppm)[inside] / 137
    assert 0.02 < float(ratio.std()) < 0.2
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.2)


def test_measured_rates_scatter_by_their_noise(ball_anatomy: Anatomy) -> None:
    config = replace(PLAIN, decay_noise_free=0.0, decay_noise_hz=(2.0, 2.0))
    sample = Simulator(ball_anatomy, config, seed=4).sample(1)
    error = (sample.measured_r2star_hz - sample.r2_hz - sample.r2prime_hz)[sample.mask > 0]
    assert float(error.abs().median()) / 0.6745 == pytest.approx(2.0, rel=0.1)


def _volumes(sample: Sample) -> list[torch.Tensor]:
    names = ("field_ppm", "chi_ppm", "chi_para_ppm", "chi_dia_ppm", "r2prime_hz", "weight")
    names += ("r2_hz", "measured_r2prime_hz", "measured_r2star_hz")
    return [getattr(sample, name) for name in names]


def test_voxel_sizes_of_a_range_fill_it_and_consecutive_batches_differ(ball_anatomy: Anatomy) -> None:
    config = SimulatorConfig(sizes=(16,), low_mm=(0.5, 0.5, 2.0), high_mm=(1.0, 1.0, 4.0), axial=1.0)
    simulator = Simulator(ball_anatomy, config, seed=3)
    drawn = [simulator._grid(Dice(number), number)[1] for number in range(0, 1000, 2)]
    edges = torch.tensor(drawn)
    for axis, (low, high) in enumerate(zip(config.low_mm, config.high_mm, strict=True)):
        assert low <= float(edges[:, axis].min()) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < float(edges[:, axis].max()) <= high
        share = (edges[:, axis] - low) / (high - low)
        assert float((share < 0.5).float().mean()) == pytest.approx(0.5, abs=0.03)
    shares = (edges - torch.tensor(config.low_mm)) / (torch.tensor(config.high_mm) - torch.tensor(config.low_mm))
    assert float((shares[1:] - shares[:-1]).norm(dim=1).min()) > 0.3
    assert simulator.samples(4, 2)[1].spectrum.voxel_size_mm == pytest.approx(drawn[2])
    fixed = Simulator(ball_anatomy, replace(config, low_mm=(0.5, 0.5, 2.0), high_mm=(0.5, 0.5, 2.0)))
    assert all(fixed._grid(Dice(n), n)[1] == (0.5, 0.5, 2.0) for n in range(5))
