"""Grids in millimetres, random fields and solids: the same on every grid."""

import numpy as np
import pytest
import torch

from QSMReconLib.phantoms.pose import Pose
from QSMReconLib.phantoms.shapes import ellipsoid, rotated, share, tube, union, without
from QSMReconLib.phantoms.space import Space, Waves, sampled


def oblique(shape=(13, 10, 9), voxel=(1.5, 2.0, 2.5)):
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * voxel
    affine[:3, 3] = (-3.0, 5.0, 2.0)
    return Space(shape, affine)


def places(space):
    return torch.stack(space.position_mm(), dim=-1).reshape(-1, 3).double().numpy()


def test_positions_follow_the_affine():
    space = oblique()
    x, y, z = space.position_mm()
    expected = space.affine @ [7, 3, 5, 1]
    assert [float(v[7, 3, 5]) for v in (x, y, z)] == pytest.approx(expected[:3].tolist(), abs=1e-5)
    assert space.voxel_size_mm.tolist() == pytest.approx([1.5, 2.0, 2.5])


def test_boxes_and_parts_keep_their_place():
    space = oblique()
    centre = (space.affine @ [6, 5, 4, 1])[:3]
    box = space.box(centre - 1.6, centre + 1.6)
    x, _, _ = space.position_mm()
    part = space.part(box)
    assert torch.allclose(part.position_mm()[0], x[box], atol=1e-4)
    inside = (np.abs(places(space) - centre) <= 1.6).all(1).reshape(space.shape)
    kept = np.zeros(space.shape, dtype=bool)
    kept[box] = True
    assert not (inside & ~kept).any()
    assert min(space.part(space.box((500, 500, 500), (510, 510, 510))).shape) == 0


def test_split_voxels_average_to_the_whole():
    space = oblique((4, 3, 5))
    fine = space.split((3, 1, 2))
    for ours, whole in zip(fine.position_mm(), space.position_mm(), strict=True):
        mean = torch.nn.functional.avg_pool3d(ours[None], (3, 1, 2))[0]
        assert torch.allclose(mean, whole, atol=1e-4)


def test_what_is_linear_survives_the_lattice():
    space = oblique((31, 22, 17), (1.0, 1.3, 0.8))
    lattice = space.lattice(4.0)
    assert max(lattice.voxel_size_mm) <= 4.0
    assert np.prod(lattice.shape) < np.prod(space.shape) / 20
    for coarse, fine in zip(lattice.position_mm(), space.position_mm(), strict=True):
        assert torch.allclose(space.refine(coarse), fine, atol=1e-3)


def test_waves_are_the_same_field_on_every_grid():
    waves = Waves.draw(np.random.default_rng(1), 12.0, number=20)
    space = oblique()
    field = waves.on(space)
    by_hand = sum(
        np.cos(2 * np.pi * places(space) @ k + p) for k, p in zip(waves.cycles_per_mm, waves.phases_rad, strict=True)
    )
    assert np.allclose(field.numpy().ravel(), by_hand * np.sqrt(2 / 20), atol=1e-4)
    assert np.allclose(waves.at(places(space)), by_hand * np.sqrt(2 / 20))
    large = waves.on(Space.cube(60.0, 3.0))
    assert float(large.mean()) == pytest.approx(0, abs=0.1)
    assert float(large.var()) == pytest.approx(1, abs=0.2)


def test_a_cube_is_read_at_positions():
    cube = Space.cube(10.0, 2.0)
    x, y, z = cube.position_mm()
    points = tuple(torch.tensor(v)[None, None] for v in ([1.0, -7.3], [0.5, 2.2], [-9.0, 4.1]))
    assert torch.allclose(sampled(x + 2 * y + 3 * z, 2.0, points)[0, 0], torch.tensor([-25.0, 9.4]), atol=1e-4)


def test_solids_by_hand():
    at = [(0.0, 0.0, 0.0), (5.0, 0.0, 0.0), (0.0, 8.0, 0.0), (3.0, 0.0, 4.0)]
    p = tuple(torch.tensor([point[i] for point in at]) for i in range(3))
    ball = ellipsoid(p, (0, 0, 0), (4.0, 4.0, 4.0))
    assert torch.allclose(ball[1:], torch.tensor([1.0, 4.0, 1.0]), atol=1e-4)
    assert float(ball[0]) <= -3.9
    rod = tube(p, [(0, 0, 0), (0, 6, 0)], [1.0, 2.0])
    assert torch.allclose(rod, torch.tensor([-1.0, 4.0, 0.0, 4.0]), atol=1e-4)
    assert torch.equal(union(ball, rod), torch.minimum(ball, rod))
    assert torch.equal(without(ball, rod), torch.maximum(ball, -rod))
    assert (union(ball, rod, 2.0) <= torch.minimum(ball, rod)).all()
    assert torch.equal(share(torch.tensor([-9.0, -0.5, 0.0, 0.25, 9.0]), 1.0), torch.tensor([1, 1, 0.5, 0.25, 0]))
    turned = rotated(p, (0, 0, 0), angle_xy=np.pi / 2)
    assert torch.allclose(turned[1][1], torch.tensor(-5.0), atol=1e-5)


def test_a_flattened_ellipsoid_is_near_its_distance():
    space = Space.cube(12.0, 0.5)
    distance = ellipsoid(space.position_mm(), (0.13, 0.2, -0.07), (4.0, 8.0, 6.0))
    inside = float((distance < 0).sum()) * 0.125
    assert inside == pytest.approx(4 / 3 * np.pi * 4 * 8 * 6, rel=0.01)
    shell = float((distance.abs() < 0.75).sum()) * 0.125 / 1.5
    assert shell == pytest.approx(float(((distance + 0.5) < 0).sum() - ((distance - 0.5) < 0).sum()) * -0.125, rel=0.05)


def test_pose_goes_there_and_back():
    pose = Pose.draw(np.random.default_rng(5), (4.0, -3.0, 10.0))
    space = oblique()
    there = torch.stack(pose.position_mm(space), dim=-1).reshape(-1, 3).double().numpy()
    assert np.abs(pose.to_scanner_mm(there) - places(space)).max() < 0.01
    low, high = pose.bounds_mm(there.min(0), there.max(0))
    assert (places(space) >= low).all()
    assert (places(space) <= high).all()
