import torch

from QSMReconLib.networks.background import SHAPE
from QSMReconLib.training.shapes import Dice
from QSMReconLib.training.wholeheads import WholeHeads, _cut, _spoilt

COARSER = 4.0


def test_the_same_number_gives_the_same_head_and_another_another() -> None:
    heads = WholeHeads(1, COARSER)
    one, (again, other) = heads.sample(4), heads.samples(4, 2)
    assert one.seen.shape == (6, *SHAPE)
    assert one.left.shape == one.share.shape == (1, *SHAPE)
    for name, volume in vars(one).items():
        assert torch.isfinite(volume).all(), name
        assert torch.equal(volume, getattr(again, name)), name
    assert not torch.equal(one.share, other.share)


def test_what_is_left_is_part_of_the_field_and_lies_in_the_brain() -> None:
    head = WholeHeads(1, COARSER).sample(0)
    field, inside = head.seen[0], head.share[0] > 0
    assert not head.left[0][~inside].any()
    assert 0.02 < float(head.left[0][inside].std()) < 3.0
    # What is left errs as the field does: without it less is left of the field.
    assert float((field - head.left[0])[inside].std()) < 1.2 * float(field[inside].std())


def test_noise_grows_where_the_field_is_steep() -> None:
    steep = torch.zeros(8, 8, 8)
    steep[:4] = 0.1
    worse = _spoilt(Dice(3), steep, (1.0, 1.0, 2.0))
    assert float(worse[1, 4, 4]) == 1.0
    assert float(worse[3:5].min()) > 1.05


def test_a_cut_mask_lies_in_the_brain() -> None:
    inside = torch.ones(12, 12, 20, dtype=torch.bool)
    inside[:2] = inside[..., :2] = False
    slices, voxels = set(), set()
    for seed in range(40):
        mask = _cut(Dice(seed), inside, (1.0, 1.0, 2.0))
        assert mask.any()
        assert not (mask & ~inside).any()
        slices.add(int(mask.any(0).any(0).sum()))
        voxels.add(int(mask.sum()))
    assert len(slices) > 2
    assert len(voxels) > 5
