"""NDI: descent on its cost, the wraps it ignores, where it stops."""

from __future__ import annotations

from math import pi

import torch

from QSMReconLib.inversion.ndi import ndi
from QSMReconLib.physics.dipole import Dipole

S = 5.0


def cost(found: torch.Tensor, field: torch.Tensor, dipole: Dipole, weight: torch.Tensor) -> float:
    return float((weight * (1 - torch.cos(S * (dipole.field(found) - field))) / S**2).sum())


def test_a_step_goes_down_the_slope_of_the_cost(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    weight = mask.double()
    double = Dipole(dipole.spectrum, dipole.kernel.double())
    field = double.field(3 * chi.double()) * mask
    generator = torch.Generator().manual_seed(0)
    at, way = (0.1 * torch.randn(mask.shape, generator=generator, dtype=torch.float64) * mask for _ in range(2))
    moved = ndi(field, double, weight, S, step=1.0, shrinkage=0.0, iterations=1, start=at)
    slope = float(((at - moved) * way).sum())
    ends = [cost(at + h * way, field, double, weight) for h in (1e-4, -1e-4)]
    assert abs(slope - (ends[0] - ends[1]) / 2e-4) < 1e-5 * max(abs(slope), 1e-3)


def test_lessens_its_cost_and_finds_boxes(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field, weight = dipole.field(chi) * mask, mask.float()
    found = [ndi(field, dipole, weight, S, iterations=n) for n in (5, 20, 80)]
    costs = [cost(one, field, dipole, weight) for one in found]
    assert costs[0] > costs[1] > costs[2]
    wrong = [float((one - chi)[mask].norm() / chi[mask].norm()) for one in found]
    assert wrong[2] < wrong[0]
    assert wrong[2] < 0.3
    assert torch.allclose(ndi(-field, dipole, weight, S, iterations=5), -found[0], atol=1e-6)


def test_whole_turns_and_voxels_of_no_weight_do_not_matter(
    dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor
) -> None:
    field, weight = dipole.field(chi) * mask, mask.float()
    turned = field.clone()
    turned[17:20, 8:11, 6:9] += 2 * pi / S
    right = ndi(field, dipole, weight, S, iterations=10)
    assert torch.allclose(right, ndi(turned, dipole, weight, S, iterations=10), atol=1e-4)
    weight[12, 12, 10] = 0
    spoiled = field.clone()
    spoiled[12, 12, 10] = 7.0
    assert torch.equal(*(ndi(f, dipole, weight, S, iterations=10) for f in (field, spoiled)))


def test_goes_on_from_a_start_and_stops_by_its_tolerance(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field, weight, seen = dipole.field(chi) * mask, mask.float(), list[float]()
    first = ndi(field, dipole, weight, S, iterations=4)
    assert torch.allclose(
        ndi(field, dipole, weight, S, iterations=3, start=first), ndi(field, dipole, weight, S, iterations=7), atol=1e-6
    )
    ndi(field, dipole, weight, S, tolerance=0.02, iterations=200, progress=seen.append)
    assert 5 < len(seen) < 60
    assert seen == sorted(seen)
