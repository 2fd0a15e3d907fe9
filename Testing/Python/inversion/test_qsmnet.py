from dataclasses import replace
from pathlib import Path

import pytest
import torch

from QSMReconLib.data import ChiMap, FieldNoise, Grid, LocalField
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.inversion.qsmnet import QsmNet, flipped_views, outside_training
from QSMReconLib.inversion.tkd import tkd
from QSMReconLib.networks.card import load_card, load_network, networks
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime

needs_weights = pytest.mark.skipif("qsmnet-phys" not in networks(), reason="the weights are not here")


def _round_head(b0: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> tuple[LocalField, torch.Tensor]:
    """A ball of tissue with nuclei and a vein, 1 mm, and its exact field."""
    grid = Grid.centred((56, 64, 48), (1.0, 1.0, 1.0), b0)
    axes = [torch.arange(n) - (n - 1) / 2 for n in grid.shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    mask = ((x / 25) ** 2 + (y / 29) ** 2 + (z / 21) ** 2 < 1).float()
    chi = 0.02 * torch.sin(x / 4) * torch.cos(y / 5)
    chi = torch.where((x.abs() - 9) ** 2 + y**2 + z**2 < 25, 0.12, chi)
    chi = torch.where((y + 14) ** 2 + z**2 < 2.5, 0.25, chi) * mask
    field = Dipole.of(grid).field(chi) * mask
    return LocalField(grid, field, mask), chi


@needs_weights
@pytest.mark.parametrize("b0", [(0.0, 0.0, 1.0), (0.3, 0.2, 0.9327)])
def test_the_flagship_is_far_better_than_dividing(b0: tuple[float, float, float]) -> None:
    local, chi = _round_head(b0)
    made = QsmNet().apply(local, Runtime())
    errors = [nrmse(m, chi, local.mask) for m in (made.chi_ppm, tkd(local.field_ppm, Dipole.of(local.grid), 0.15))]
    assert errors[0] < 0.7 * errors[1]
    assert errors[0] < 30


@needs_weights
@pytest.mark.parametrize("factor", [4.0, -1.0])
def test_the_flagship_is_linear_in_the_size_and_nearly_in_the_sign(factor: float) -> None:
    local, chi = _round_head()
    scaled = replace(local, field_ppm=factor * local.field_ppm)
    made = QsmNet().apply(scaled, Runtime()).chi_ppm / factor
    inside = local.mask > 0
    slope = float((made[inside] * chi[inside]).sum() / chi[inside].square().sum())
    assert slope == pytest.approx(1.0, abs=0.1)


@needs_weights
def test_what_a_person_must_know_is_noted() -> None:
    local, _ = _round_head()
    runtime = Runtime()
    QsmNet().apply(local, runtime)
    assert any("% of the local field unexplained" in note for note in runtime.notes)
    strong = Runtime()
    QsmNet().apply(replace(local, field_ppm=30 * local.field_ppm), strong)
    assert any("check these voxels" in note for note in strong.notes)


@needs_weights
def test_scans_unlike_the_training_are_told_by_name() -> None:
    card = load_card("qsmnet-phys")
    local, _ = _round_head()
    assert outside_training(card, local) == []
    coarse = replace(local, grid=Grid.centred(local.grid.shape, (2.0, 2.0, 9.0)))
    assert len(outside_training(card, coarse)) == 3
    oblique = replace(local, grid=Grid.centred(local.grid.shape, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))
    assert any("55°" in sentence for sentence in outside_training(replace(card, max_tilt_deg=45.0), oblique))


@needs_weights
def test_noisy_voxels_count_less(small_head: dict) -> None:
    local, _ = _round_head()
    field, sigma = local.field_ppm.clone(), 0.001 * local.mask
    field[28:31, 31:34, 23:26] += 0.4
    sigma[28:31, 31:34, 23:26] = 0.2
    spoiled = replace(local, field_ppm=field)
    right = QsmNet().apply(local, Runtime()).chi_ppm
    trusting = QsmNet().apply(spoiled, Runtime()).chi_ppm
    knowing = QsmNet().apply(spoiled, Runtime(), FieldNoise(local.grid, sigma)).chi_ppm
    assert float((knowing - right).norm()) < 0.5 * float((trusting - right).norm())


@needs_weights
def test_a_last_data_step_explains_more_of_the_field() -> None:
    local, _ = _round_head()
    dipole = Dipole.of(local.grid)
    left = []
    for choice in ("off", "noise"):
        chi = QsmNet(data_consistency=choice).apply(local, Runtime()).chi_ppm
        left.append(float(((dipole.field(chi) - local.field_ppm) * local.mask).norm()))
    assert left[1] < left[0]


@needs_weights
def test_uncertainty_is_a_map_of_its_own_and_only_on_demand() -> None:
    local, _ = _round_head()
    assert QsmNet().apply(local, Runtime()).std_ppm is None
    made = QsmNet(uncertainty="flips").apply(local, Runtime())
    assert made.std_ppm is not None
    assert not made.std_ppm[local.mask == 0].any()
    assert float(made.std_ppm[local.mask > 0].min()) >= 0
    assert [what.contract for what, _ in made.volumes()] == ["chimap", "chimap_std"]
    assert [what.contract for what in ChiMap.declared_volumes()] == ["chimap", "chimap_std"]


@needs_weights
def test_mirrored_views_know_where_b0_has_gone() -> None:
    local, _ = _round_head((0.4, 0.2, 0.8944))
    card = load_card("qsmnet-phys")
    network = load_network(card)
    mean, std, _ = flipped_views(network, card, local.field_ppm, local.mask, local.grid)
    inside = local.mask > 0
    assert float(std[inside].median()) > 0
    assert float(std[inside].median()) / card.uncertainty_factor < 0.25 * float(mean[inside].std())


@needs_weights
def test_it_beats_the_public_engine_on_the_development_head(development_data: Path) -> None:
    """HD-QSM of a public engine has 18.7 % and an XSIM of 0.75 on this subject's true local field."""
    import nibabel

    from QSMReconLib.evaluation.metrics import xsim

    stem = development_data / "derivatives" / "truth" / "sub-siemens1mm" / "anat" / "sub-siemens1mm"
    names = ("Chimap", "desc-local_fieldmap", "desc-brain_mask")
    images = [nibabel.load(f"{stem}_{name}.nii.gz") for name in names]
    chi, field, mask = (torch.from_numpy(image.get_fdata()).float() for image in images)
    grid = Grid.from_affine(chi.shape, images[0].affine)
    made = QsmNet().apply(LocalField(grid, field * mask, mask), Runtime()).chi_ppm
    assert nrmse(made, chi, mask) < 18.7
    assert xsim(made, chi, mask) > 0.75
