"""A small head that every test can have: oblique, anisotropic, odd, with known susceptibility."""

from __future__ import annotations

from math import pi
from pathlib import Path

import pytest
import torch

from QSMReconLib.data import (
    Artifact,
    ChiMap,
    CsfMask,
    FieldNoise,
    GreData,
    Grid,
    LabelMap,
    LocalField,
    Mask,
    PhaseQuality,
    R2Map,
    R2PrimeMap,
    R2StarMap,
    SeparatedChi,
    SpinEchoData,
    SwiImages,
    TotalField,
    UnwrappedPhase,
    VesselMask,
)
from QSMReconLib.physics.constants import ppm_per_hz
from QSMReconLib.physics.dipole import Dipole

ECHO_TIMES_S = (0.004, 0.010, 0.016, 0.022, 0.028)
FIELD_STRENGTH_T = 3.0

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def development_data() -> Path:
    """The simulated subjects with truth that stand beside a developer's checkout."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the development data is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def small_head() -> dict[type[Artifact], Artifact]:
    """One artifact of every type, all of the same simulated head (33 × 36 × 27 voxels of 2 × 2 × 2.5 mm)."""
    return make_small_head()


def make_small_head(b0_direction: tuple[float, float, float] = (0.1, -0.2, 0.97)) -> dict[type[Artifact], Artifact]:
    """The head as a function, for tests that change something of it."""
    grid = Grid.centred((33, 36, 27), (2.0, 2.0, 2.5), b0_direction)
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    brain = (x / 26) ** 2 + (y / 30) ** 2 + (z / 26) ** 2 < 1
    scalp = ((x / 31) ** 2 + (y / 34) ** 2 + (z / 31) ** 2 < 1) & ~((x / 28) ** 2 + (y / 32) ** 2 + (z / 28) ** 2 < 1)
    nuclei = ((x.abs() - 10) ** 2 + y**2 + z**2 < 36) & brain
    ventricle = (x**2 + (y + 14) ** 2 + z**2 < 25) & brain
    vein = ((y - 8) ** 2 + (z - 18) ** 2 < 4) & brain
    para = 0.020 * brain + 0.10 * nuclei - 0.020 * ventricle
    dia = 0.025 * (brain & ~nuclei & ~ventricle) + 0.005 * nuclei
    chi = (para - dia) * brain
    dipole = Dipole.of(grid)
    local = dipole.field(chi) * brain
    background = 0.002 * x + 0.001 * y - 0.00002 * (x**2 - z**2)
    total = (local + background) * brain
    r2 = (14.0 * brain - 13.0 * ventricle).clamp(min=0)
    r2prime = 137.0 * (para + dia) * brain
    r2star = r2 + r2prime
    generator = torch.Generator().manual_seed(1)
    phases, magnitudes, unwrapped = [], [], []
    for time in ECHO_TIMES_S:
        phase = (2 * pi * time / ppm_per_hz(FIELD_STRENGTH_T)) * (local + background)
        magnitude = 1000.0 * (brain + 0.8 * scalp) * torch.exp(-time * r2star)
        noise = torch.randn(2, *grid.shape, generator=generator) * 4.0
        signal = torch.polar(magnitude, phase + 0.3) + torch.complex(noise[0], noise[1])
        magnitudes.append(signal.abs())
        phases.append(signal.angle())
        unwrapped.append((phase + 0.3) * brain)
    spin_echo_times_s = (0.02, 0.04, 0.06, 0.08)
    spin_echoes = [1000.0 * brain * torch.exp(-time * r2) for time in spin_echo_times_s]
    artifacts: list[Artifact] = [
        GreData(grid, torch.stack(magnitudes), torch.stack(phases), ECHO_TIMES_S, FIELD_STRENGTH_T),
        SpinEchoData(grid, torch.stack(spin_echoes), spin_echo_times_s),
        Mask(grid, brain),
        PhaseQuality(grid, 0.9 * brain),
        UnwrappedPhase(grid, torch.stack(unwrapped), ECHO_TIMES_S, FIELD_STRENGTH_T),
        TotalField(grid, total),
        FieldNoise(grid, 0.001 * brain),
        LocalField(grid, local, brain),
        ChiMap(grid, chi, brain),
        SeparatedChi(grid, para, dia),
        R2StarMap(grid, r2star, FIELD_STRENGTH_T),
        R2Map(grid, r2, FIELD_STRENGTH_T),
        R2PrimeMap(grid, r2prime, FIELD_STRENGTH_T),
        VesselMask(grid, vein),
        CsfMask(grid, ventricle),
        LabelMap(grid, (brain.int() + nuclei).to(torch.int32)),
        SwiImages(grid, magnitudes[2] * brain, magnitudes[2] * brain),
    ]
    return {type(artifact): artifact for artifact in artifacts}
