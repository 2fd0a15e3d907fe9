"""Automatic λ: on curves whose corner and whose crossing are known, and on noisy fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from QSMReconLib.data import Artifact, ChiMap, FieldNoise, GreData, LocalField
from QSMReconLib.errors import InputError
from QSMReconLib.inversion.automatic import SOLVES, TAKEN_UP, Trial, bent, choose
from QSMReconLib.inversion.medi import Medi
from QSMReconLib.inversion.tv import Tv
from QSMReconLib.runtime import Runtime

Head = dict[type[Artifact], Artifact]


def toy(corner: float, seen: list[float]) -> Callable[[float, torch.Tensor | None], Trial]:
    """An L with its corner at a known λ: below it noise makes edges, above it the misfit grows."""

    def solve(regularisation: float, start: torch.Tensor | None) -> Trial:
        assert (start is None) == (not seen)
        seen.append(regularisation)
        ratio = regularisation / corner
        return Trial(torch.tensor(regularisation), 1 + ratio**2, 1 + ratio**-2)

    return solve


@pytest.mark.parametrize("corner", [1e-5, 1e-4, 5e-4])
def test_the_corner_of_an_l(corner: float) -> None:
    seen: list[float] = []
    found, trial = choose("lcurve", toy(corner, seen), 1e-6, 1e-2, 0.0)
    assert corner / 2.5 < found < corner * 2.5
    assert float(trial.chi) == pytest.approx(found)
    assert len(seen) == SOLVES["lcurve"]


@pytest.mark.parametrize("target", [1.01, 5.0, 101.0])
def test_the_misfit_that_the_noise_is(target: float) -> None:
    seen: list[float] = []
    found, _ = choose("discrepancy", toy(1e-4, seen), 1e-6, 1e-2, target / TAKEN_UP)
    assert found == pytest.approx(1e-4 * (target - 1) ** 0.5, rel=0.1)
    assert len(seen) == SOLVES["discrepancy"]


def test_curvature_has_a_sign_and_other_ways_are_refused() -> None:
    assert bent((1, 0), (0, 0), (0, 1)) > 0
    assert bent((1, 0), (1, 1), (0, 1)) < 0
    assert bent((0, 0), (1, 1), (2, 2)) == 0
    with pytest.raises(InputError, match="choose one of"):
        choose("guess", toy(1e-4, []), 1e-6, 1e-2, 0.0)


@pytest.mark.parametrize("stage", [Tv(automatic="discrepancy"), Medi(automatic="discrepancy", csf_weight=0)])
def test_noise_asks_for_more_smoothness_and_the_choice_is_told(stage: Tv | Medi, small_head: Head) -> None:
    local, gre = small_head[LocalField], small_head[GreData]
    assert isinstance(local, LocalField)
    told = []
    for sigma in (0.001, 0.008):
        noise = sigma * torch.randn(local.grid.shape, generator=torch.Generator().manual_seed(0)) * local.mask
        given = {
            LocalField: replace(local, field_ppm=local.field_ppm + noise),
            FieldNoise: FieldNoise(local.grid, sigma * local.mask),
            GreData: gre,
        }
        runtime = Runtime()
        (made,) = stage.run(given, runtime)
        assert isinstance(made, ChiMap)
        (note,) = [note for note in runtime.notes if "λ" in note]
        told.append(float(note.split("λ = ")[1].split()[0]))
    ratio = told[1] / told[0] if isinstance(stage, Tv) else told[0] / told[1]
    assert ratio > 1.5
