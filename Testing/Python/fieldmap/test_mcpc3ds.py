from __future__ import annotations

from math import pi

import pytest
import torch

from QSMReconLib.data import GreData, Grid, Mask
from QSMReconLib.errors import InputError
from QSMReconLib.fieldmap.mcpc3ds import Mcpc3ds
from QSMReconLib.fieldmap.smoothphase import smooth_phase
from QSMReconLib.fieldmap.unwrap import wrap
from QSMReconLib.runtime import Runtime

GRID = Grid.centred((40, 36, 20), (2.0, 2.0, 4.0))


def head() -> tuple[torch.Tensor, ...]:
    x, y, z = torch.meshgrid(
        *[(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)],
        indexing="ij",
    )
    mask = (x / 36) ** 2 + (y / 33) ** 2 + (z / 36) ** 2 < 1
    field_hz = 0.03 * (x**2 - y**2) + 0.8 * z + 15 * torch.exp(-(x**2 + y**2 + z**2) / 50)
    offset = 1.0 + 0.0012 * (x**2 + y**2 + z**2) + 0.01 * y
    return mask, field_hz, offset


def scan(times_s: tuple[float, ...], backwards: float = 0.0, noise: float = 0.01) -> tuple[GreData, Mask, torch.Tensor]:
    """Echoes with a starting phase, every second one with a ramp of its own; and what they would be without."""
    mask, field_hz, offset = head()
    ramp = backwards * (0.4 + 0.03 * torch.arange(GRID.shape[0]))[:, None, None]
    times = torch.tensor(times_s)[:, None, None, None]
    clean = 2 * pi * field_hz * times
    alternate = (torch.arange(len(times_s)) % 2)[:, None, None, None]
    generator = torch.Generator().manual_seed(0)
    rough = noise * torch.randn(2, *clean.shape, generator=generator)
    signal = torch.polar(mask * torch.exp(-20 * times), clean + offset + alternate * ramp)
    signal = signal + torch.complex(rough[0], rough[1])
    return GreData(GRID, signal.abs(), signal.angle(), times_s, 3.0), Mask(GRID, mask), clean


def left_over(made: GreData, clean: torch.Tensor, mask: Mask) -> torch.Tensor:
    """Phase that the field does not explain, in every echo; a field that is constant everywhere is nobody's concern."""
    times = torch.tensor(made.echo_times_s)[:, None]
    rest = wrap(made.phase_rad - clean)[:, mask.voxels]
    step = torch.polar(torch.ones(rest.shape[1]), rest[2 if len(times) > 2 else 1] - rest[0]).mean().angle()
    constant = step / (times[2 if len(times) > 2 else 1] - times[0])
    return wrap(rest - constant * times)


@pytest.mark.parametrize("times_s", [(0.005, 0.012), (0.005, 0.012, 0.019), (0.004, 0.010, 0.022, 0.028)])
def test_the_starting_phase_goes_and_the_field_stays(times_s: tuple[float, ...]) -> None:
    gre, mask, clean = scan(times_s)
    made = Mcpc3ds().apply(gre, Runtime(), mask)
    assert made.phase_rad.abs().max() <= pi + 1e-5
    assert torch.equal(made.magnitude, gre.magnitude)
    rest = left_over(made, clean, mask)
    # Noise is 0.01 to 0.02 rad; the offset ran over 1.5 rad, and differed by 0.01 rad from voxel to voxel.
    assert float(rest.abs().median()) < 0.02
    assert float(rest.abs().quantile(0.99)) < 0.12


@pytest.mark.parametrize("times_s", [(0.005, 0.012, 0.019), (0.004, 0.009, 0.016, 0.021, 0.028)])
def test_a_bipolar_readout_is_evened_out(times_s: tuple[float, ...]) -> None:
    gre, mask, clean = scan(times_s, backwards=1.0)
    plain = left_over(Mcpc3ds().apply(gre, Runtime(), mask), clean, mask)
    evened = left_over(Mcpc3ds(bipolar=True).apply(gre, Runtime(), mask), clean, mask)
    assert float(plain.abs().median()) > 0.2
    assert float(evened.abs().median()) < 0.02
    assert float(evened.abs().quantile(0.99)) < 0.15


def test_it_needs_no_mask() -> None:
    gre, mask, clean = scan((0.005, 0.012, 0.019))
    rest = left_over(Mcpc3ds().apply(gre, Runtime()), clean, mask)
    assert float(rest.abs().median()) < 0.03


def test_one_echo_passes_with_a_word_about_it() -> None:
    gre, mask, _ = scan((0.02,))
    runtime = Runtime()
    assert Mcpc3ds().apply(gre, runtime, mask) is gre
    assert "single echo" in runtime.notes[0]


def test_two_bipolar_echoes_are_refused() -> None:
    gre, mask, _ = scan((0.005, 0.012))
    with pytest.raises(InputError, match="needs three echoes, and the scan has 2"):
        Mcpc3ds(bipolar=True).apply(gre, Runtime(), mask)


def test_a_smooth_phase_is_followed_to_the_edge() -> None:
    mask, _, offset = head()
    smooth = smooth_phase(torch.polar(mask.float(), offset), GRID.voxel_size_mm, 10.0)
    apart = wrap(smooth - offset)[mask]
    assert float(apart.abs().median()) < 0.02
    assert float(apart.abs().max()) < 0.15
