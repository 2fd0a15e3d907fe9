"""A brain in the field of sources around it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from QSMReconLib.data import Grid
from QSMReconLib.phantoms.closed_forms import sphere


@pytest.fixture(scope="session", params=["isotropic", "thick"])
def head(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Balls of tissue inside, a ball of air below, all of known field, and a shim and an offset.

    `total` = `local`, the field of `chi`, + `background`, ppm, in `mask`.
    """
    shape, voxel, b0 = {
        "isotropic": ((51, 60, 48), (1.5, 1.5, 1.5), (0.0, 0.0, 1.0)),
        "thick": ((62, 70, 25), (1.2, 1.2, 3.0), (0.2, 0.3, 0.93)),
    }[request.param]
    grid = Grid.centred(shape, voxel, b0)
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(shape, voxel, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    brain = (x / 28) ** 2 + (y / 34) ** 2 + ((z - 4) / 26) ** 2 < 1
    balls = ((7.0, 0.15, (10, 5, 6)), (9.0, -0.05, (-11, 2, 2)), (5.0, 0.2, (2, -20, 6)))
    spheres = [sphere(grid, radius, chi, centre, edge_mm=3.0) for radius, chi, centre in balls]
    chi, local = (sum(volumes) for volumes in zip(*spheres, strict=True))
    _, air = sphere(grid, 7.0, 9.0, (0.0, 18.0, -32.0), edge_mm=3.0)
    background = air + 0.3 + 0.002 * x + 0.00003 * (x**2 - y**2)
    total = local + background
    return SimpleNamespace(
        grid=grid, mask=brain, chi=chi, local=local * brain, background=background * brain, total=total * brain
    )
