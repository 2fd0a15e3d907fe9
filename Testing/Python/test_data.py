"""Grids and artifacts."""

from __future__ import annotations

import numpy as np
import pytest

from QSMReconLib.data import Artifact, ChiMap, Grid, SeparatedChi
from QSMReconLib.errors import InputError


def test_b0_follows_from_the_affine() -> None:
    angle = np.radians(15)
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.75, 0.75, 3.0])
    grid = Grid.from_affine((10, 11, 12), affine)
    assert grid.voxel_size_mm == pytest.approx((0.75, 0.75, 3.0))
    assert grid.b0_direction == pytest.approx((0, np.sin(angle), np.cos(angle)))
    assert Grid.from_affine((10, 11, 12), affine, (0, 0, -2)).b0_direction == (0, 0, -1)


@pytest.mark.parametrize(
    ("affine", "b0", "sentence"),
    [
        (np.zeros((4, 4)), None, "affine is singular"),
        (np.full((4, 4), np.nan), None, "affine is singular"),
        (np.eye(4), (0, 0, 0), "B0 direction has no length"),
    ],
)
def test_senseless_geometry_is_refused(affine: np.ndarray, b0: tuple[float, ...] | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Grid.from_affine((4, 4, 4), affine, b0)


def test_a_grid_has_three_axes() -> None:
    with pytest.raises(InputError, match="three axes; this one has 2"):
        Grid.from_affine((4, 4), np.eye(4))


def test_same_place_looks_at_where_the_voxels_are() -> None:
    grid = Grid.centred((100, 100, 50), (1, 1, 2))
    assert grid.same_place(Grid.centred((100, 100, 50), (1, 1, 2)))
    assert not grid.same_place(Grid.centred((100, 100, 50), (1, 1, 2.01)))
    assert not grid.same_place(Grid.centred((100, 100, 51), (1, 1, 2)))
    shifted = np.asarray(grid.affine).copy()
    shifted[0, 3] += 0.5
    assert not grid.same_place(Grid.from_affine(grid.shape, shifted))


def test_artifacts_say_which_volumes_they_hold(small_head: dict[type[Artifact], Artifact]) -> None:
    assert [what.bids for what in SeparatedChi.declared_volumes()] == ["desc-para_Chimap", "desc-dia_Chimap"]
    ((what, tensor),) = small_head[ChiMap].volumes()
    assert (what.unit, what.contract) == ("ppm", "chimap")
    assert tensor.shape == small_head[ChiMap].grid.shape


def test_moving_an_artifact_keeps_everything_else(small_head: dict[type[Artifact], Artifact]) -> None:
    moved = small_head[ChiMap].to("meta")
    assert isinstance(moved, ChiMap)
    assert moved.chi_ppm.device.type == moved.mask.device.type == "meta"
    assert moved.reference == small_head[ChiMap].reference  # type: ignore[attr-defined]
