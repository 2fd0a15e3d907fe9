"""COSMOS: several orientations determine χ; the command registers them first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from QSMReconLib.cli import main
from QSMReconLib.data import Grid
from QSMReconLib.errors import InputError
from QSMReconLib.inversion.cosmos import b0_seen_from, blind_share, check_orientations, cosmos, cosmos_inside
from QSMReconLib.inversion.tkd import tkd
from QSMReconLib.io.nifti import write_volume
from QSMReconLib.physics.dipole import Dipole

GRID = Grid.centred((30, 34, 27), (1.0, 0.9, 1.4))
DIRECTIONS = ((0.0, 0.0, 1.0), (0.7, 0.1, 0.7), (0.1, -0.75, 0.65))


@pytest.fixture
def dipoles() -> list[Dipole]:
    return [Dipole.of(replace(GRID, b0_direction=unit(b0)), padding_mm=16) for b0 in DIRECTIONS]


def unit(b0: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = np.asarray(b0) / np.linalg.norm(b0)
    return float(x), float(y), float(z)


def error(found: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    one, other = found[mask] - found[mask].mean(), truth[mask] - truth[mask].mean()
    return float((one - other).norm() / other.norm())


def test_three_orientations_determine_chi(dipoles: list[Dipole], mask: torch.Tensor, chi: torch.Tensor) -> None:
    fields = [dipole.field(chi) for dipole in dipoles]
    found = cosmos(fields, dipoles)
    assert error(found, chi, mask) < 0.06
    assert error(found, chi, mask) < 0.4 * error(tkd(fields[0], dipoles[0], 0.1), chi, mask)


def test_fields_known_only_inside_are_best_asked_only_there(
    dipoles: list[Dipole], mask: torch.Tensor, chi: torch.Tensor
) -> None:
    fields, seen = [dipole.field(chi) * mask for dipole in dipoles], list[float]()
    fields[1][12, 12, 10] = 9.0
    weights = [mask.float() for _ in dipoles]
    weights[1][12, 12, 10] = 0
    found = cosmos_inside(fields, weights, dipoles, mask, progress=seen.append)
    assert error(found, chi, mask) < 0.03
    assert not found[~mask].any()
    assert seen == sorted(seen)


def test_orientations_too_few_or_too_alike_are_refused(dipoles: list[Dipole]) -> None:
    check_orientations(DIRECTIONS)
    with pytest.raises(InputError, match="at least two"):
        check_orientations(DIRECTIONS[:1])
    with pytest.raises(InputError, match="Scans 1 and 3"):
        check_orientations([(0, 0, 1), (1, 0, 1), (0, 0.05, -1)])
    assert blind_share(dipoles) < blind_share(dipoles[:2]) < blind_share(dipoles[:1])


def test_b0_turns_with_the_head() -> None:
    """The affine of a turned scan, brought into the first one's head, turns its B0 there."""
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    other = Grid.from_affine((10, 10, 10), turn @ np.diag([2, 2, 3, 1]), (0.6, 0.0, 0.8))
    assert b0_seen_from(GRID, other) == pytest.approx((0, 0.6, 0.8))


@pytest.fixture
def turned(tmp_path: Path) -> tuple[Path, torch.Tensor, torch.Tensor]:
    """Three scans of a head in three poses, each on the scanner's own axial grid."""
    grid = Grid.centred((36, 40, 36), (3.0, 3.0, 3.0))
    generator = np.random.default_rng(0)
    centres, heights = generator.uniform(-30, 30, (12, 3)), generator.uniform(-0.1, 0.1, 12)
    for number, angles in enumerate(((0, 0, 0), (18, 0, 4), (0, -16, 0))):
        turn = rotation(angles)
        points = (
            np.stack(np.indices(grid.shape), -1) @ np.diag(grid.voxel_size_mm) + np.array(grid.affine)[:3, 3]
        ) @ turn
        brain = ((points / (36, 50, 42)) ** 2).sum(-1) < 1
        chi = sum(h * np.exp(-((points - c) ** 2).sum(-1) / 72) for c, h in zip(centres, heights, strict=True)) * brain
        volumes = {
            "magnitude": torch.from_numpy(brain * (1 + 8 * chi)).float(),
            "mask": torch.from_numpy(brain).float(),
            "chi": torch.from_numpy(chi).float(),
        }
        volumes["field"] = Dipole.of(grid).field(volumes["chi"]) * volumes["mask"]
        for name, volume in volumes.items():
            write_volume(tmp_path / f"{name}{number}.nii.gz", volume, grid)
        if number == 0:
            truth, inside = volumes["chi"], volumes["mask"] > 0
    return tmp_path, truth, inside


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[a, a] = about[b, b] = np.cos(angle)
        about[a, b], about[b, a] = -np.sin(angle), np.sin(angle)
        turn = about @ turn
    return turn


def test_the_command_registers_and_inverts(turned: tuple[Path, torch.Tensor, torch.Tensor]) -> None:
    import nibabel

    folder, truth, inside = turned
    named = {name: [str(folder / f"{name}{n}.nii.gz") for n in range(3)] for name in ("field", "mask", "magnitude")}
    arguments = ["cosmos", "--local-field", *named["field"], "--mask", *named["mask"], "-o", str(folder / "out")]
    assert main([*arguments, "--magnitude", *named["magnitude"], "--device", "cpu", "--progress", "none"]) == 0
    found = torch.from_numpy(np.asarray(nibabel.load(folder / "out" / "chimap.nii.gz").dataobj)).float()
    described = json.loads((folder / "out" / "chimap.json").read_text())
    tilts = [np.degrees(np.arccos(b0[2])) for b0 in described["B0DirectionsInVoxelAxesRAS"]]
    assert tilts == pytest.approx([0, 18.0, 16.0], abs=1.5)
    assert error(found, truth, inside) < 0.2
    assert main([*arguments, "--device", "cpu", "--progress", "none"]) == 2, "there already"


def test_the_command_wants_lists_of_one_length_and_turned_heads(
    turned: tuple[Path, torch.Tensor, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = turned
    fields = [str(folder / f"field{n}.nii.gz") for n in range(3)]
    common = ["cosmos", "--local-field", *fields, "-o", str(folder / "other"), "--device", "cpu", "--progress", "none"]
    assert main([*common, "--mask", fields[0]]) == 2
    assert "3 local fields but 1" in capsys.readouterr().err
    assert main(common) == 2
    assert "apart" in capsys.readouterr().err
    assert not list(folder.glob("other/*"))
