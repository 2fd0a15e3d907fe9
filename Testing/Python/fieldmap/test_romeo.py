from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import GreData, Grid, Mask
from QSMReconLib.errors import InputError
from QSMReconLib.fieldmap.romeo import Romeo, romeo
from QSMReconLib.fieldmap.unwrap import TURN, wrap
from QSMReconLib.runtime import Runtime

TIMES_S = (0.005, 0.012, 0.019, 0.026)


def scan(
    noise: float = 0.02, constant_hz: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Wrapped phase, magnitude, mask and the true phase of four echoes."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in (28, 25, 22)], indexing="ij")
    mask = x**2 + y**2 + z**2 < 0.9
    field_hz = 80 * (x**2 - y**2) + 60 * x * z + constant_hz
    times = torch.tensor(TIMES_S)[:, None, None, None]
    true = TURN * field_hz * times
    generator = torch.Generator().manual_seed(0)
    rough = noise * torch.randn(2, *true.shape, generator=generator)
    signal = torch.polar(torch.exp(-20 * times) * (1 + 0.2 * x), true) + torch.complex(rough[0], rough[1])
    return signal.angle(), signal.abs(), mask, true


@pytest.mark.parametrize("template", [1, 2, 4])
def test_every_echo_is_unwrapped_whichever_the_template(template: int) -> None:
    phase, magnitude, mask, true = scan()
    unwrapped, quality = romeo(phase, magnitude, TIMES_S, mask, template)
    assert float((unwrapped - true)[:, mask].abs().max()) < 1.0
    assert not unwrapped[:, ~mask].any()
    assert float(quality[mask].median()) > 0.5
    turns = (unwrapped - phase)[:, mask] / TURN
    assert torch.allclose(turns, turns.round(), atol=1e-4)


@pytest.mark.parametrize("constant_hz", [150.0, -170.0])
def test_a_field_far_from_the_scanners_frequency_keeps_its_turns(constant_hz: float) -> None:
    """At 150 Hz the whole first echo is 0.75 turns on; the second echo tells which turn it is."""
    phase, magnitude, mask, true = scan(constant_hz=constant_hz)
    unwrapped, _ = romeo(phase, magnitude, TIMES_S, mask)
    assert float((unwrapped - true)[:, mask].abs().max()) < 1.0


def test_a_single_echo_is_unwrapped_in_space() -> None:
    phase, magnitude, mask, true = scan()
    unwrapped, _ = romeo(phase[3:], magnitude[3:], TIMES_S[3:], mask)
    apart = (unwrapped[0] - true[3])[mask]
    assert float(apart.max() - apart.min()) < 1.0


def test_wild_noise_in_one_echo_does_not_spread_to_the_others() -> None:
    phase, magnitude, mask, true = scan()
    generator = torch.Generator().manual_seed(1)
    phase[2] = wrap(TURN * torch.rand(phase[2].shape, generator=generator))
    magnitude[2] = 0.01
    unwrapped, _ = romeo(phase, magnitude, TIMES_S, mask)
    assert float((unwrapped - true)[:2, mask].abs().max()) < 1.0
    assert float((unwrapped - true)[3, mask].abs().max()) < 1.0


def test_a_template_that_is_not_there_is_refused() -> None:
    phase, magnitude, mask, _ = scan()
    grid = Grid.centred((28, 25, 22))
    gre = GreData(grid, magnitude, phase, TIMES_S, 3.0)
    with pytest.raises(InputError, match=r"romeo\.template is 5, but the scan has 4 echoes"):
        Romeo(template=5).apply(gre, Mask(grid, mask), Runtime())
