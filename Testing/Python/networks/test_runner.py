from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from QSMReconLib.data import FieldNoise, Grid, LocalField
from QSMReconLib.errors import Cancelled, InputError
from QSMReconLib.networks import runner
from QSMReconLib.networks.card import Card
from QSMReconLib.networks.runner import data_step, noise_weight, reconstruct, relative_residual
from QSMReconLib.networks.unet import UNet, UNetConfig
from QSMReconLib.networks.unrolled import Unrolled
from QSMReconLib.networks.weightpredicted import PredictionConfig, WeightPredicted
from QSMReconLib.physics.dipole import Dipole

Tiny = tuple[Unrolled, Card, Path]


def test_the_map_is_on_the_grid_and_inside_the_mask(tiny: Tiny, small_head: dict) -> None:
    network, card, _ = tiny
    local = small_head[LocalField]
    made = reconstruct(network, card, local.field_ppm, local.mask, local.grid, half=False, distrust=0.0)
    assert made.chi_ppm.shape == local.grid.shape
    assert torch.isfinite(made.chi_ppm).all()
    assert not made.chi_ppm[local.mask == 0].any()
    assert made.notes == ()


def test_air_around_the_head_changes_nothing(tiny: Tiny, small_head: dict) -> None:
    network, card, _ = tiny
    local = small_head[LocalField]
    one = reconstruct(network, card, local.field_ppm, local.mask, local.grid, half=False).chi_ppm
    pad = (3, 2, 5, 0, 1, 4)
    volumes = [torch.nn.functional.pad(v.float(), pad) for v in (local.field_ppm, local.mask)]
    grid = replace(local.grid, shape=tuple(volumes[0].shape))
    other = reconstruct(network, card, *volumes, grid, half=False).chi_ppm
    back = other[1:-4, 5:, 3:-2]
    assert torch.allclose(back, one, atol=1e-6)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (2, 1, 0)])
def test_the_order_and_direction_of_the_axes_do_not_matter(
    tiny: Tiny, small_head: dict, order: tuple[int, int, int]
) -> None:
    network, card, _ = tiny
    local, noise = small_head[LocalField], small_head[FieldNoise].noise_ppm
    one = reconstruct(network, card, local.field_ppm, local.mask, local.grid, noise, half=False).chi_ppm
    grid = local.grid
    b0 = [grid.b0_direction[axis] for axis in order]
    b0[1] = -b0[1]
    voxel = tuple(grid.voxel_size_mm[axis] for axis in order)
    turned = Grid.centred(tuple(grid.shape[axis] for axis in order), voxel, tuple(b0))
    volumes = [v.permute(order).flip(1) for v in (local.field_ppm, local.mask, noise)]
    other = reconstruct(network, card, volumes[0], volumes[1], turned, volumes[2], half=False).chi_ppm
    assert torch.allclose(other, one.permute(order).flip(1), atol=1e-5)


def test_what_lies_outside_the_mask_is_not_seen(tiny: Tiny, small_head: dict) -> None:
    network, card, _ = tiny
    local = small_head[LocalField]
    wild = local.field_ppm + 3.0 * (local.mask == 0)
    one = reconstruct(network, card, local.field_ppm, local.mask, local.grid, half=False).chi_ppm
    other = reconstruct(network, card, wild, local.mask, local.grid, half=False).chi_ppm
    assert torch.equal(one, other)


def test_tiles_give_the_map_of_the_whole_volume_to_one_ppb(tiny: Tiny) -> None:
    network, card, _ = tiny
    generator = torch.Generator().manual_seed(0)
    field = 0.01 * torch.randn(96, 40, 104, generator=generator)
    mask = torch.ones_like(field)
    grid = _grid((96, 40, 104))
    whole = reconstruct(network, card, field, mask, grid, rung="the whole volume", half=False)
    tiled = reconstruct(network, card, field, mask, grid, rung="tiles of 64 voxels", half=False)
    assert float((whole.chi_ppm - tiled.chi_ppm).abs().max()) < 1e-3
    assert any("tiles of 64" in note for note in tiled.notes)


def test_when_memory_is_short_the_next_rung_is_taken_and_said(
    tiny: Tiny, small_head: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, card, _ = tiny
    local = small_head[LocalField]
    monkeypatch.setattr(runner, "_free_memory", lambda device: 1000.0)
    made = reconstruct(network, card, local.field_ppm, local.mask, local.grid, half=False, distrust=0.0)
    assert made.notes == ("Memory is short: the network ran in tiles of 64 voxels, overlap-blended.",)


def test_half_precision_is_close_to_single(tiny: Tiny, small_head: dict) -> None:
    network, card, _ = tiny
    local = small_head[LocalField]
    one, other = (
        reconstruct(network, card, local.field_ppm, local.mask, local.grid, half=half).chi_ppm for half in (False, True)
    )
    assert float((one - other).norm() / one.norm()) < 0.01


def test_a_network_of_one_resolution_gets_and_returns_that_of_the_scan(small_head: dict, tiny: Tiny) -> None:
    local = small_head[LocalField]
    card = replace(tiny[1], kind="unet", grid_mm=((3.0, 3.0),) * 3)
    torch.manual_seed(0)
    network = UNet(UNetConfig(base=4, depth=2)).eval().requires_grad_(False)
    made = reconstruct(network, card, local.field_ppm, local.mask, local.grid, half=False)
    assert made.chi_ppm.shape == local.grid.shape
    assert any("resampled to 2.9 × 3 × 2.9 mm" in note for note in made.notes)
    assert float(made.chi_ppm.abs().max()) > 0


def test_voxels_outside_a_range_are_resampled_to_the_nearest_inside_and_it_is_said(
    tiny: Tiny, small_head: dict
) -> None:
    network, card, _ = tiny
    local = small_head[LocalField]
    grid = Grid.centred(local.grid.shape, (0.8, 2.0, 1.5), (0.0, 0.0, 1.0))
    seen: list[tuple[float, ...]] = []

    class Watched(Unrolled):
        def forward(self, field: torch.Tensor, weight: torch.Tensor, kernel: torch.Tensor, *rest: Any) -> Any:
            seen.append(rest[0].voxel_size_mm)
            return super().forward(field, weight, kernel, *rest)

    watched = Watched(network.config).eval().requires_grad_(False)
    watched.load_state_dict(network.state_dict())
    ranged = replace(card, grid_mm=((0.5, 1.0), (0.5, 1.0), (2.0, 4.0)))
    made = reconstruct(watched, ranged, local.field_ppm, local.mask, grid, half=False)
    assert made.chi_ppm.shape == local.grid.shape
    assert seen[0] == pytest.approx((0.8, 1.0, 2.0), rel=0.06)
    assert any("resampled to 0.8 × 1 × 2 mm for tiny" in note for note in made.notes)
    inside = reconstruct(
        watched, ranged, local.field_ppm, local.mask, Grid.centred(local.grid.shape, (0.8, 0.5, 3.0)), half=False
    )
    assert seen[1] == pytest.approx((0.8, 0.5, 3.0))
    assert not any("resampled" in note for note in inside.notes)


def test_predicted_weights_are_those_of_the_scans_voxels(tiny: Tiny, small_head: dict) -> None:
    """Whatever the order in which the axes are stored."""
    torch.manual_seed(0)
    network = WeightPredicted(PredictionConfig("folded", {"channels": (8, 8, 8)})).eval().requires_grad_(False)
    torch.nn.init.normal_(network.inner.denoiser.leave.kernel_of.weight, 0, 0.05)  # type: ignore[union-attr, arg-type]
    card = replace(tiny[1], kind="weight-predicted")
    local = small_head[LocalField]
    grid = Grid.centred(local.grid.shape, (0.6, 0.9, 2.5), (0.0, 0.0, 1.0))
    x, y, z = local.grid.shape
    turned = Grid.centred((z, x, y), (2.5, 0.6, 0.9), (1.0, 0.0, 0.0))
    made = reconstruct(network, card, local.field_ppm, local.mask, grid, half=False).chi_ppm
    plain = reconstruct(network.at((0.6, 0.9, 2.5)), card, local.field_ppm, local.mask, grid, half=False).chi_ppm
    other = reconstruct(network.at((1.0, 0.5, 4.0)), card, local.field_ppm, local.mask, grid, half=False).chi_ppm
    field, mask = local.field_ppm.permute(2, 0, 1), local.mask.permute(2, 0, 1)
    back = reconstruct(network, card, field, mask, turned, half=False).chi_ppm.permute(1, 2, 0)
    assert torch.equal(made, plain)
    assert float((made - other).norm() / made.norm()) > 1e-3
    assert torch.allclose(back, made, atol=1e-5 * float(made.abs().max()))


def test_progress_rises_and_cancels(tiny: Tiny, small_head: dict) -> None:
    network, card, _ = tiny
    local = small_head[LocalField]
    seen: list[float] = []
    reconstruct(network, card, local.field_ppm, local.mask, local.grid, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
    assert len(seen) > 20

    def stop(fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct(network, card, local.field_ppm, local.mask, local.grid, progress=stop)
    # The hooks that report progress are gone again.
    assert not any(module._forward_hooks for module in network.modules())


def test_an_empty_mask_is_refused(tiny: Tiny, small_head: dict) -> None:
    network, card, _ = tiny
    local = small_head[LocalField]
    with pytest.raises(InputError, match="empty"):
        reconstruct(network, card, local.field_ppm, torch.zeros_like(local.mask), local.grid)


def test_weights_fall_with_the_noise(small_head: dict) -> None:
    mask = small_head[LocalField].mask
    noise = small_head[FieldNoise].noise_ppm.clone()
    noise[mask > 0] = 0.002
    noise[16, 18, 13], noise[17, 18, 13], noise[15, 18, 13] = 0.004, float("inf"), 0.001
    weight = noise_weight(mask, noise)
    assert not weight[mask == 0].any()
    assert float(weight[16, 18, 13]) == pytest.approx((10 / 13) ** 0.5, rel=0.01)
    assert float(weight[17, 18, 13]) == pytest.approx(0.02)
    assert float(weight[15, 18, 13]) == pytest.approx(1.0, rel=1e-3)
    assert float(weight[mask > 0].median()) == pytest.approx(1.0, rel=1e-3)
    noise[17, 18, 13] = float("nan")
    assert torch.equal(noise_weight(mask, noise), weight)
    assert torch.equal(noise_weight(mask, None), (mask > 0).float())


def test_the_data_step_is_the_closed_form_where_everything_is_measured() -> None:
    shape = (12, 16, 10)
    full = Dipole.of(_grid(shape), padding_mm=0.0)
    generator = torch.Generator().manual_seed(0)
    chi, field = (torch.randn(shape, generator=generator) for _ in range(2))
    kernel, spectrum, mu = full.kernel, full.spectrum, 0.05
    closed = (kernel * spectrum.to_k(field) + mu * spectrum.to_k(chi)) / (kernel * kernel + mu)
    stepped = data_step(chi, field, torch.ones(shape), full, mu)
    assert torch.allclose(stepped, spectrum.from_k(closed), atol=1e-5)
    before, after = (relative_residual(c, field, torch.ones(shape), full) for c in (chi, stepped))
    assert after < 0.7 * before


def _grid(shape: tuple[int, int, int]) -> Grid:
    return Grid.centred(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 1.0))


def test_a_field_that_no_map_explains_counts_less_and_is_told(tiny: Tiny) -> None:
    network, card, _ = tiny
    grid = _grid((40, 48, 40))
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(1, 1, 8, 9, 8, generator=generator)
    chi = 0.03 * torch.nn.functional.interpolate(coarse, grid.shape, mode="trilinear")[0, 0]
    mask = torch.zeros(grid.shape)
    mask[3:-3, 3:-3, 3:-3] = 1
    field = Dipole.of(grid).field(chi * mask) * mask + 2e-4 * torch.randn(grid.shape, generator=generator) * mask
    spoiled = field.clone()
    spoiled[18:22, 20:23, 18:22:2] += 0.3
    clean = reconstruct(network, card, field, mask, grid, half=False)
    doubting = reconstruct(network, card, spoiled, mask, grid, half=False)
    trusting = reconstruct(network, card, spoiled, mask, grid, half=False, distrust=0.0)
    assert any("fits no map" in note for note in doubting.notes)
    assert clean.notes == trusting.notes == ()
    errors = [float((made.chi_ppm - clean.chi_ppm).norm()) for made in (doubting, trusting)]
    assert errors[0] < 0.7 * errors[1]


def test_a_network_of_small_regions_sees_no_more_than_tiles_of_their_size(tiny: Tiny) -> None:
    torch.manual_seed(0)
    network = UNet(UNetConfig(base=4, depth=2)).eval().requires_grad_(False)
    card = replace(tiny[1], kind="unet", tile=16)
    seen: list[int] = []
    network.leave.register_forward_hook(lambda layer, given, made: seen.append(max(made.shape[-3:])))
    field = 0.01 * torch.randn(40, 24, 32, generator=torch.Generator().manual_seed(0))
    made = reconstruct(network, card, field, torch.ones_like(field), _grid((40, 24, 32)), half=False)
    assert set(seen) == {16}
    assert len(seen) == 4 * 2 * 3
    assert torch.isfinite(made.chi_ppm).all()
    assert not made.notes
