from __future__ import annotations

from pathlib import Path

import pytest
import torch

from QSMReconLib.data import GreData, Grid, Mask
from QSMReconLib.errors import InputError
from QSMReconLib.fieldmap.unwrap import wrap
from QSMReconLib.masking.automask import AutoMask
from QSMReconLib.runtime import Runtime

TIMES_S = (0.005, 0.015)


def head(
    shape: tuple[int, int, int] = (64, 72, 60),
    voxel: tuple[float, float, float] = (3.0, 3.0, 3.0),
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    bridge_mm: float = 0.0,
    bleed: bool = False,
    fat: float = 0.8,
    noise: float = 0.02,
    shading: float = 0.0,
) -> tuple[GreData, torch.Tensor]:
    """A brain of 1.3 l in a meningeal layer, a dark skull and a scalp, as a scan with noise, and its true mask."""
    grid = Grid.centred(shape, voxel)
    x, y, z = torch.meshgrid(
        *[(torch.arange(n) - (n - 1) / 2) * v - c for n, v, c in zip(shape, voxel, centre_mm, strict=True)],
        indexing="ij",
    )

    def shell(extra: float) -> torch.Tensor:
        return (x / (66 + extra)) ** 2 + (y / (78 + extra)) ** 2 + (z / (60 + extra)) ** 2 < 1

    brain = shell(0)
    level = 0.7 * shell(3) + 0.3 * brain + fat * (shell(16) & ~shell(9)) + 0.03 * (shell(9) & ~shell(3))
    ventricle = (x / 8) ** 2 + (y / 20) ** 2 + (z / 8) ** 2 < 1
    level = torch.where(ventricle, 0.3, level)
    if bleed:
        level = torch.where((x - 55) ** 2 + y**2 + z**2 < 144, 0.02, level)
    if bridge_mm:
        tube = (x**2 + (y - 20) ** 2 < bridge_mm**2) & (z < 0) & shell(16)
        level = torch.where(tube, 0.9, level)
    level = level * torch.exp(shading * x / 66)
    field_hz = 0.004 * (x**2 - y**2) + 0.2 * z
    times = torch.tensor(TIMES_S)[:, None, None, None]
    generator = torch.Generator().manual_seed(0)
    rough = noise * torch.randn(2, 2, *shape, generator=generator)
    signal = torch.polar((level * torch.exp(-20 * times)), 2 * torch.pi * field_hz * times)
    signal = signal + torch.complex(rough[0], rough[1])
    return GreData(grid, 500 * signal.abs(), wrap(signal.angle()), TIMES_S, 3.0), brain


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def found(gre: GreData, **options: float) -> torch.Tensor:
    mask = AutoMask(**options).apply(gre, Runtime())
    assert mask.voxels.dtype == torch.bool
    return mask.voxels


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"voxel": (2.4, 2.6, 5.0), "shape": (80, 82, 36)},
        {"fat": 2.5},
        {"bridge_mm": 4.0},
        {"bleed": True},
        {"noise": 0.1},
        {"shading": 0.7},
        {"centre_mm": (10.0, -8.0, 6.0)},
    ],
    ids=lambda changes: next(iter(changes), "plain"),
)
def test_the_brain_is_found_and_the_scalp_is_not(changes: dict) -> None:  # type: ignore[type-arg]
    gre, brain = head(**changes)
    assert dice(found(gre), brain) > 0.95


def test_a_single_echo_will_do() -> None:
    gre, brain = head()
    one = GreData(gre.grid, gre.magnitude[1:], gre.phase_rad[1:], TIMES_S[1:], 3.0)
    assert dice(found(one), brain) > 0.95


def test_a_field_of_view_inside_the_brain_is_all_brain() -> None:
    gre, brain = head(shape=(20, 24, 18))
    assert brain.all()
    assert found(gre).float().mean() > 0.99


def test_a_slab_runs_on_to_the_edge_of_the_field_of_view() -> None:
    gre, brain = head(shape=(64, 72, 9))
    mask = found(gre)
    assert dice(mask, brain) > 0.95
    assert dice(mask[:, :, 0], brain[:, :, 0]) > 0.95


def test_a_dark_hole_inside_belongs_to_the_brain() -> None:
    gre, _ = head()
    mask = found(gre)
    assert mask[32, 36, 30], "the ventricle is left out"


def test_peeling_takes_off_so_many_mm() -> None:
    gre, _ = head()
    lost = found(gre, peel_mm=0.0)[:, 36, 30].sum() - found(gre, peel_mm=9.0)[:, 36, 30].sum()
    assert float(lost) * 3.0 == pytest.approx(18.0, abs=3.0)


def test_incoherent_tissue_is_no_brain() -> None:
    gre, _ = head()
    spoilt = gre.phase_rad.clone()
    spoilt[:, :, :, :18] = wrap(
        6.28 * torch.rand(spoilt[:, :, :, :18].shape, generator=torch.Generator().manual_seed(0))
    )
    runtime = Runtime()
    mask = AutoMask().apply(GreData(gre.grid, gre.magnitude, spoilt, TIMES_S, 3.0), runtime).voxels
    assert not mask[:, :, :16].any()
    assert mask[32, 36, 24]
    assert "ml: look at it" in runtime.notes[0]


def test_a_thin_incoherent_margin_is_said() -> None:
    gre, _ = head(noise=0.005)
    spoilt = gre.phase_rad.clone()
    margin = (torch.arange(64)[:, None, None] > 48) & (torch.arange(60) % 12 < 6)
    noise = wrap(6.28 * torch.rand(spoilt.shape, generator=torch.Generator().manual_seed(0)))
    spoilt = torch.where(margin, noise, spoilt)
    runtime = Runtime()
    AutoMask(neck_mm=1.0).apply(GreData(gre.grid, gre.magnitude, spoilt, TIMES_S, 3.0), runtime)
    assert "were dropped as incoherent" in runtime.notes[-1]


def test_nothing_to_be_found_gets_a_sentence() -> None:
    grid = Grid.centred((20, 20, 20))
    dark = torch.zeros(2, *grid.shape)
    with pytest.raises(InputError, match=r"No brain was found.*--mask"):
        AutoMask().apply(GreData(grid, dark, dark, TIMES_S, 3.0), Runtime())


def test_noise_alone_is_no_brain() -> None:
    grid = Grid.centred((40, 40, 40), (3.0, 3.0, 3.0))
    rough = torch.randn(2, 2, *grid.shape, generator=torch.Generator().manual_seed(0))
    signal = torch.complex(rough[0], rough[1])
    with pytest.raises(InputError, match="No brain was found"):
        AutoMask().apply(GreData(grid, signal.abs(), signal.angle(), TIMES_S, 3.0), Runtime())


def test_a_mask_is_where_the_scan_is(development_data: Path) -> None:
    """The real scan lies wholly inside a brain: next to nothing may be missing."""
    import nibabel
    import numpy as np

    folder = development_data / "sub-invivo7t" / "anat"
    read = [
        np.stack([nibabel.load(folder / f"sub-invivo7t_echo-{e}_part-{part}_MEGRE.nii.gz").get_fdata() for e in (1, 2)])
        for part in ("mag", "phase")
    ]
    grid = Grid.centred(read[0].shape[1:], (0.47, 0.47, 1.0))
    phase = torch.from_numpy(read[1] / np.abs(read[1]).max() * np.pi).float()
    gre = GreData(grid, torch.from_numpy(read[0]).float(), phase, (0.004, 0.008), 7.0)
    mask = AutoMask().apply(gre, Runtime())
    assert isinstance(mask, Mask)
    assert mask.voxels.float().mean() > 0.98
