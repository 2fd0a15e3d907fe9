import pytest
import torch

from QSMReconLib.solvers.tgv import ENTRIES, GeneralisedVariation, bending, unbend

VOXEL = (1.0, 0.8, 2.0)


def bent(vectors: torch.Tensor) -> torch.Tensor:
    """All entries (6, X, Y, Z)."""
    return torch.stack([bending(vectors, entry, VOXEL) for entry in ENTRIES])


def test_bending_and_its_adjoint() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, tensors = torch.randn(3, 7, 6, 5, generator=generator), torch.randn(6, 7, 6, 5, generator=generator)
    unbent = torch.zeros_like(vectors)
    for entry, tensor in zip(ENTRIES, tensors, strict=True):
        unbend(-tensor, entry, VOXEL, unbent)
    one, other = (bent(vectors) * tensors).sum(), (vectors * unbent).sum()
    assert float(one) == pytest.approx(float(other), rel=1e-4)


def test_bending_is_blind_to_turns_and_counts_shear() -> None:
    axes = [torch.arange(n, dtype=torch.float32) * v for n, v in zip((7, 6, 5), VOXEL, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    turning, shearing = torch.stack([y, -x, 0 * z]), torch.stack([y, x, 0 * z])
    assert float(bent(turning)[:, 1:-1, 1:-1, 1:-1].abs().max()) < 1e-5
    assert bent(shearing)[3, 2, 2, 2] == pytest.approx(2**0.5)


def test_no_axis_has_a_preferred_sense() -> None:
    volume = torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(2))

    def after(volume: torch.Tensor, voxel: tuple[float, float, float]) -> torch.Tensor:
        prior = GeneralisedVariation(volume.shape, voxel, 0.4, 2.0)
        for factor in (1, 2, 3):
            out = prior.step(factor * volume, torch.empty(volume.shape))
        return out

    turned = after(volume.transpose(0, 1).flip(0).contiguous(), (0.8, 1.0, 2.0))
    assert torch.allclose(after(volume, VOXEL).transpose(0, 1).flip(0), turned, atol=1e-5)


def test_smooths_noise_on_a_ramp_without_steps() -> None:
    """Denoising by the splitting itself: min ½‖x - y‖² + TGV(x), x by a step in k."""
    from QSMReconLib.physics.fourier import Spectrum
    from QSMReconLib.solvers.shrinkage import TotalVariation

    shape = (24, 8, 8)
    ramp = (torch.arange(24) - 11.5).abs()[:, None, None].expand(shape) / 4
    noisy = ramp + 0.2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    spectrum, errors = Spectrum(shape, shape, (1.0, 1.0, 1.0)), []
    rho, weight = 1.0, 0.25
    for prior in (
        GeneralisedVariation(shape, (1.0, 1.0, 1.0), weight / rho, 2.0),
        TotalVariation.starting(shape, (1.0, 1.0, 1.0), weight / rho),
    ):
        denominator = 1 + rho * prior.curvature(spectrum, "cpu")
        found = noisy
        for _ in range(200):
            pull = prior.step(found, torch.empty(shape))
            found = spectrum.from_k(spectrum.to_k(noisy - rho * pull) / denominator)
        errors.append(float((found - ramp).norm() / (noisy - ramp).norm()))
    assert errors[0] < 0.4
    assert errors[0] < 0.8 * errors[1]
