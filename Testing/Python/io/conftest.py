"""A head of 4 mm voxels as a BIDS dataset, small enough to be broken in every way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import pi
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from QSMReconLib.data import Grid
from QSMReconLib.io.preflight import Examined, examine
from QSMReconLib.physics.constants import radians_per_ppm
from QSMReconLib.physics.dipole import Dipole

ECHO_TIMES_S = (0.006, 0.014, 0.022)
FIELD_STRENGTH_T = 3.0
TILT = np.deg2rad(10)


@dataclass(frozen=True)
class Head:
    """The complex signal (echo, X, Y, Z) of a head, and its affine."""

    signal: NDArray[np.complex64]
    affine: NDArray[np.float64]

    def write(self, folder: Path, prefix: str = "sub-1", parts: str = "magphase", suffix: str = "MEGRE") -> None:
        """One file per echo and part, each with its sidecar."""
        folder.mkdir(parents=True, exist_ok=True)
        images = {
            "magphase": {
                "mag": (np.round(4000 * np.abs(self.signal)), np.int16),
                "phase": (np.round(np.angle(self.signal) * 4096 / pi).clip(-4096, 4095), np.int16),
            },
            "realimag": {
                "real": (np.round(4000 * self.signal.real), np.int16),
                "imag": (np.round(4000 * self.signal.imag), np.int16),
            },
        }[parts]
        for part, (values, dtype) in images.items():
            for echo, time in enumerate(ECHO_TIMES_S):
                stem = folder / f"{prefix}_echo-{echo + 1}_part-{part}_{suffix}"
                save(Path(f"{stem}.nii"), values[echo], self.affine, dtype)
                sidecar = {"EchoTime": time, "MagneticFieldStrength": FIELD_STRENGTH_T}
                Path(f"{stem}.json").write_text(json.dumps(sidecar))

    def with_signal(self, signal: NDArray[np.complex64]) -> Head:
        return replace(self, signal=signal.astype(np.complex64))


def save(path: Path, values: NDArray[Any], affine: NDArray[np.float64], dtype: Any = np.float32) -> None:
    """A NIfTI file whose sform and qform are the affine."""
    image = nibabel.Nifti1Image(values.astype(dtype), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, path)


def edit(path: Path, change: Callable[[NDArray[Any]], NDArray[Any]], dtype: Any = None) -> None:
    """Replace the values of a file."""
    image = nibabel.load(path)
    values = np.asarray(image.dataobj).copy()
    save(path, change(values), image.affine, dtype or values.dtype)


@pytest.fixture(scope="session")
def examined(development_data: Path) -> Callable[[str], Examined]:
    """The development data's subjects, each examined once."""

    @cache
    def by_name(subject: str) -> Examined:
        return next(examine(development_data, [subject]))

    return by_name


@pytest.fixture(scope="session")
def head() -> Head:
    """An ellipsoid with iron, veins, a ventricle and an air sinus, 10° oblique; its fields are the dipole's."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[1:3, 1:3] = 4.0 * np.array([[np.cos(TILT), -np.sin(TILT)], [np.sin(TILT), np.cos(TILT)]])
    affine[:3, 3] = (-86, -100, -80)
    grid = Grid.from_affine((44, 52, 42), affine)
    axes = [(torch.arange(n) - (n - 1) / 2) * 4.0 for n in grid.shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    head = (x / 76) ** 2 + (y / 92) ** 2 + (z / 76) ** 2 < 1
    sinus = x**2 + (y - 62) ** 2 + (z + 36) ** 2 < 14**2
    generator = torch.Generator().manual_seed(0)
    nuclei = torch.zeros_like(head)
    for side in (-1, 1):
        for px, py, pz, radius in ((22, 12, 6, 9), (12, -8, -8, 6), (18, -40, -34, 7), (14, 24, 12, 8)):
            nuclei |= (x - side * px) ** 2 + (y - py) ** 2 + (z - pz) ** 2 < radius**2
    veins = (x**2 + (y + 20) ** 2 < 4**2) & (z.abs() < 50) | ((y - 10) ** 2 + (z - 34) ** 2 < 4**2) & (x.abs() < 40)
    ventricle = (x / 8) ** 2 + (y / 26) ** 2 + (z / 8) ** 2 < 1
    texture = torch.nn.functional.avg_pool3d(torch.randn(1, *grid.shape, generator=generator), 3, 1, 1)[0]
    chi = 0.15 * nuclei + 0.35 * veins - 0.02 * ventricle + 0.015 * texture
    tissue = head & ~sinus
    background = torch.where(sinus, 9.4, 0.0)
    field = Dipole.of(grid).field(chi * tissue + background) + 1e-3 * (x + 0.5 * y) - 4e-5 * (x**2 - z**2)
    r2star = 20 + 60 * nuclei + 80 * veins - 15 * ventricle
    signal = []
    for time in ECHO_TIMES_S:
        noise = torch.randn(2, *grid.shape, generator=generator) * 0.004
        phase = radians_per_ppm(FIELD_STRENGTH_T, time) * field + 0.4 + 3e-5 * (x**2 + y**2)
        signal.append(torch.polar(0.9 * tissue * torch.exp(-time * r2star), phase) + torch.complex(noise[0], noise[1]))
    return Head(torch.stack(signal).numpy().astype(np.complex64), affine)


@pytest.fixture
def dataset(head: Head, tmp_path: Path) -> Path:
    """The head as a BIDS dataset of one subject, with magnitude and phase of three echoes."""
    folder = tmp_path / "dataset"
    head.write(folder / "sub-1" / "anat")
    (folder / "dataset_description.json").write_text('{"Name": "head", "BIDSVersion": "1.9.0"}')
    return folder


@pytest.fixture(autouse=True)
def coarse_heads_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small head's voxels are longer than those in which the sign of a scan's phase is judged."""
    monkeypatch.setattr("QSMReconLib.io.plausibility.SIGN_VOXEL_MM", 5.0)
