from __future__ import annotations

import pytest
import torch

from QSMReconLib.fieldmap.noise import field_noise, signal_noise

SHAPE = (30, 28, 26)


@pytest.mark.parametrize("sigma", [1e-6, 0.5, 40.0])
def test_the_noise_is_found_under_contrast_and_phase(sigma: float) -> None:
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    magnitude = 50 * sigma * (1 + 0.5 * (x > 0) + 0.3 * y)
    generator = torch.Generator().manual_seed(0)
    rough = sigma * torch.randn(2, *SHAPE, generator=generator)
    signal = torch.polar(magnitude, 4 * x * y + 3 * z) + torch.complex(rough[0], rough[1])
    found = signal_noise(signal.abs(), signal.angle(), torch.ones(SHAPE))
    assert found == pytest.approx(sigma, rel=0.1)


def test_there_is_none_without_voxels_and_none_in_a_constant() -> None:
    one = torch.ones(SHAPE)
    assert signal_noise(one, 0 * one, 0 * one) == 0
    assert signal_noise(one, 0 * one, one) == 0


def test_a_single_slice_will_do() -> None:
    rough = torch.randn(2, 60, 60, 1, generator=torch.Generator().manual_seed(0))
    signal = torch.complex(10 + rough[0], rough[1])
    assert signal_noise(signal.abs(), signal.angle(), torch.ones(60, 60, 1)) == pytest.approx(1.0, rel=0.1)


def test_a_scan_without_noise_does_not_weigh_infinitely() -> None:
    one = torch.ones(2, *SHAPE)
    deviation, unreliable = field_noise(0 * one[0], 0 * one, one, (0.01, 0.02), one[0], (1.0, 1.0, 1.0))
    assert float(deviation.min()) == pytest.approx(1e-3 / (0.01**2 + 0.02**2) ** 0.5)
    assert not unreliable.any()


def test_an_empty_mask_has_no_noise() -> None:
    one = torch.ones(2, *SHAPE)
    deviation, unreliable = field_noise(one[0], one, one, (0.01, 0.02), 0 * one[0], (1.0, 1.0, 1.0), one[0])
    assert not deviation.any()
    assert not unreliable.any()


def test_nothing_but_noise_is_unreliable() -> None:
    rough = torch.randn(2, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    signal = torch.complex(rough[0], rough[1])
    times = (0.01, 0.02, 0.03)
    _, unreliable = field_noise(
        torch.zeros(SHAPE), signal.angle(), signal.abs(), times, torch.ones(SHAPE), (1.0, 1.0, 1.0)
    )
    assert unreliable.float().mean() > 0.99
