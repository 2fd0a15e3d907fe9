from types import SimpleNamespace

import pytest
import torch

from QSMReconLib.background.lnqsm import LnQsm, least_norm
from QSMReconLib.data import FieldNoise, Mask, TotalField
from QSMReconLib.errors import Cancelled
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.runtime import Runtime


def test_chi_of_balls_in_the_field_of_air(head: SimpleNamespace) -> None:
    runtime = Runtime()
    noise = FieldNoise(head.grid, 1e-3 * head.mask)
    chi = LnQsm().apply(TotalField(head.grid, head.total), Mask(head.grid, head.mask), runtime, noise)
    assert bool((chi.mask == head.mask).all())
    assert not chi.chi_ppm[~head.mask].any()
    assert nrmse(chi.chi_ppm, head.chi, head.mask) < 40
    assert runtime.notes == []


def test_a_larger_weight_makes_chi_smaller_or_smoother(head: SimpleNamespace) -> None:
    def found(**weights: float) -> torch.Tensor:
        weight = head.mask.float()
        return least_norm(head.total, head.mask, head.grid, weight, steps=2, cg_iterations=20, **weights)

    def roughness(chi: torch.Tensor) -> float:
        return float(chi.diff(dim=0).abs().sum())

    plain = found()
    assert float(found(tikhonov=0.1).norm()) < 0.9 * float(plain.norm())
    assert roughness(found(regularisation=4e-3)) < 0.9 * roughness(plain)


def test_lost_regions_go(head: SimpleNamespace) -> None:
    total, noise = head.total.clone(), 0.001 * head.mask
    low = head.mask.clone()
    low[..., head.grid.shape[2] // 4 :] = False
    total[low] += 5.0
    noise[low] = 0.8
    runtime = Runtime()
    chi = LnQsm(steps=1, cg_iterations=3).apply(
        TotalField(head.grid, total), Mask(head.grid, head.mask), runtime, FieldNoise(head.grid, noise)
    )
    assert not chi.mask[low].any()
    assert ["cannot be trusted" in note for note in runtime.notes] == [True]


def test_stops_when_told(head: SimpleNamespace) -> None:
    runtime = Runtime(report=lambda *_: False)
    with pytest.raises(Cancelled):
        LnQsm().apply(TotalField(head.grid, head.total), Mask(head.grid, head.mask), runtime)
