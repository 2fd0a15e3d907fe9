import pytest
import torch

from QSMReconLib.errors import InputError
from QSMReconLib.networks.registry import build
from QSMReconLib.networks.unet import LITERAL_QSMNET, UNet, UNetConfig
from QSMReconLib.physics.dipole import dipole_kernel
from QSMReconLib.physics.fourier import Spectrum

SPECTRUM = Spectrum.of((16, 32, 16), (1.0, 1.0, 1.0), 8.0)
KERNEL = dipole_kernel(SPECTRUM, (0.0, 0.0, 1.0))


def test_the_literal_configuration_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = UNet(LITERAL_QSMNET)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert 99.4e6 <= count < 99.5e6
    assert network.multiple == 16


@pytest.mark.parametrize("closed_form", [False, True])
def test_it_maps_a_field_to_a_masked_map_of_its_size(closed_form: bool) -> None:
    torch.manual_seed(0)
    network = UNet(UNetConfig(base=4, depth=3, closed_form=closed_form)).eval().requires_grad_(False)
    field = 0.01 * torch.randn(2, 1, 16, 32, 16)
    mask = torch.zeros_like(field)
    mask[..., 3:12, 4:29, 2:14] = 1
    (chi,) = network(field * mask, mask, KERNEL, SPECTRUM)
    assert chi.shape == field.shape
    assert not chi[mask == 0].any()
    assert float(chi[mask > 0].std()) > 0


def test_with_the_closed_form_it_learns_what_that_lacks() -> None:
    network = UNet(UNetConfig(base=4, depth=2, closed_form=True, mu=1e-3)).eval().requires_grad_(False)
    torch.nn.init.zeros_(network.leave.weight)
    torch.nn.init.zeros_(network.leave.bias)
    generator = torch.Generator().manual_seed(0)
    chi = 0.05 * torch.randn(1, 1, 16, 32, 16, generator=generator)
    mask = torch.ones_like(chi)
    (made,) = network(SPECTRUM.from_k(KERNEL * SPECTRUM.to_k(chi)), mask, KERNEL, SPECTRUM)
    assert float((made - chi).norm() / chi.norm()) < 0.75
    assert float(torch.corrcoef(torch.stack([made.flatten(), chi.flatten()]))[0, 1]) > 0.8


def test_the_registry_names_what_it_does_not_know() -> None:
    assert isinstance(build("unet", {"base": 4, "depth": 2}), UNet)
    with pytest.raises(InputError, match="unrolled, unet"):
        build("transformer", {})
    with pytest.raises(InputError, match="has no bass"):
        build("unet", {"bass": 4})
