"""A small untrained network whose last layers do something, with its card, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from QSMReconLib.networks.card import Card, save_network
from QSMReconLib.networks.unrolled import Unrolled, UnrolledConfig


def tiny_network() -> Unrolled:
    torch.manual_seed(0)
    network = Unrolled(UnrolledConfig(steps=2, channels=(8, 8, 8), start_steps=2))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "leave" in name or "second" in name:
                parameter.normal_(0, 0.02)
            parameter.copy_(parameter.half().float())
    return network.eval().requires_grad_(False)


def tiny_card() -> Card:
    return Card(
        name="tiny",
        title="A network for tests",
        kind="unrolled",
        architecture={"steps": 2, "channels": [8, 8, 8], "start_steps": 2},
        sha256="",
        source="none",
        inputs="local field, ppm",
        output="χ, ppm",
        normalisation="none",
        voxel_mm=((0.5, 1.2), (0.5, 1.2), (0.6, 3.5)),
        max_tilt_deg=45.0,
        max_noise_ppb=4.0,
        max_chi_ppm=2.0,
    )


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Unrolled, Card, Path]:
    network = tiny_network()
    return network, save_network(network, tiny_card(), tmp_path), tmp_path
