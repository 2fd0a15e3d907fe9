import pytest
import torch

from QSMReconLib.physics.dipole import dipole_kernel
from QSMReconLib.physics.fourier import Spectrum
from QSMReconLib.training.losses import chi_loss, l1_loss

SPECTRUM = Spectrum.of((12, 14, 10), (1.0, 1.0, 1.0), 4.0)
KERNEL = dipole_kernel(SPECTRUM, (0.0, 0.0, 1.0))


def _truth() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = 0.05 * torch.randn(2, 1, 12, 14, 10, generator=generator)
    weight = torch.zeros_like(truth)
    weight[..., 2:10, 2:12, 2:8] = 0.7
    return truth * (weight > 0), weight


def test_the_truth_costs_nothing_and_a_flat_map_costs_what_the_terms_add_up_to() -> None:
    truth, weight = _truth()
    assert float(chi_loss([truth], truth, weight, KERNEL, SPECTRUM)) == pytest.approx(0.0, abs=1e-4)
    flat = float(chi_loss([torch.zeros_like(truth)], truth, weight, KERNEL, SPECTRUM, 0.5, 0.1))
    assert flat == pytest.approx(2.6, abs=0.05)


def test_against_a_start_every_case_counts_the_same() -> None:
    truth, weight = _truth()
    generator = torch.Generator().manual_seed(1)
    error = 0.02 * torch.randn(truth.shape, generator=generator)
    for size in (1.0, 0.3):
        start = truth + size * error
        no_better = float(chi_loss([start], truth, weight, KERNEL, SPECTRUM, 0.5, 0.1, start))
        halved = float(chi_loss([truth + 0.5 * size * error], truth, weight, KERNEL, SPECTRUM, 0.5, 0.1, start))
        assert no_better == pytest.approx(2.6, rel=1e-3)
        assert halved == pytest.approx(1.3, rel=1e-3)
    # A start that is right already does not make every deviation infinitely bad.
    assert float(chi_loss([truth + 0.01 * error], truth, weight, KERNEL, SPECTRUM, 0.5, 0.1, truth)) < 1


def test_it_does_not_see_what_is_outside_the_mask() -> None:
    truth, weight = _truth()
    wild = truth + 5.0 * (weight == 0)
    assert float(chi_loss([wild], truth, weight, KERNEL, SPECTRUM)) == pytest.approx(0.0, abs=1e-4)


def test_it_is_relative_to_the_contrast_of_each_case() -> None:
    truth, weight = _truth()
    guess = 0.6 * truth
    small = chi_loss([guess], truth, weight, KERNEL, SPECTRUM)
    large = chi_loss([4 * guess], 4 * truth, weight, KERNEL, SPECTRUM)
    assert float(large) == pytest.approx(float(small), rel=1e-4)


def test_earlier_steps_count_half_as_much_each() -> None:
    truth, weight = _truth()
    guess = 0.5 * truth
    last = float(chi_loss([truth, guess], truth, weight, KERNEL, SPECTRUM, consistency=0.0))
    first = float(chi_loss([guess, truth], truth, weight, KERNEL, SPECTRUM, consistency=0.0))
    assert first == pytest.approx(0.5 * last, rel=1e-3)


def test_a_field_that_does_not_fit_costs_more_than_one_that_does() -> None:
    truth, weight = _truth()
    spectrum = SPECTRUM.to_k(0.02 * torch.ones_like(truth) * (weight > 0))
    invisible = SPECTRUM.from_k(torch.where(KERNEL.abs() < 0.05, spectrum, 0.0))
    visible = SPECTRUM.from_k(torch.where(KERNEL.abs() > 0.25, spectrum, 0.0))
    visible = visible * invisible.norm() / visible.norm()
    costs = []
    for error in (invisible, visible):
        with_field = chi_loss([truth + error], truth, weight, KERNEL, SPECTRUM, 0.0, 1.0)
        without = chi_loss([truth + error], truth, weight, KERNEL, SPECTRUM, 0.0, 0.0)
        costs.append(float(with_field - without))
    assert costs[1] > 1.5 * costs[0]


def test_the_l1_loss_is_the_mean_error_inside_the_mask_in_its_unit() -> None:
    truth, weight = _truth()
    off = truth + torch.where(weight > 0, 0.016, 7.0)
    assert float(l1_loss(off, truth, weight, 0.032)) == pytest.approx(0.5, rel=1e-4)
