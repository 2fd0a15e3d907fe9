from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from QSMReconLib.data import (
    Artifact,
    ChiMap,
    CsfMask,
    FieldNoise,
    Grid,
    LocalField,
    R2PrimeMap,
    SeparatedChi,
    VesselMask,
)
from QSMReconLib.errors import InputError
from QSMReconLib.evaluation.metrics import nrmse, xsim
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.chiseparation import ChiSeparation, white_noise
from QSMReconLib.separation.nullseparation import null_separation

Head = dict[type[Artifact], Artifact]


def run(head: Head, *leave_out: type[Artifact], **options: float) -> tuple[SeparatedChi, list[str]]:
    runtime = Runtime()
    given = {kind: artifact for kind, artifact in head.items() if kind not in leave_out}
    (made,) = ChiSeparation.with_options(options).run(given, runtime)
    assert isinstance(made, SeparatedChi)
    return made, runtime.notes


def decay_of(head: Head) -> R2PrimeMap:
    decay = head[R2PrimeMap]
    assert isinstance(decay, R2PrimeMap)
    return decay


def test_relaxivity_follows_b0_and_its_option_and_is_said(small_head: Head) -> None:
    decay = decay_of(small_head)
    at_3t, notes = run(small_head)
    assert notes[0] == "Dr is 137 Hz/ppm."
    stronger = {**small_head, R2PrimeMap: replace(decay, r2prime_hz=decay.r2prime_hz * 7 / 3, field_strength_t=7.0)}
    at_7t, notes = run(stronger)
    assert "319.7 Hz/ppm at 7 T" in notes[0]
    torch.testing.assert_close(at_7t.chi_para_ppm, at_3t.chi_para_ppm, atol=1e-5, rtol=0)
    other = {**small_head, R2PrimeMap: replace(decay, r2prime_hz=decay.r2prime_hz * 114 / 137)}
    rescaled, notes = run(other, dr_hz_per_ppm=114.0)
    assert notes[0] == "Dr is 114 Hz/ppm."
    torch.testing.assert_close(rescaled.chi_dia_ppm, at_3t.chi_dia_ppm, atol=1e-5, rtol=0)


def test_runs_without_what_it_can_do_without_and_says_so(small_head: Head) -> None:
    made, notes = run(small_head, ChiMap, FieldNoise, VesselMask, CsfMask)
    assert any("no map of the field's noise" in note for note in notes)
    truth = small_head[SeparatedChi]
    assert isinstance(truth, SeparatedChi)
    mask = small_head[LocalField]
    assert isinstance(mask, LocalField)
    assert nrmse(made.chi_para_ppm, truth.chi_para_ppm, mask.mask) < 12


def test_in_a_vessel_the_field_corrects_a_wrong_decay(small_head: Head) -> None:
    truth, local, vein = small_head[SeparatedChi], small_head[LocalField], small_head[VesselMask]
    assert isinstance(truth, SeparatedChi)
    assert isinstance(local, LocalField)
    assert isinstance(vein, VesselMask)
    decay = decay_of(small_head)
    wrong = {**small_head, R2PrimeMap: replace(decay, r2prime_hz=decay.r2prime_hz * (1 + vein.voxels))}

    def error(*leave_out: type[Artifact]) -> float:
        made, _ = run(wrong, *leave_out, vessel_doubt=3.0)
        off = (made.chi_para_ppm - truth.chi_para_ppm).abs() + (made.chi_dia_ppm - truth.chi_dia_ppm).abs()
        return float(off[vein.voxels].mean())

    assert error() < 0.5 * error(VesselMask)


def test_the_volume_around_the_mask_does_not_matter(small_head: Head) -> None:
    local = small_head[LocalField]
    assert isinstance(local, LocalField)
    shifted = {}
    pad = (3, 4, 2, 9, 6, 1)
    shape = tuple(n + a + b for n, (a, b) in zip(local.grid.shape, ((6, 1), (2, 9), (3, 4)), strict=True))
    grid = Grid.centred((shape[0], shape[1], shape[2]), local.grid.voxel_size_mm, local.grid.b0_direction)
    for kind in (LocalField, R2PrimeMap, ChiMap, FieldNoise):
        artifact = small_head[kind]
        tensors = {n: torch.nn.functional.pad(t, pad) for n, t in vars(artifact).items() if isinstance(t, torch.Tensor)}
        shifted[kind] = replace(artifact, grid=grid, **tensors)
    first, _ = run(small_head, VesselMask, CsfMask)
    second, _ = run(shifted)
    grown = torch.nn.functional.pad(first.chi_para_ppm, pad)
    torch.testing.assert_close(second.chi_para_ppm, grown, atol=1e-6, rtol=0)


def test_the_noise_of_a_map_is_read_from_its_scatter() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (40, 41, 39)
    x = torch.linspace(0, 3, shape[0])[:, None, None]
    volume = torch.sin(2 * x) + 0.03 * torch.randn(shape, generator=generator)
    mask = torch.ones(shape)
    mask[:, :5] = 0
    assert white_noise(volume, mask) == pytest.approx(0.03, rel=0.03)
    assert white_noise(volume, torch.zeros(shape)) == 0


def test_bad_input_gets_a_sentence(small_head: Head) -> None:
    local, decay = small_head[LocalField], decay_of(small_head)
    assert isinstance(local, LocalField)
    elsewhere = {**small_head, R2PrimeMap: replace(decay, grid=Grid.centred(decay.grid.shape))}
    with pytest.raises(InputError, match="R2′ map is not on the grid"):
        run(elsewhere)
    with pytest.raises(InputError, match="mask is empty"):
        run({**small_head, LocalField: replace(local, mask=torch.zeros_like(local.mask))})


def test_on_a_simulated_head_it_beats_the_null_separation_of_the_true_susceptibility(development_data: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    folder = development_data / "derivatives" / "truth" / "sub-siemens1mm" / "anat"
    block = (slice(64, 108), slice(90, 130), slice(52, 96))
    generator = torch.Generator().manual_seed(0)

    def volume(name: str) -> torch.Tensor:
        image = nibabel.load(folder / f"sub-siemens1mm_{name}.nii.gz")
        return torch.from_numpy(np.asarray(image.dataobj[block], dtype=np.float32))

    para, dia, mask = volume("desc-para_Chimap"), volume("desc-dia_Chimap"), volume("desc-brain_mask")
    grid = Grid.centred(tuple(mask.shape))  # type: ignore[arg-type]
    # The block alone, as if the rest of the head were air.
    field = Dipole.of(grid, padding_mm=64).field((para - dia) * mask)
    field = (field + 0.002 * torch.randn(mask.shape, generator=generator)) * mask
    decay = (volume("R2primemap") + torch.randn(mask.shape, generator=generator)).clamp(min=0) * mask
    given: Head = {
        LocalField: LocalField(grid, field, mask),
        R2PrimeMap: R2PrimeMap(grid, decay, 3.0),
        FieldNoise: FieldNoise(grid, 0.002 * mask),
    }
    made, _ = run(given, outside_ppm=0.0)
    null = null_separation((para - dia) * mask, decay / 137.0)
    for found, floor, truth in ((made.chi_para_ppm, null[0], para), (made.chi_dia_ppm, null[1], dia)):
        assert nrmse(found, truth, mask) < 0.9 * nrmse(floor, truth, mask)
        assert xsim(found, truth, mask) > xsim(floor, truth, mask) + 0.05
