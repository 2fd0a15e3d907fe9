from dataclasses import replace

import pytest
import torch

from QSMReconLib.background.lbv import interior_of
from QSMReconLib.data import Grid
from QSMReconLib.networks.background import (
    BackgroundNet,
    CoarseHead,
    in_the_middle,
    left_of_background,
    without_mean,
)

SHAPE = (40, 44, 20)
VOXEL = (2.0, 2.0, 4.0)


def _ball(grid: Grid) -> tuple[torch.Tensor, list[torch.Tensor]]:
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return (x / 34) ** 2 + (y / 38) ** 2 + (z / 32) ** 2 < 1, [x, y, z]


def _found(grid: Grid) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Local field, χ, background and mask of a total-field inversion, as CoarseHead.of takes them."""
    mask, (x, y, z) = _ball(grid)
    local = (1e-3 * torch.sin(x / 5) + 1e-5 * (x * x - z * z) + 2e-3) * mask
    return local, 0.01 * (y > 0) * mask, 1e-3 * z * mask, mask


def _network() -> BackgroundNet:
    torch.manual_seed(0)
    network = BackgroundNet()
    torch.nn.init.normal_(network.denoiser.leave.weight, std=0.05)
    return network.eval().requires_grad_(False)


@pytest.fixture
def seen() -> tuple[CoarseHead, torch.Tensor, Grid]:
    grid = Grid.centred(SHAPE, VOXEL, (0.0, 0.2, 0.98))
    found = _found(grid)
    return CoarseHead.of(*found, grid), found[3], grid


def test_a_field_comes_back_from_coarse_voxels_as_it_was(seen: tuple[CoarseHead, torch.Tensor, Grid]) -> None:
    head, mask, grid = seen
    _, (x, y, z) = _ball(grid)
    field = (1e-3 * x - 2e-3 * y + 3e-3 * z) * mask
    back = head.fine_volume(head.relative(field, mask)) * head.size_ppm * mask
    inner = interior_of(interior_of(mask))
    off = (back - field)[inner]
    assert float((off - off.mean()).abs().max()) < 0.02 * float(field.abs().max())


def test_what_is_seen_is_relative_to_the_field(seen: tuple[CoarseHead, torch.Tensor, Grid]) -> None:
    head, _, grid = seen
    local, chi, background, mask = _found(grid)
    other = CoarseHead.of(7 * local, 7 * chi, 7 * background, mask, grid)
    assert torch.allclose(other.seen, head.seen, atol=1e-5)
    assert other.size_ppm == pytest.approx(7 * head.size_ppm, rel=1e-5)
    assert float((head.seen[0] * head.share).sum()) == pytest.approx(0.0, abs=1e-2)
    assert float(head.seen[0].square().mul(head.share).sum() / head.share.sum()) == pytest.approx(1.0, rel=1e-3)


def test_what_sources_outside_cannot_make_is_not_believed(seen: tuple[CoarseHead, torch.Tensor, Grid]) -> None:
    head, mask, grid = seen

    def told(says: torch.Tensor) -> torch.Tensor:
        """What is taken off where a network says this, on the coarse voxels."""

        class Says(torch.nn.Module):
            def forward(self, seen: torch.Tensor) -> torch.Tensor:
                return in_the_middle(says[None])[None]

        return left_of_background(Says(), head, mask, grid)

    x, y, z = (
        torch.linspace(-1, 1, n).reshape([n if to == axis else 1 for to in range(3)])
        for axis, n in enumerate(head.share.shape)
    )
    deep = mask
    for _ in range(3):
        deep = interior_of(deep)
    lump = torch.exp(-8 * (x * x + y * y + z * z))
    smooth = without_mean(x + 0.5 * y - z, head.share)
    lump = without_mean(lump, head.share)
    wanted, found = head.fine_volume(smooth) * head.size_ppm, told(smooth)
    assert not found[~mask].any()
    assert float((found - wanted)[deep].norm()) < 0.1 * float(wanted[deep].norm())
    assert float(told(lump)[deep].std()) < 0.2 * head.size_ppm * float(lump.max() - lump.min())


def test_a_mask_of_one_layer_does_no_harm() -> None:
    grid = Grid.centred((24, 24, 8), (4.0, 4.0, 4.0))
    mask = torch.zeros(grid.shape, dtype=torch.bool)
    mask[4:20, 4:20, 4] = True
    field = torch.linspace(-1e-3, 1e-3, 24)[:, None, None] * mask
    head = CoarseHead.of(field, 0 * field, 0 * field, mask, grid)
    left = left_of_background(_network(), head, mask, grid)
    assert torch.isfinite(left).all()
    assert not left[~mask].any()


def test_a_head_lying_on_its_side_is_the_same_head(seen: tuple[CoarseHead, torch.Tensor, Grid]) -> None:
    head, mask, grid = seen
    affine = torch.tensor(grid.affine)[:, [2, 0, 1, 3]]
    b0 = tuple(grid.b0_direction[axis] for axis in (2, 0, 1))
    turned = Grid.from_affine((20, 40, 44), affine.numpy(), b0)
    volumes = [v.permute(2, 0, 1) for v in _found(grid)]
    other = CoarseHead.of(*volumes, turned)
    assert torch.allclose(other.seen, head.seen, atol=1e-5)
    network = _network()
    one, two = left_of_background(network, head, mask, grid), left_of_background(network, other, volumes[3], turned)
    assert torch.allclose(two, one.permute(2, 0, 1), atol=1e-2 * float(one.abs().max()))


def test_an_untrained_network_leaves_the_field_alone(seen: tuple[CoarseHead, torch.Tensor, Grid]) -> None:
    head, mask, grid = seen
    assert not left_of_background(BackgroundNet().requires_grad_(False), replace(head, size_ppm=1.0), mask, grid).any()


def test_a_brain_lies_amid_room_on_all_sides() -> None:
    assert in_the_middle(torch.ones(6, 30, 56, 7)).shape == (6, 48, 64, 48)
    whole = in_the_middle(torch.ones(1, 31, 45, 41))[0]
    assert whole.shape == (48, 56, 56)
    assert float(whole.sum()) == 31 * 45 * 41
    assert not whole[:4].any()
    assert not whole[..., -4:].any()


def test_voxels_that_do_not_count_are_not_seen(seen: tuple[CoarseHead, torch.Tensor, Grid]) -> None:
    head, _, grid = seen
    local, chi, background, mask = _found(grid)
    weight = torch.ones(grid.shape)
    weight[20, 22, 10] = 0.0
    wild = local.clone()
    wild[20, 22, 10] = 5.0
    other = CoarseHead.of(wild, chi, background, mask, grid, weight)
    assert float((other.seen - head.seen).abs().max()) < 0.1
    assert other.size_ppm == pytest.approx(head.size_ppm, rel=1e-2)
