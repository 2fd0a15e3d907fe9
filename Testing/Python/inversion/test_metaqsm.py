"""Meta-QSM and Mesa-QSM as stages; what they have in common with `qsmnet` is tested there."""

from __future__ import annotations

import pytest
import torch

from QSMReconLib.data import Grid, LocalField
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.inversion.mesaqsm import MesaQsm
from QSMReconLib.inversion.metaqsm import MetaQsm
from QSMReconLib.inversion.qsmnet import QsmNet
from QSMReconLib.inversion.tkd import tkd
from QSMReconLib.networks.card import load_card, load_network
from QSMReconLib.networks.weightpredicted import WeightPredicted
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage


def _ball(voxel: tuple[float, float, float]) -> tuple[LocalField, torch.Tensor]:
    """A ball of tissue of 20 mm with nuclei, a bleed and a calcification, and its exact field."""
    x, y, z = (round(44 / v) for v in voxel)
    grid = Grid.centred((x, y, z), voxel)
    axes = [(torch.arange(n) - (n - 1) / 2) * v for n, v in zip(grid.shape, voxel, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    mask = ((x * x + y * y + z * z) < 20**2).float()
    chi = 0.02 * torch.sin(x / 4) * torch.cos(y / 5)
    chi = torch.where((x.abs() - 8) ** 2 + y**2 + z**2 < 20, 0.12, chi)
    chi = torch.where(x**2 + (y - 9) ** 2 + z**2 < 12, 0.8, chi)
    chi = torch.where(x**2 + (y + 9) ** 2 + z**2 < 12, -0.8, chi) * mask
    return LocalField(grid, Dipole.of(grid).field(chi) * mask, mask), chi


def _choices(stage: type[Stage]) -> set[str]:
    return {choice for item in stage.options() if item.name == "network" for choice in item.choices}


def test_each_stage_offers_its_own_networks_only() -> None:
    assert _choices(MetaQsm) == {"metaqsm", "metaqsm-phys"}
    assert _choices(MesaQsm) == {"mesaqsm-0.5x0.5x2", "mesaqsm-0.76x0.76x3"}
    assert not _choices(QsmNet) & (_choices(MetaQsm) | _choices(MesaQsm))


@pytest.mark.parametrize("voxel", [(0.7639, 0.7639, 3.0), (1.0, 0.6, 2.2)])
def test_at_every_size_it_is_far_better_than_dividing_and_keeps_strong_sources(
    voxel: tuple[float, float, float],
) -> None:
    local, chi = _ball(voxel)
    made = MetaQsm().apply(local, Runtime()).chi_ppm
    assert nrmse(made, chi, local.mask) < 0.6 * nrmse(tkd(local.field_ppm, Dipole.of(local.grid), 0.2), chi, local.mask)
    for place in (chi > 0.5, chi < -0.5):
        assert float(made[place].mean() / chi[place].mean()) == pytest.approx(1.0, abs=0.1)


def test_kernels_follow_the_scans_voxels() -> None:
    network = load_network(load_card("metaqsm-phys"))
    assert isinstance(network, WeightPredicted)
    thin, thick = (
        torch.cat([p.flatten() for p in network.at(voxel).parameters()]) for voxel in ((1.0, 1.0, 1.0), (0.5, 0.5, 4.0))
    )
    assert float((thin - thick).norm()) > 0


def test_other_voxels_are_resampled_to_those_of_mesa_and_it_is_said() -> None:
    local, chi = _ball((1.0, 1.0, 1.0))
    runtime = Runtime()
    made = MesaQsm(network="mesaqsm-0.5x0.5x2").apply(local, runtime).chi_ppm
    assert made.shape == local.grid.shape
    assert any("resampled to 0.5 × 0.5 × 2 mm for mesaqsm-0.5x0.5x2" in note for note in runtime.notes)
    assert float(torch.corrcoef(torch.stack([made.flatten(), chi.flatten()]))[0, 1]) > 0.5
