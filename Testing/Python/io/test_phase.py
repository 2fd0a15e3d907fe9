"""Phase in every unit that scanners use, and GE's alternating slices."""

from __future__ import annotations

from math import pi

import pytest
import torch

from QSMReconLib.errors import InputError
from QSMReconLib.io.phase import RADIANS, alternating_axes, recognise_unit, undo_alternation, wrapped

NAMES = ("echo-1.nii", "echo-2.nii")


def phase() -> torch.Tensor:
    """A steep field that wraps, with noise around it, in two echoes of -π to π."""
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, 24)
    field = 9 * x[:, None, None] + 5 * x[None, :, None] ** 2 - 3 * x[None, None, :]
    noise = torch.randn(2, 24, 24, 24, generator=generator) * 0.05
    outside = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2 > 1
    stack = torch.stack([field, 2 * field]) + noise
    anything = (torch.rand(2, 24, 24, 24, generator=generator) - 0.5) * 2 * pi
    return wrapped(torch.where(outside, anything, stack))


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, as an angle."""
    return float((torch.polar(torch.ones_like(one), one) - torch.polar(torch.ones_like(other), other)).abs().max())


UNITS = {
    "radians": (lambda p: p, 0.0),
    "0 to 2π": (lambda p: p % (2 * pi), 1e-5),
    "-4096 to 4095": (lambda p: (p * 4096 / pi).round().clamp(-4096, 4095), 2e-3),
    "-4096 to 4094": (lambda p: (p * 2048 / pi).round().clamp(-2048, 2047) * 2, 4e-3),
    "0 to 4095": (lambda p: (2048 + p * 2048 / pi).round().clamp(0, 4095), 4e-3),
    "0 to 4096": (lambda p: (2048 + p * 2048 / pi).round().clamp(0, 4096), 2e-3),
    "-2048 to 2047": (lambda p: (p * 2048 / pi).round().clamp(-2048, 2047), 4e-3),
    "milliradians": (lambda p: (p * 1000).round(), 2e-3),
    "degrees": (lambda p: p * 180 / pi, 1e-5),
    "0 to 360": (lambda p: (180 + p * 180 / pi).round(), 1e-2),
    "16 bits": (lambda p: (p * 32768 / pi).round().clamp(-32768, 32767), 1e-3),
    "tiny": (lambda p: p * 0.0036743775 / pi, 2e-3),
    "small": (lambda p: p * 0.1, 2e-3),
    "large": (lambda p: p * 777.7, 2e-3),
    "odd integers": (lambda p: (p * 1500 / pi).round(), 5e-3),
    "shifted": (lambda p: p * 0.5 + 0.5 * pi, 2e-3),
}


@pytest.mark.parametrize("case", UNITS)
def test_phase_of_any_scale_becomes_radians(case: str) -> None:
    store, tolerance = UNITS[case]
    true = phase()
    stored = store(true)
    unit = recognise_unit(stored, NAMES)
    found = unit.to_radians(stored)
    assert float(found.abs().max()) <= pi * (1 + 1e-6)
    assert apart(found, true) <= tolerance
    assert (unit == RADIANS) == (stored is true)


def test_phase_that_does_not_fill_its_range_is_still_radians() -> None:
    x = torch.linspace(-0.8, 0.5, 20)[:, None, None].expand(1, 20, 12, 12)
    assert recognise_unit(x, NAMES[:1]) == RADIANS


def test_a_mask_of_zeros_is_no_wrap() -> None:
    x = torch.full((1, 16, 16, 16), 0.9)
    x[:, :8] = 0.0
    x[:, 8:, 4:] = 0.95
    assert recognise_unit(x, NAMES[:1]) == RADIANS


@pytest.mark.parametrize("scale", [1000.0, 0.001])
def test_a_smooth_phase_of_unknown_scale_is_refused(scale: float) -> None:
    x = scale * torch.linspace(-0.8, 0.5, 20)[:, None, None].expand(1, 20, 12, 12)
    with pytest.raises(InputError, match=r"echo-1\.nii .* cannot be told"):
        recognise_unit(x, NAMES[:1])


@pytest.mark.parametrize("odd", [0, 1])
def test_one_echo_in_another_unit_is_named(odd: int) -> None:
    stored = phase()
    stored[1 - odd] *= 4096 / pi
    with pytest.raises(InputError, match=rf"{NAMES[odd]} runs from .*same unit"):
        recognise_unit(stored, NAMES)


def test_an_early_echo_may_span_less() -> None:
    x = torch.linspace(-1, 1, 24)[:, None, None].expand(24, 12, 12)
    stored = torch.stack([0.4 * x, wrapped(9 * x)])
    assert recognise_unit(stored, NAMES) == RADIANS


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 2)])
def test_alternating_slices_are_found_and_put_right(axes: tuple[int, ...]) -> None:
    x = torch.linspace(-2, 2, 21)
    true = wrapped(x[:, None, None] + 0.7 * x[None, :20, None] ** 2 - x[None, None, :19])[None]
    magnitude = torch.ones_like(true)
    stored = undo_alternation(true, axes)
    assert alternating_axes(magnitude[0], stored[0]) == axes
    repaired = undo_alternation(stored, axes)
    assert apart(repaired, true) < 1e-5
    torch.testing.assert_close(stored[:, 0, 0, 0], true[:, 0, 0, 0])


def test_noise_does_not_alternate() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(20, 20, 20, generator=generator) * 2 * pi - pi
    assert alternating_axes(torch.ones_like(noise), noise) == ()


def test_wrapping_leaves_what_is_in_range_to_the_bit() -> None:
    angles = torch.tensor([-pi, -1.0, 0.0, 3.1, pi])
    assert wrapped(angles) is angles
    torch.testing.assert_close(wrapped(torch.tensor([3.5, -7.0, 1.0])), torch.tensor([3.5 - 2 * pi, 2 * pi - 7, 1.0]))
