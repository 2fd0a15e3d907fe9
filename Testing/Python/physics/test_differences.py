import pytest
import torch

from QSMReconLib.physics.differences import divergence, gradient, laplacian_spectrum
from QSMReconLib.physics.fourier import Spectrum

VOXEL = (1.0, 0.5, 2.0)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_divergence_is_minus_the_adjoint_of_the_gradient() -> None:
    volume, vectors = _random(5, 6, 7), _random(3, 5, 6, 7)
    forward = float((gradient(volume, VOXEL) * vectors).sum())
    assert forward == pytest.approx(-float((volume * divergence(vectors, VOXEL)).sum()), rel=1e-4)


def test_a_ramp_has_its_slope() -> None:
    x = torch.arange(6.0)[:, None, None].expand(6, 4, 4)
    slope = gradient(3 * x, VOXEL)
    assert torch.equal(slope[0, :-1], torch.full((5, 4, 4), 3.0))
    assert not slope[1:].any()


@pytest.mark.parametrize("shape", [(6, 8, 10), (5, 9, 7)])
def test_the_laplacian_in_k_is_that_in_space(shape: tuple[int, int, int]) -> None:
    volume = _random(*shape)
    spectrum = Spectrum(shape, shape, VOXEL)
    multiplied = spectrum.from_k(spectrum.to_k(volume) * laplacian_spectrum(spectrum))
    assert torch.allclose(multiplied, -divergence(gradient(volume, VOXEL), VOXEL), atol=1e-4)
