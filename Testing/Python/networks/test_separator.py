import pytest
import torch

from QSMReconLib.networks.ratesplitter import RateSplitter, RateSplitterConfig
from QSMReconLib.networks.separator import Separator, SeparatorConfig
from QSMReconLib.physics.dipole import dipole_kernel
from QSMReconLib.physics.fourier import Spectrum

SHAPE = (16, 24, 16)
SPECTRUM = Spectrum.of(SHAPE, (1.0, 0.8, 1.5), 12.0)
KERNEL = dipole_kernel(SPECTRUM, (0.1, 0.3, 0.95))


def _case() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, 1, *SHAPE)
    mask[..., 2:14, 3:20, 2:15] = 1
    coarse = torch.rand(1, 2, 4, 6, 4, generator=generator)
    maps = 0.05 * torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear") * mask
    chi = maps[:, :1] - maps[:, 1:]
    field = SPECTRUM.from_k(KERNEL * SPECTRUM.to_k(chi)) * mask
    total = (maps.sum(1, keepdim=True) + 0.005 * torch.randn(1, 1, *SHAPE, generator=generator)) * mask
    return {"field": field, "total": total, "chi": chi, "start": maps, "guessed": torch.zeros(1), "weight": mask}


def _network(trained: bool) -> Separator:
    torch.manual_seed(1)
    network = Separator(SeparatorConfig(steps=2, channels=(8, 8, 8))).eval()
    if trained:
        with torch.no_grad():
            network.denoiser.leave.weight.normal_(0, 0.02)
    return network


@pytest.mark.parametrize("factor", [4.0, 0.5])
def test_everything_so_many_times_as_large_gives_maps_so_many_times_as_large(factor: float) -> None:
    given = _case()
    network = _network(trained=True)
    larger = {name: v if name in ("guessed", "weight") else factor * v for name, v in given.items()}
    with torch.no_grad():
        one, other = (network(**g, kernel=KERNEL, spectrum=SPECTRUM)[-1] for g in (given, larger))
    assert torch.allclose(other, factor * one, atol=1e-4 * factor * float(one.abs().max()))
    assert not torch.allclose(one, given["start"], atol=1e-4)


def test_untrained_it_moves_the_start_towards_the_field_and_leaves_the_sum() -> None:
    given = _case()
    right, given["start"] = given["start"], given["start"].mean(1, keepdim=True).expand(-1, 2, -1, -1, -1)
    with torch.no_grad():
        found = _network(trained=False)(**given, kernel=KERNEL, spectrum=SPECTRUM)

    def wrong(maps: torch.Tensor) -> float:
        return float((maps[:, 0] - maps[:, 1] - right[:, 0] + right[:, 1]).norm())

    assert wrong(found[1]) < wrong(found[0]) < wrong(given["start"])
    assert torch.allclose(found[1].sum(1), given["start"].sum(1), atol=1e-7)


def test_the_network_is_told_whether_its_rates_were_measured() -> None:
    given = _case()
    network = _network(trained=True)
    with torch.no_grad():
        measured, guessed = (
            network(**(given | {"guessed": torch.full((1,), flag)}), kernel=KERNEL, spectrum=SPECTRUM)[-1]
            for flag in (0.0, 1.0)
        )
    assert not torch.allclose(measured, guessed, atol=1e-6)


def test_rates_start_from_the_guess_and_vanish_outside_the_mask() -> None:
    given = _case()
    mask = given["weight"]
    r2star = (14 + 137 * given["total"]) * mask
    network = RateSplitter(RateSplitterConfig((8, 8, 8))).eval()
    with torch.no_grad():
        (untrained,) = network(r2star, 0.4 * r2star, given["chi"], mask)
        network.denoiser.leave.weight.normal_(0, 0.02)
        (other,) = network(r2star, 0.4 * r2star, given["chi"], mask)
    assert torch.allclose(untrained, 0.4 * r2star)
    assert not torch.allclose(other, untrained)
    assert not other[mask == 0].any()
