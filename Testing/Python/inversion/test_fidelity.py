"""Proximal maps against a search over all fields."""

from __future__ import annotations

from math import pi

import pytest
import torch

from QSMReconLib.inversion.fidelity import absolute, quadratic, wrapping

COUPLING, S = 0.3, 5.0
WEIGHT = torch.tensor([1.0, 0.5, 0.2, 1.0, 0.0])
FIELD = torch.tensor([0.1, -0.05, 0.3, 0.0, 9.0])
WANTED = torch.tensor([0.02, 0.06, 0.1, -0.2, 0.123])
KINDS = {
    "quadratic": (quadratic(FIELD, WEIGHT, COUPLING), lambda z: 0.5 * WEIGHT * (z - FIELD) ** 2),
    "absolute": (absolute(FIELD, 0.05 * WEIGHT, COUPLING), lambda z: 0.05 * WEIGHT * (z - FIELD).abs()),
    "wrapping": (
        wrapping(FIELD, WEIGHT, COUPLING, S),
        lambda z: WEIGHT * (1 - torch.cos(S * (z - FIELD))) / S**2,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_is_the_minimum(kind: str) -> None:
    nearest, cost = KINDS[kind]
    candidates = torch.linspace(-0.5, 0.5, 20001)[:, None].expand(-1, 5)
    best = candidates[:, 0][(cost(candidates) + COUPLING / 2 * (candidates - WANTED) ** 2).argmin(0)]
    assert torch.allclose(nearest(WANTED), best, atol=3e-3)
    assert nearest(WANTED)[-1] == WANTED[-1]


def test_whole_turns_of_the_phase_do_not_matter() -> None:
    turned = FIELD + 2 * pi / S
    near, far = (wrapping(field, WEIGHT, COUPLING, S)(WANTED) for field in (FIELD, turned))
    assert torch.allclose(near, far, atol=1e-5)
    assert not torch.allclose(quadratic(FIELD, WEIGHT, COUPLING)(WANTED), quadratic(turned, WEIGHT, COUPLING)(WANTED))
