import math

import pytest
import torch

from QSMReconLib.training.cortex import distance_to_sheet, fold
from QSMReconLib.training.shapes import Dice

SHAPE = torch.Size((40, 36, 32))


def tissue(white: float, grey: float) -> torch.Tensor:
    return torch.tensor([white, grey, 1 - white - grey]).reshape(3, 1, 1, 1).expand(3, *SHAPE).clone()


@pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (0.6, 0.8, 1.1)])
def test_shares_stay_shares(voxel: tuple[float, float, float]) -> None:
    for seed in range(5):
        share = fold(Dice(seed), tissue(0.3, 0.6), voxel)
        assert float(share.min()) >= 0
        torch.testing.assert_close(share.sum(0), torch.ones(SHAPE))


def test_white_matter_far_from_the_cortex_is_left_alone() -> None:
    share = tissue(1.0, 0.0)
    torch.testing.assert_close(fold(Dice(1), share, (1.0, 1.0, 1.0)), share)


def test_near_the_cortex_there_are_sulci_gyri_and_grey_matter_between_them() -> None:
    found = [fold(Dice(seed), tissue(0.2, 0.7), (1.0, 1.0, 1.0)) for seed in range(8)]
    largest = torch.stack(found).amax(dim=(0, 2, 3, 4))
    assert bool((largest > 0.9).all())
    for share in found:
        # Where there is most fluid there is no white matter: a ribbon of grey matter lies between.
        fluid, white = share[2], share[0]
        assert float((fluid * white).max()) < 0.15


def test_the_distance_grows_as_millimetres_do() -> None:
    voxel = (0.5, 0.7, 1.0)
    distance = distance_to_sheet(Dice(3), torch.Size((64, 48, 32)), voxel, 30.0)
    slopes = torch.gradient(distance, spacing=list(voxel))
    steep = torch.stack(slopes).norm(dim=0)[(distance > 0.7) & (distance < 2.5)]
    assert math.isclose(float(steep.median()), 1.0, abs_tol=0.1)


def test_the_same_dice_fold_the_same() -> None:
    first, second = (fold(Dice(5), tissue(0.2, 0.7), (1.0, 1.0, 2.0)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
