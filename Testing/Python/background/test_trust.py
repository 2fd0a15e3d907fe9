import pytest
import torch

from QSMReconLib.background.trust import fill_holes, trust

VOXEL = (1.0, 1.0, 2.0)


@pytest.fixture
def mask() -> torch.Tensor:
    mask = torch.zeros(30, 28, 16, dtype=torch.bool)
    mask[3:27, 3:25, 2:14] = True
    return mask


def test_without_noise_all_of_the_mask_counts(mask: torch.Tensor) -> None:
    known = trust(mask, None, VOXEL)
    assert torch.equal(known.mask, mask)
    assert torch.equal(known.weight, mask.float())


def test_unreliable_edges_are_cut_and_holes_stay_without_weight(mask: torch.Tensor) -> None:
    noise = 0.001 * mask
    noise[3:27, 3:9, 2:6] = 0.7  # touches the edge
    noise[14:17, 14:17, 7:9] = 0.7  # inside
    known = trust(mask, noise, VOXEL)
    assert not known.mask[3:27, 3:9, 2:6].any()
    assert known.mask[14:17, 14:17, 7:9].all()
    assert float(known.weight[14:17, 14:17, 7:9].max()) < 1e-3
    assert float(known.weight[20, 20, 10]) > 0.98
    assert not known.weight[~known.mask].any()
    assert int(known.mask.sum()) > 0.95 * (int(mask.sum()) - 24 * 6 * 4)


def test_thin_remains_of_a_cut_edge_go_too(mask: torch.Tensor) -> None:
    noise = 0.001 * mask
    noise[4:27, 8:20, 4:12] = 0.7
    rim = torch.zeros_like(mask)
    rim[3, 9:19, 5:11] = True
    assert not (trust(mask, noise, VOXEL).mask & rim).any()


def test_weights_fall_where_noise_exceeds_the_local_field(mask: torch.Tensor) -> None:
    noise = 0.001 * mask
    noise[10, 10, 10] = 0.01
    assert float(trust(mask, noise, VOXEL, 0.01).weight[10, 10, 10]) == pytest.approx(0.5)


def test_holes_are_bridged_by_what_is_around(mask: torch.Tensor) -> None:
    ramp = torch.arange(30.0)[:, None, None].expand(mask.shape) * mask
    noise = 0.001 * mask
    noise[12:19, 12:19, 5:9] = 1.0
    known = trust(mask, noise, VOXEL)
    wild = torch.where(noise > 0.5, 1e3, ramp)
    filled = fill_holes(wild, known, VOXEL)
    assert float((filled - ramp)[mask].abs().max()) < 4
    assert torch.equal(filled[noise < 0.5], ramp[noise < 0.5])
