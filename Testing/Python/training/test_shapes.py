import math

import pytest
import torch

from QSMReconLib.training.shapes import Dice, coordinates, draw_blob, draw_vessels, rotation, smooth_noise


def test_the_same_seed_gives_the_same_everything() -> None:
    one, two, other = Dice(3), Dice(3), Dice(4)
    assert one.uniform(0, 1) == two.uniform(0, 1)
    assert torch.equal(one.normal(4, 5), two.normal(4, 5))
    assert not torch.equal(two.normal(4, 5), other.normal(4, 5))


def test_spread_stays_within_and_chance_is_as_often_as_said() -> None:
    dice = Dice(0)
    drawn = [dice.spread(0.5, 8) for _ in range(2000)]
    assert min(drawn) >= 0.5
    assert max(drawn) <= 8
    assert sum(value < 2 for value in drawn) / 2000 == pytest.approx(0.5, abs=0.05)
    assert sum(dice.chance(0.2) for _ in range(2000)) / 2000 == pytest.approx(0.2, abs=0.04)


def test_a_rotation_keeps_lengths_and_handedness() -> None:
    turn = torch.tensor(rotation(Dice(5), 60))
    assert torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-6)
    assert float(torch.linalg.det(turn)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("scale_mm", [3.0, 12.0])
def test_smooth_noise_has_unit_size_and_its_own_scale(scale_mm: float) -> None:
    noise = smooth_noise(Dice(1), (61, 64, 40), (1.0, 1.0, 1.5), scale_mm, 4)
    assert noise.shape == (4, 61, 64, 40)
    assert float(noise.std()) == pytest.approx(1.0, abs=0.25)
    jump = (noise[:, 1:] - noise[:, :-1]).std()
    assert float(jump) == pytest.approx(math.sqrt(2) * 1.3 / scale_mm, rel=0.5)


def test_coordinates_are_millimetres_from_the_middle() -> None:
    x, y, z = coordinates((3, 4, 5), (1.0, 2.0, 0.5), "cpu")
    assert x.flatten().tolist() == [-1, 0, 1]
    assert y.flatten().tolist() == [-3, -1, 1, 3]
    assert z.shape == (1, 1, 5)


def test_a_blob_is_as_large_as_its_half_axes_say() -> None:
    voxel = (1.0, 1.0, 1.0)
    ratios = []
    for seed in range(60):
        blob = draw_blob(Dice(seed), (90, 90, 90), voxel, 7.0, 0.5, "ellipsoid")
        inner = all(side.start > 0 and side.stop < 90 for side in blob.box)
        assert blob.cover.shape == tuple(side.stop - side.start for side in blob.box)
        assert float(blob.cover.min()) >= 0
        assert float(blob.cover.max()) <= 1
        if inner:
            ratios.append(float(blob.cover.sum()) / (4 / 3 * math.pi * 7.0**3))
    # The half axes are spread from 0.5 to 1.6 times the radius, so volumes vary, but their geometric mean is known.
    mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    assert mean == pytest.approx((0.5 * 1.6) ** 1.5, rel=0.25)


def test_vessels_are_thin_and_know_their_number() -> None:
    cover, owner = draw_vessels(Dice(2), (48, 40, 32), (0.8, 0.8, 1.5), 3, (0.5, 1.5))
    assert 0 < float(cover.mean()) < 0.05
    assert float(cover.max()) <= 1
    assert torch.equal(owner > 0, cover > 0)
    assert set(owner.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_no_vessel_leaves_the_volume_empty() -> None:
    cover, owner = draw_vessels(Dice(2), (8, 8, 8), (1.0, 1.0, 1.0), 0, (0.5, 1.5))
    assert float(cover.abs().sum() + owner.abs().sum()) == 0
