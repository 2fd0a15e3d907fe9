import pytest
import torch

from QSMReconLib.networks import unrolled
from QSMReconLib.networks.unrolled import (
    Unrolled,
    UnrolledConfig,
    field_scale,
    fold,
    noise_level,
    total_variation,
    unfold,
)
from QSMReconLib.physics.dipole import dipole_kernel
from QSMReconLib.physics.fourier import Spectrum

SHAPE = (24, 16, 32)
SPECTRUM = Spectrum.of(SHAPE, (1.0, 0.8, 1.5), 12.0)
KERNEL = dipole_kernel(SPECTRUM, (0.1, 0.3, 0.95))


def _case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """χ, its field and a mask that leaves a rim."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(1, 1, *SHAPE)
    mask[..., 2:22, 3:14, 4:28] = 1
    coarse = torch.randn(1, 1, 6, 5, 8, generator=generator)
    chi = 0.05 * torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear") * mask
    return chi, SPECTRUM.from_k(KERNEL * SPECTRUM.to_k(chi)) * mask, mask


def _network(shared: bool = True) -> Unrolled:
    torch.manual_seed(1)
    network = Unrolled(UnrolledConfig(steps=3, channels=(8, 8, 8), shared=shared)).eval()
    with torch.no_grad():
        for denoiser in network.denoisers:
            denoiser.leave.weight.normal_(0, 0.02)
    return network


def test_folding_is_undone_by_unfolding_and_keeps_neighbours_together() -> None:
    volume = torch.arange(2 * 3 * 4 * 6 * 8.0).reshape(2, 3, 4, 6, 8)
    folded = fold(volume)
    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(unfold(folded), volume)
    assert sorted(folded[0, :8, 1, 0, 2].tolist()) == sorted(volume[0, 0, 2:4, 0:2, 4:6].flatten().tolist())


@pytest.mark.parametrize("factor", [4.0, -1.0, 0.01])
def test_a_field_so_many_times_as_large_gives_a_map_so_many_times_as_large(factor: float) -> None:
    _, field, mask = _case()
    network = Unrolled(UnrolledConfig(steps=2, channels=(8, 8, 8))) if factor < 0 else _network()
    with torch.no_grad():
        one = network(field, mask, KERNEL, SPECTRUM)[-1]
        other = network(factor * field, mask, KERNEL, SPECTRUM)[-1]
    assert torch.allclose(other, factor * one, atol=1e-4 * abs(factor) * float(one.abs().max()))


def test_the_start_is_total_variation_and_may_be_handed_in() -> None:
    chi, field, mask = _case()
    network = _network()
    with torch.no_grad():
        start = network.start(field, mask, KERNEL, SPECTRUM)
        given = network(field, mask, KERNEL, SPECTRUM, start=start)[-1]
        made = network(field, mask, KERNEL, SPECTRUM)[-1]
    assert torch.equal(given, made)
    assert float((start - chi).norm()) < 0.6 * float(chi.norm())


def test_total_variation_converges_to_the_least_of_its_cost() -> None:
    """Against small changes of the map in every direction that was tried; sizes of the volume fill the box."""
    spectrum = Spectrum.of((12, 10, 8), (1.0, 1.0, 2.0), 0.0)
    kernel = dipole_kernel(spectrum, (0.0, 0.6, 0.8))
    generator = torch.Generator().manual_seed(2)
    blocks = torch.randn(1, 1, 3, 2, 2, generator=generator).repeat_interleave(4, 2).repeat_interleave(5, 3)
    field = spectrum.from_k(kernel * spectrum.to_k(blocks.repeat_interleave(4, 4)))
    squared = 0.3 + 0.7 * torch.rand(field.shape, generator=generator)
    strength = torch.tensor(0.02)

    def cost(chi: torch.Tensor) -> float:
        misfit = field - spectrum.from_k(kernel * spectrum.to_k(chi))
        jumps = sum(r * (chi.roll(-1, axis) - chi).abs().sum() for axis, r in ((-3, 1.0), (-2, 1.0), (-1, 0.5)))
        return float(0.5 * (squared * misfit * misfit).sum() + strength * jumps)

    found = total_variation(field, squared, kernel, spectrum, strength, 1500)
    least = cost(found)
    assert least < cost(total_variation(field, squared, kernel, spectrum, strength, 5))
    for _ in range(20):
        change = torch.randn(field.shape, generator=generator)
        change = change - change.mean()
        assert cost(found + 3e-3 * change) > least
        assert cost(found + 3e-3 * change.cumsum(2) / 3) > least


def test_running_ahead_with_the_filled_in_field_saves_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends where it would without, is nearer to that after a few iterations, and does not swing away later."""
    _, field, mask = _case()
    field = field / field_scale(field, mask)

    def found(iterations: int) -> torch.Tensor:
        return total_variation(field, mask, KERNEL, SPECTRUM, torch.tensor(0.015), iterations) * mask

    few, *more = (found(count) for count in (24, 48, 96))
    monkeypatch.setattr(unrolled, "MOMENTUM", 0.0)
    converged = found(500)
    left = [float((chi - converged).norm() / converged.norm()) for chi in (few, *more)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.015
    assert left[0] < 0.8 * float((found(24) - converged).norm() / converged.norm())


def test_without_a_network_the_steps_explain_the_field_better_and_better() -> None:
    chi, field, mask = _case()
    network = Unrolled(UnrolledConfig(steps=8, channels=(8, 8, 8), start_steps=2))  # Its networks start as zero.
    with torch.no_grad():
        maps = network(field, mask, KERNEL, SPECTRUM)
    misfits = [float(((SPECTRUM.from_k(KERNEL * SPECTRUM.to_k(m)) - field) * mask).norm()) for m in maps]
    errors = [float((m - chi).norm()) for m in maps]
    assert misfits == sorted(misfits, reverse=True)
    assert misfits[-1] < 0.1 * float(field.norm())
    assert errors[-1] < 0.7 * errors[0]


def test_maps_are_zero_outside_the_mask_and_gradients_reach_every_weight() -> None:
    chi, field, mask = _case()
    network = _network(shared=False)
    maps = network(field, mask, KERNEL, SPECTRUM)
    assert all(not m[mask == 0].any() for m in maps)
    sum((m - chi).square().sum() for m in maps).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert float(network.mu_slope.grad.abs().sum()) > 0


def test_cases_of_a_batch_do_not_see_each_other() -> None:
    (_, one, mask), (_, two, _) = _case(0), _case(5)
    tilted = dipole_kernel(SPECTRUM, (0.6, 0.0, 0.8))
    kernels = torch.stack([KERNEL, tilted])[:, None]
    network = _network()
    with torch.no_grad():
        both = network(torch.cat([one, 3 * two]), torch.cat([mask, mask]), kernels, SPECTRUM)[-1]
        alone = network(one, mask, KERNEL, SPECTRUM)[-1]
        other = network(3 * two, mask, tilted, SPECTRUM)[-1]
    assert torch.allclose(both, torch.cat([alone, other]), atol=2e-6)


def test_voxels_without_weight_are_filled_in_by_the_physics() -> None:
    """A field that is wrong at a few voxels does no harm where the weight says so."""
    _, field, mask = _case()
    wrong = field.clone()
    wrong[..., 10:12, 7:9, 14:16] += 0.5
    weight = mask.clone()
    weight[..., 10:12, 7:9, 14:16] = 0.02
    network = Unrolled(UnrolledConfig(steps=4, channels=(8, 8, 8)))
    with torch.no_grad():
        trusting, knowing, right = (
            network(f, w, KERNEL, SPECTRUM)[-1] for f, w in ((wrong, mask), (wrong, weight), (field, mask))
        )
    assert float((knowing - right).norm()) < 0.2 * float((trusting - right).norm())


def test_the_noise_is_found_in_the_field() -> None:
    _, field, mask = _case()
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(field.shape, generator=generator)
    for sigma in (1e-3, 5e-3):
        found = float(noise_level((field + sigma * noise) * mask, mask))
        assert found == pytest.approx(sigma, rel=0.1)
    uneven = mask * (1 - 0.5 * (torch.arange(32) < 16))
    found = float(noise_level((field + 5e-3 * noise / uneven.clamp(min=0.1)) * mask, uneven))
    assert found == pytest.approx(5e-3, rel=0.15)


def test_the_scale_is_that_of_most_voxels() -> None:
    generator = torch.Generator().manual_seed(3)
    field = 0.01 * torch.randn(1, 1, *SHAPE, generator=generator)
    mask = torch.ones_like(field)
    assert float(field_scale(field, mask)) == pytest.approx(0.01, rel=0.03)
    field[..., :2, :2, :2] = 0.1
    assert float(field_scale(field, mask)) == pytest.approx(0.01, rel=0.05)
    assert float(field_scale(torch.zeros_like(field), mask)) > 0
