import math

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.networks.uncertainty import FEATURES, evidence, standard_error
from QSMReconLib.physics.dipole import Dipole

GRID = Grid.centred((28, 25, 22), (1.0, 0.8, 2.0), (0.0, 0.3, 0.9539))
DIPOLE = Dipole.of(GRID)
ONES = dict.fromkeys((*FEATURES, "constant"), 0.0)


def _case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """χ, a field with some noise, and the weights."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.zeros(GRID.shape)
    weight[3:-3, 3:-3, 2:-2] = 1
    coarse = torch.randn(1, 1, 7, 6, 6, generator=generator)
    chi = 0.05 * torch.nn.functional.interpolate(coarse, GRID.shape, mode="trilinear")[0, 0] * weight
    noise = 1e-3 * torch.randn(GRID.shape, generator=generator)
    return chi, (DIPOLE.field(chi) + noise) * weight, weight


def test_every_voxel_of_the_mask_has_every_feature() -> None:
    chi, field, weight = _case()
    features, scale = evidence(chi, field, weight, DIPOLE)
    assert features.shape == (int((weight > 0).sum()), len(FEATURES))
    assert torch.isfinite(features).all()
    assert 1e-3 < scale < 0.05
    of = dict(zip(FEATURES, features.T, strict=True))
    assert float(of["shape"].max()) == pytest.approx(math.log(2.0 / 0.8))
    assert float(of["inside"].min()) < 0.5 < float(of["inside"].max()) == pytest.approx(1.0)


@pytest.mark.parametrize("factor", [4.0, -1.0])
def test_a_field_so_many_times_as_large_is_as_many_times_as_uncertain(factor: float) -> None:
    chi, field, weight = _case()
    coefficients = ONES | {"step": 0.3, "contrast": 0.5, "noise": -0.2, "misfit": 0.1, "constant": 1.0}
    one = standard_error(chi, field, weight, DIPOLE, coefficients)
    other = standard_error(factor * chi, factor * field, weight, DIPOLE, coefficients)
    assert torch.allclose(other, abs(factor) * one, rtol=2e-3)
    assert not one[weight == 0].any()
    assert float(one[weight > 0].min()) > 0


def test_with_the_constant_alone_it_is_the_same_everywhere() -> None:
    chi, field, weight = _case()
    _, scale = evidence(chi, field, weight, DIPOLE)
    found = standard_error(chi, field, weight, DIPOLE, ONES | {"constant": math.log(0.5)})
    assert torch.allclose(found[weight > 0], torch.tensor(0.5 * scale))


def test_a_field_that_the_map_does_not_explain_is_seen_where_it_is() -> None:
    chi, field, weight = _case()
    spoiled = field.clone()
    spoiled[8:11, 8:11, 8:11] += 0.05
    features = {}
    for name, f in (("right", field), ("spoiled", spoiled)):
        volume = torch.zeros(GRID.shape)
        volume[weight > 0] = evidence(chi, f, weight, DIPOLE)[0][:, FEATURES.index("step")]
        features[name] = volume
    rise = (features["spoiled"] - features["right"])[weight > 0]
    there = (features["spoiled"] - features["right"])[9, 9, 9]
    assert float(there) > 1.0
    assert float(there) > float(rise.median()) + 0.8
