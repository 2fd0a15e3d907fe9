import pytest
import torch

from QSMReconLib.networks.folded import Folded, FoldedConfig
from QSMReconLib.physics.dipole import dipole_kernel
from QSMReconLib.physics.fourier import Spectrum

SPECTRUM = Spectrum.of((16, 24, 8), (0.6, 0.9, 2.5), 6.0)
KERNEL = dipole_kernel(SPECTRUM, (0.0, 0.0, 1.0))


def _network() -> Folded:
    torch.manual_seed(0)
    network = Folded(FoldedConfig(channels=(8, 8, 8))).eval()
    torch.nn.init.normal_(network.denoiser.leave.weight, 0, 0.05)
    return network


def _case() -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(1, 1, 16, 24, 8)
    mask[..., 1:15, 2:22, 1:7] = 1
    return 0.01 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(1)) * mask, mask


@pytest.mark.parametrize("factor", [4.0, 0.1])
def test_a_field_so_many_times_as_large_gives_a_map_so_many_times_as_large(factor: float) -> None:
    field, mask = _case()
    network = _network()
    with torch.no_grad():
        one = network(field, mask, KERNEL, SPECTRUM)[-1]
        other = network(factor * field, mask, KERNEL, SPECTRUM)[-1]
    assert float(one.std()) > 0
    assert not one[mask == 0].any()
    assert torch.allclose(other, factor * one, atol=1e-5 * factor * float(one.abs().max()))


def test_of_the_physics_it_sees_nothing() -> None:
    field, mask = _case()
    other = Spectrum.of((16, 24, 8), (1.0, 1.0, 1.0), 4.0)
    network = _network()
    with torch.no_grad():
        here = network(field, mask, KERNEL, SPECTRUM)[-1]
        there = network(field, mask, dipole_kernel(other, (0.6, 0.0, 0.8)), other)[-1]
    assert torch.equal(here, there)


def test_nothing_outside_the_mask_is_seen() -> None:
    field, mask = _case()
    with torch.no_grad():
        one = _network()(field, mask, KERNEL, SPECTRUM)[-1]
        other = _network()(field + (1 - mask), mask, KERNEL, SPECTRUM)[-1]
    assert torch.allclose(one, other, atol=1e-6)
