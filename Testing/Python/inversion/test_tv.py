"""Total variation: what it recovers, what it ignores, and how it scales."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from QSMReconLib.data import Artifact, ChiMap, FieldNoise, LocalField
from QSMReconLib.inversion.tv import Tv
from QSMReconLib.inversion.tv import tv as padded_tv
from QSMReconLib.inversion.weights import data_weight
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime


def tv(field: torch.Tensor, dipole: Dipole, **options: Any) -> torch.Tensor:
    x, y, z = field.shape
    return padded_tv(field, dipole, **options)[:x, :y, :z]


def error(found: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    found, truth = found[mask] - found[mask].mean(), truth[mask] - truth[mask].mean()
    return float((found - truth).norm() / truth.norm())


def test_recovers_boxes_from_a_field_known_everywhere(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    found = tv(dipole.field(chi), dipole, regularisation=1e-5, iterations=200, tolerance=0)
    assert error(found, chi, mask) < 0.03
    assert float(found[17:21, 20:23, 12:16].mean() - found[5:7, 6:8, 5:7].mean()) == pytest.approx(-0.06, abs=0.004)


def test_a_field_known_only_inside_is_best_asked_only_there(
    dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor
) -> None:
    field = dipole.field(chi) * mask
    everywhere = tv(field, dipole, regularisation=1e-5, iterations=200, tolerance=0)
    inside = tv(field, dipole, regularisation=1e-5, iterations=200, tolerance=0, data_weight=mask.float())
    assert error(inside, chi, mask) < 0.05
    assert error(inside, chi, mask) < 0.5 * error(everywhere, chi, mask)


def test_voxels_of_no_weight_do_not_count(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    weight = mask.float()
    weight[12, 12, 10] = 0
    field = dipole.field(chi) * mask
    spoiled = field.clone()
    spoiled[12, 12, 10] = 7.0
    one, other = (tv(f, dipole, iterations=20, data_weight=weight) for f in (field, spoiled))
    assert torch.equal(one, other)


def test_scales_with_the_field_and_the_weight(dipole: Dipole, mask: torch.Tensor, chi: torch.Tensor) -> None:
    field = dipole.field(chi) * mask
    once = tv(field, dipole, regularisation=1e-4, iterations=15, tolerance=0, data_weight=mask.float())
    minus_twice = tv(-2 * field, dipole, regularisation=2e-4, iterations=15, tolerance=0, data_weight=mask.float())
    assert torch.allclose(minus_twice, -2 * once, atol=1e-6)


def test_stops_by_its_tolerance(dipole: Dipole, chi: torch.Tensor) -> None:
    seen: list[float] = []
    tv(dipole.field(chi), dipole, tolerance=0.05, iterations=100, progress=seen.append)
    assert 3 < len(seen) < 60
    assert seen == sorted(seen)


def test_noise_decides_how_much_a_voxel_counts() -> None:
    mask = torch.tensor([True, True, True, True, True, True, False])
    trusted = data_weight(mask, 1e-3 * torch.tensor([0.5, 1.0, 1.0, 6.0, 30.0, 800.0, 1.0]))
    assert trusted.tolist() == pytest.approx([1.0, 1.0, 1.0, 10 / 45, 0.1 * 100 / 109, 0.1 / 65, 0.0], rel=0.01)
    assert data_weight(mask, None).tolist() == [1, 1, 1, 1, 1, 1, 0]


def test_the_stage_uses_noise_when_it_is_there(small_head: dict[type[Artifact], Artifact]) -> None:
    local, noise = small_head[LocalField], small_head[FieldNoise]
    assert isinstance(local, LocalField)
    assert isinstance(noise, FieldNoise)
    spoiled = local.field_ppm.clone()
    spoiled[16, 18, 13] += 1.0
    sigma = noise.noise_ppm.clone()
    sigma[16, 18, 13] = 1.0
    given = {LocalField: LocalField(local.grid, spoiled, local.mask), FieldNoise: FieldNoise(local.grid, sigma)}
    truth = small_head[ChiMap]
    assert isinstance(truth, ChiMap)
    errors = []
    for artifacts in (given, {LocalField: given[LocalField]}):
        (found,) = Tv().run(artifacts, Runtime())
        assert isinstance(found, ChiMap)
        errors.append(error(found.chi_ppm, truth.chi_ppm, local.mask))
    assert errors[0] < 0.35
    assert errors[0] < 0.5 * errors[1]
