from __future__ import annotations

import pytest
import torch

from QSMReconLib.solvers.cg import conjugate_gradients
from QSMReconLib.solvers.multigrid import Multigrid, laplacian, prolonged, restricted

SHAPE = (33, 40, 27)


def ball(radius: float = 11.0) -> torch.Tensor:
    """A ball of voxels that keeps clear of the ends of the volume."""
    axes = [torch.arange(n) - n / 2 for n in SHAPE]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return (x**2 + y**2 + z**2 < radius**2).float()


def rough(seed: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


voxels = pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (0.75, 0.75, 3.0), (0.5, 1.0, 2.0)])


@voxels
def test_it_is_symmetric_and_positive(voxel: tuple[float, float, float]) -> None:
    grids, inside = Multigrid(ball(), voxel), ball()
    one, two = rough(1) * inside, rough(2) * inside
    there, back = float((one * grids(two)).sum()), float((two * grids(one)).sum())
    assert there == pytest.approx(back, abs=1e-4 * float((one * grids(one)).sum()))
    assert float((two * grids(two)).sum()) > 0


@pytest.mark.parametrize("factors", [(2, 2, 2), (2, 1, 2), (1, 1, 2)])
def test_restriction_is_the_adjoint_of_prolongation(factors: tuple[int, int, int]) -> None:
    fine, coarse = (
        rough(3, (32, 40, 28)),
        torch.zeros(tuple(n // f for n, f in zip((32, 40, 28), factors, strict=True))),
    )
    coarse[2:-2, 2:-2, 2:-2] = rough(4, tuple(n - 4 for n in coarse.shape))
    parts = factors[0] * factors[1] * factors[2]
    left = float((prolonged(coarse, factors, fine.shape) * fine).sum())
    assert left == pytest.approx(parts * float((coarse * restricted(fine, factors)).sum()), rel=1e-4)


@voxels
def test_a_harmonic_field_is_found_in_a_few_steps(voxel: tuple[float, float, float]) -> None:
    inside = ball()
    grids = Multigrid(inside, voxel)
    truth = rough(5) * inside
    image = laplacian(truth, voxel).neg() * inside
    found = conjugate_gradients(grids.levels[0].apply, image, iterations=20, tolerance=1e-5, precondition=grids)
    assert found.iterations < 14
    assert torch.allclose(found.value, truth, atol=1e-3)


def test_a_mask_too_thin_for_another_grid_has_one() -> None:
    inside = torch.zeros(8, 8, 8)
    inside[2:6, 3, 2:6] = 1
    assert len(Multigrid(inside, (1.0, 1.0, 1.0)).levels) == 1


def test_the_laplacian_is_symmetric_and_knows_a_parabola() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(7, 9, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    voxel = (1.0, 0.5, 3.0)
    forth, back = (laplacian(one, voxel) * other).sum(), (one * laplacian(other, voxel)).sum()
    assert float(forth) == pytest.approx(float(back), rel=1e-12)
    x = torch.arange(7.0)[:, None, None].expand(7, 9, 6) * voxel[0]
    assert torch.allclose(laplacian(x**2, voxel)[1:-1, 1:-1, 1:-1], torch.tensor(2.0), atol=1e-3)
