from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Grid, R2StarMap
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.r2primefromr2star import R2PrimeFromR2Star, two_slopes

GRID = Grid.centred((4, 3, 2))


def guessed(rate: torch.Tensor, runtime: Runtime, tesla: float = 3.0, **options: float | str) -> torch.Tensor:
    made = R2PrimeFromR2Star(**options).apply(R2StarMap(GRID, rate, tesla), runtime)  # type: ignore[arg-type]
    assert made.field_strength_t == tesla
    return made.r2prime_hz


def test_two_slopes_meet_at_the_knee_and_never_exceed_the_decay() -> None:
    rate = torch.tensor([-1.0, 0.0, 8.0, 16.0, 36.0, 100.0])
    found = two_slopes(rate)
    assert found.tolist() == pytest.approx([0.0, 0.0, 2.24, 4.48, 15.98, 52.78], abs=1e-4)
    assert (found <= rate.clamp(min=0)).all()


def test_each_rule_is_what_its_options_say_and_is_said_to_be_an_approximation() -> None:
    rate = torch.linspace(0, 60, 24).reshape(GRID.shape)
    for options, expected in (
        ({"method": "two-slopes"}, two_slopes(rate)),
        ({"method": "pseudo-r2", "r2_hz": 12.0}, (rate - 12).clamp(min=0)),
        ({"method": "scaling", "share": 0.5}, rate / 2),
    ):
        runtime = Runtime()
        torch.testing.assert_close(guessed(rate, runtime, **options), expected)  # type: ignore[arg-type]
        assert len(runtime.notes) == 1
        assert "approximate" in runtime.notes[0]


def test_a_field_strength_other_than_three_tesla_is_said() -> None:
    runtime = Runtime()
    guessed(torch.full(GRID.shape, 20.0), runtime, tesla=7.0)
    assert "7 T" in runtime.notes[1]
