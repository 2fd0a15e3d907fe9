from types import SimpleNamespace

import pytest
import torch

from QSMReconLib.background.harmonic import harmonic_residual, solid_harmonics


def test_solid_harmonics_are_harmonic_and_independent() -> None:
    axes = [torch.linspace(-0.5, 0.5, 41, dtype=torch.float64)] * 3
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    basis = torch.stack(list(solid_harmonics(x, y, z, 4)))
    step = 1 / 40
    inner = basis[:, 1:-1, 1:-1, 1:-1]
    around = sum(basis.roll(s, a)[:, 1:-1, 1:-1, 1:-1] for a in (1, 2, 3) for s in (-1, 1))
    assert float(((around - 6 * inner) / step**2).abs().max()) < 0.15 * float(basis.abs().amax())
    flat = basis.reshape(25, -1)
    flat = flat / flat.norm(dim=1, keepdim=True)
    assert int(torch.linalg.matrix_rank(flat @ flat.T)) == 25


def test_sees_the_background_and_not_the_brain(head: SimpleNamespace) -> None:
    voxel = head.grid.voxel_size_mm
    background = float(head.background[head.mask].std())
    assert harmonic_residual(head.background, head.mask, voxel) == pytest.approx(background, rel=0.03)
    tenth = harmonic_residual(0.1 * head.background, head.mask, voxel)
    assert tenth == pytest.approx(0.1 * background, rel=0.03)
    assert harmonic_residual(head.local, head.mask, voxel) < 0.5 * float(head.local[head.mask].std())


def test_what_does_not_count_is_not_seen(head: SimpleNamespace) -> None:
    wild, weight = head.background.clone(), head.mask.float()
    hole = tuple(slice(n // 2 - 3, n // 2 + 3) for n in head.grid.shape)
    wild[hole], weight[hole] = 10.0, 0.0
    right = harmonic_residual(head.background, head.mask, head.grid.voxel_size_mm)
    assert harmonic_residual(wild, head.mask, head.grid.voxel_size_mm, weight) == pytest.approx(right, rel=0.02)


def test_too_few_voxels_say_nothing() -> None:
    mask = torch.zeros(6, 6, 6, dtype=torch.bool)
    mask[2:4, 2:4, 2:4] = True
    assert harmonic_residual(torch.randn(6, 6, 6), mask, (1.0, 1.0, 1.0)) == 0.0
