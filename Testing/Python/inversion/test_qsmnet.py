from dataclasses import replace
from pathlib import Path

import pytest
import torch

from QSMReconLib.data import ChiMap, FieldNoise, Grid, LocalField
from QSMReconLib.errors import InputError
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.inversion import qsmnet
from QSMReconLib.inversion.qsmnet import QsmNet, measured, outside_training
from QSMReconLib.inversion.tkd import tkd
from QSMReconLib.networks.card import load_card, networks
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
    assert outside_training(card, measured(local)) == []
    coarse = replace(local, grid=Grid.centred(local.grid.shape, (2.0, 2.0, 9.0)))
    assert len(outside_training(card, measured(coarse))) == 3
    oblique = replace(local, grid=Grid.centred(local.grid.shape, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))
    told = outside_training(replace(card, max_tilt_deg=45.0), measured(oblique))
    assert told == ["qsmnet-phys knows B0 0 to 45° off an axis of the volume; here it is 54.7."]
    noise = 0.02 * torch.randn(local.grid.shape, generator=torch.Generator().manual_seed(0)) * local.mask
    noisy = measured(replace(local, field_ppm=local.field_ppm + noise))
    assert noisy["noise_ppb"] == pytest.approx(20, rel=0.1)
    assert any("field noise of 0 to 4 ppb" in sentence for sentence in outside_training(card, noisy))
    of_three_tesla = replace(card, field_strength_t=(2.8, 3.1))
    assert outside_training(of_three_tesla, measured(local)) == []
    assert outside_training(of_three_tesla, measured(local, field_strength_t=3.0)) == []
    assert any("B0 of 2.8 to 3.1 T" in s for s in outside_training(of_three_tesla, measured(local, None, 7.0)))


@needs_weights
def test_what_the_card_forbids_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    local, _ = _round_head((0.6, 0.0, 0.8))
    card = replace(load_card("qsmnet"), refuses={"tilt_deg": (0.0, 20.0)})
    monkeypatch.setattr(qsmnet, "load_card", lambda name: card)
    with pytest.raises(InputError, match=r"must not be used for B0 36\.9° off an axis of the volume, only for 0 to 20"):
        QsmNet(network="qsmnet").apply(local, Runtime())


@needs_weights
def test_the_stage_says_what_is_outside_and_goes_on() -> None:
    local, _ = _round_head((0.6, 0.0, 0.8))
    card = load_card("qsmnet")
    runtime = Runtime()
    QsmNet(network="qsmnet").apply(local, runtime)
    assert any("knows B0 0 to 0° off an axis" in note for note in runtime.notes)
    assert any("% of the local field unexplained" in note for note in runtime.notes)
    assert card.data_consistency == "noise"


@needs_weights
def test_noisy_voxels_count_less() -> None:
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
def test_the_card_says_whether_data_steps_follow() -> None:
    local, chi = _round_head()
    errors = {}
    for choice in ("card", "off", "noise"):
        made = QsmNet(network="qsmnet", data_consistency=choice).apply(local, Runtime())
        errors[choice] = nrmse(made.chi_ppm, chi, local.mask)
    assert errors["card"] == errors["noise"]
    assert errors["noise"] < 0.7 * errors["off"]


@needs_weights
@pytest.mark.parametrize("noise_ppm", [0.0, 0.002])
def test_at_home_the_field_only_network_beats_dividing(noise_ppm: float) -> None:
    local, chi = _round_head()
    noise = noise_ppm * torch.randn(local.grid.shape, generator=torch.Generator().manual_seed(0)) * local.mask
    local = replace(local, field_ppm=local.field_ppm + noise)
    made = QsmNet(network="qsmnet").apply(local, Runtime()).chi_ppm
    assert nrmse(made, chi, local.mask) < nrmse(tkd(local.field_ppm, Dipole.of(local.grid), 0.2), chi, local.mask)


@needs_weights
def test_uncertainty_is_a_map_of_its_own_and_only_on_demand() -> None:
    local, chi = _round_head()
    assert QsmNet().apply(local, Runtime()).std_ppm is None
    made = QsmNet(uncertainty="estimated").apply(local, Runtime())
    assert made.std_ppm is not None
    inside = local.mask > 0
    assert not made.std_ppm[~inside].any()
    assert float(made.std_ppm[inside].min()) > 0
    error = (made.chi_ppm - chi)[inside]
    error = (error - error.mean()).abs()
    rank = torch.stack([made.std_ppm[inside], error]).argsort(1).argsort(1).float()
    assert float(torch.corrcoef(rank)[0, 1]) > 0.15
    assert [what.contract for what, _ in made.volumes()] == ["chimap", "chimap_std"]
    assert [what.contract for what in ChiMap.declared_volumes()] == ["chimap", "chimap_std"]


@needs_weights
def test_a_network_whose_errors_were_not_measured_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    local, _ = _round_head()
    card = replace(load_card("qsmnet"), uncertainty={})
    monkeypatch.setattr(qsmnet, "load_card", lambda name: card)
    runtime = Runtime()
    assert QsmNet(network="qsmnet", uncertainty="estimated").apply(local, runtime).std_ppm is None
    assert any("no map of its uncertainty" in note for note in runtime.notes)


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
