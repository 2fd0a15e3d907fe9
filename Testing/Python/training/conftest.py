"""A small anatomy that needs no download: an ellipsoid of a brain with cortex, ventricle and nuclei."""

from __future__ import annotations

import pytest
import torch

from QSMReconLib.training.anatomy import TISSUES, Anatomy


@pytest.fixture(scope="session")
def ball_anatomy() -> Anatomy:
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in (120, 140, 110)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    depth = 1 - ((x / 56) ** 2 + (y / 66) ** 2 + (z / 52) ** 2).sqrt()
    brain = (depth > 0).float()
    ventricle = ((x.abs() - 8) ** 2 + (y / 3) ** 2 + z**2 < 40).float()
    grey = ((depth > 0) & (depth < 0.12)).float()
    white = brain - grey - ventricle * brain
    nuclei = []
    for index, _ in enumerate(tissue for tissue in TISSUES if tissue.ellipsoids):
        nuclei.append((((x.abs() - 22) ** 2 + (y + 40 - 11 * index) ** 2 + z**2) < 25).float())
    return Anatomy(torch.stack([brain, grey, white, 0.8 * white + 0.6 * grey, *nuclei]), (0.0, -15.0, 5.0))
