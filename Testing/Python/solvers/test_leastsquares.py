from __future__ import annotations

import pytest
import torch

from QSMReconLib.solvers.leastsquares import fitted


def test_amounts_are_found_and_weights_count() -> None:
    basis = torch.randn(5, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    amounts = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0], dtype=torch.float64)
    values = amounts @ basis
    assert fitted(basis, values).tolist() == pytest.approx(amounts.tolist(), abs=1e-7)
    weight = torch.ones(400)
    values[::7], weight[::7] = 100.0, 0.0
    assert fitted(basis, values, weight).tolist() == pytest.approx(amounts.tolist(), abs=1e-7)


def test_terms_that_are_the_same_share() -> None:
    line = torch.linspace(-1, 1, 50, dtype=torch.float64)
    assert fitted(torch.stack([line, line]), 4 * line).tolist() == pytest.approx([2.0, 2.0], rel=1e-6)


def test_of_nothing_there_is_nothing() -> None:
    assert not fitted(torch.zeros(3, 10, dtype=torch.float64), torch.ones(10)).any()
