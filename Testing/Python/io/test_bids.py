"""Scans found in datasets, subjects and sessions, whatever their files are called within BIDS."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from QSMReconLib.data import GreData, SpinEchoData
from QSMReconLib.errors import InputError
from QSMReconLib.io.bids import find_scans, load_scan
from QSMReconLib.io.scan import Given

from .conftest import ECHO_TIMES_S, Head, save


def rename(folder: Path, old: str, new: str) -> None:
    for path in sorted(folder.rglob(f"*{old}*")):
        path.rename(path.with_name(path.name.replace(old, new)))


@pytest.mark.parametrize("level", [".", "sub-1", "sub-1/anat"])
def test_a_scan_is_found_from_every_level(level: str, dataset: Path) -> None:
    (found,) = find_scans(dataset / level)
    assert (found.name, found.subject, found.session) == ("sub-1", "1", "")
    assert [path.name for path in found.phase] == [f"sub-1_echo-{e}_part-phase_MEGRE.nii" for e in (1, 2, 3)]
    assert found.root == dataset
    scan = load_scan(found)
    gre = scan.artifacts[GreData]
    assert gre.echo_times_s == ECHO_TIMES_S
    assert gre.field_strength_t == 3.0
    assert gre.magnitude.shape == gre.phase_rad.shape == (3, 44, 52, 42)
    assert scan.folder == Path("sub-1/anat")
    assert scan.grid is gre.grid
    assert len(scan.files) == 12


def test_the_signal_is_what_was_written(dataset: Path, head: Head) -> None:
    gre = load_scan(find_scans(dataset)[0]).artifacts[GreData]
    found = torch.polar(gre.magnitude, gre.phase_rad).numpy() / 4000
    assert np.abs(found - head.signal).max() < 2e-3
    np.testing.assert_allclose(gre.grid.b0_direction, (0, np.sin(np.deg2rad(10)), np.cos(np.deg2rad(10))), atol=1e-6)


def test_real_and_imaginary_parts_are_the_same_scan(head: Head, tmp_path: Path) -> None:
    head.write(tmp_path / "sub-1" / "anat", parts="realimag")
    gre = load_scan(find_scans(tmp_path)[0]).artifacts[GreData]
    assert np.abs(torch.polar(gre.magnitude, gre.phase_rad).numpy() / 4000 - head.signal).max() < 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_alternating_slices_are_repaired_and_reported(axis: int, head: Head, tmp_path: Path) -> None:
    signs = np.where(np.arange(head.signal.shape[axis + 1]) % 2, -1, 1)
    shape = [1, 1, 1]
    shape[axis] = -1
    head.with_signal(head.signal * signs.reshape(shape)).write(tmp_path / "sub-1" / "anat", parts="realimag")
    scan = load_scan(find_scans(tmp_path)[0])
    gre = scan.artifacts[GreData]
    assert np.abs(torch.polar(gre.magnitude, gre.phase_rad).numpy() / 4000 - head.signal).max() < 1e-3
    (repair,) = [finding for finding in scan.findings if finding.level == "repaired"]
    words = ("left to right", "back to front", "bottom to top")[axis]
    assert words in repair.text
    assert repair.file is not None


def test_sessions_runs_and_subjects_are_scans_of_their_own_in_order(head: Head, tmp_path: Path) -> None:
    small = Head(head.signal[:, ::4, ::4, ::4], head.affine)
    for prefix in ("sub-10", "sub-9_ses-b", "sub-9_ses-a_run-10", "sub-9_ses-a_run-9", "sub-9_ses-a_acq-fast_run-1"):
        subject, *rest = prefix.split("_")
        session = [part for part in rest if part.startswith("ses-")]
        small.write(tmp_path.joinpath(subject, *session, "anat"), prefix)
    found = find_scans(tmp_path)
    assert [scan.name for scan in found] == [
        "sub-9_ses-a_acq-fast_run-1",
        "sub-9_ses-a_run-9",
        "sub-9_ses-a_run-10",
        "sub-9_ses-b",
        "sub-10",
    ]
    assert [scan.session for scan in found] == ["a", "a", "a", "b", ""]
    assert [scan.name for scan in find_scans(tmp_path, ["sub-10"])] == ["sub-10"]
    assert [scan.name for scan in find_scans(tmp_path / "sub-9" / "ses-b")] == ["sub-9_ses-b"]
    assert load_scan(found[3]).folder == Path("sub-9/ses-b/anat")
    with pytest.raises(InputError, match=r"no scan of the participant '7'; it has 9, 10"):
        find_scans(tmp_path, ["9", "7"])


def test_one_4d_file_per_part_with_a_list_of_echo_times(dataset: Path) -> None:
    anat = dataset / "sub-1" / "anat"
    expected = load_scan(find_scans(dataset)[0]).artifacts[GreData]
    for part in ("mag", "phase"):
        paths = sorted(anat.glob(f"*part-{part}*.nii"))
        images = [nibabel.load(path) for path in paths]
        values = np.stack([np.asarray(image.dataobj) for image in images], axis=3)
        save(anat / f"sub-1_part-{part}_MEGRE.nii.gz", values, images[0].affine, np.int16)
        for path in paths:
            path.unlink()
            path.with_suffix(".json").unlink()
    sidecar = {"EchoTime": list(ECHO_TIMES_S), "MagneticFieldStrength": 3}
    (dataset / "MEGRE.json").write_text(json.dumps(sidecar))
    gre = load_scan(find_scans(dataset)[0]).artifacts[GreData]
    assert gre.echo_times_s == ECHO_TIMES_S
    torch.testing.assert_close(gre.phase_rad, expected.phase_rad)
    torch.testing.assert_close(gre.magnitude, expected.magnitude)


@pytest.mark.parametrize("suffix", ["T2starw", "GRE"])
def test_a_single_echo_is_a_scan(suffix: str, dataset: Path) -> None:
    for path in (dataset / "sub-1" / "anat").glob("*echo-[12]*"):
        path.unlink()
    rename(dataset, "_echo-3", "")
    rename(dataset, "MEGRE", suffix)
    scan = load_scan(find_scans(dataset)[0])
    assert scan.artifacts[GreData].echo_times_s == ECHO_TIMES_S[2:]
    assert [finding.level for finding in scan.findings if "R2*" in finding.text] == ["missing"]


def test_images_without_part_are_told_by_their_sidecars(dataset: Path) -> None:
    anat = dataset / "sub-1" / "anat"
    for path in anat.glob("*part-phase*.json"):
        sidecar = json.loads(path.read_text()) | {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}
        path.write_text(json.dumps(sidecar))
    rename(anat, "_part-phase", "_rec-x")
    rename(anat, "_part-mag", "_rec-x_part-mag")
    (found,) = find_scans(dataset)
    assert (len(found.magnitude), len(found.phase)) == (3, 3)


def test_a_magnitude_without_part_goes_with_its_phase(dataset: Path) -> None:
    rename(dataset, "_part-mag", "")
    (found,) = find_scans(dataset)
    assert load_scan(found).artifacts[GreData].echo_times_s == ECHO_TIMES_S


def test_the_multi_echo_scan_is_preferred_and_the_other_mentioned(dataset: Path, head: Head) -> None:
    head.write(dataset / "sub-1" / "anat", suffix="T2starw")
    (found,) = find_scans(dataset)
    assert all("MEGRE" in path.name for path in found.phase)
    assert "left aside" in found.findings[0].text


def test_derivatives_and_hidden_folders_are_passed_over(dataset: Path) -> None:
    for name in ("derivatives/truth", "sourcedata", ".cache"):
        shutil.copytree(dataset / "sub-1", dataset / name / "sub-2")
    (found,) = find_scans(dataset)
    assert all(dataset / "sub-1" in path.parents for path in found.magnitude + found.phase)
    (other,) = find_scans(dataset / "derivatives" / "truth")
    assert other.root == dataset / "derivatives" / "truth"


@pytest.mark.parametrize("elsewhere", [False, True])
def test_spin_echoes_come_along_on_the_grid_of_the_gradient_echoes(elsewhere: bool, dataset: Path, head: Head) -> None:
    x = np.arange(44)[:, None, None] + 2.0 * np.arange(52)[None, :, None] + 3.0 * np.arange(42)[None, None, :] + 10
    step, affine = 1, head.affine
    if elsewhere:
        step, affine = 2, head.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    for echo, time in enumerate((0.02, 0.06), 1):
        stem = dataset / "sub-1" / "anat" / f"sub-1_echo-{echo}_MESE"
        save(Path(f"{stem}.nii.gz"), (x * np.exp(-time * 20))[::step, ::step, ::step], affine)
        Path(f"{stem}.json").write_text(json.dumps({"EchoTime": time}))
    scan = load_scan(find_scans(dataset)[0])
    spin = scan.artifacts[SpinEchoData]
    assert spin.echo_times_s == (0.02, 0.06)
    inside = (slice(2, -4),) * 3
    np.testing.assert_allclose(spin.magnitude[1][inside], (x * np.exp(-1.2))[inside], rtol=1e-4)
    assert spin.grid == scan.artifacts[GreData].grid
    assert any("resampled" in finding.text for finding in scan.findings if finding.level == "repaired") == elsewhere


@pytest.mark.parametrize(
    ("sidecar", "why"),
    [
        ({"EchoTime": 0.08}, ""),
        ({"EchoTime": 0.08, "EchoTrainLength": 1}, ""),
        ({"EchoTime": 0.08, "EchoTrainLength": 16}, r"is a turbo spin echo \(EchoTrainLength 16\)"),
        ({}, "has no EchoTime"),
        (None, "has a sidecar that cannot be read"),
    ],
)
def test_a_t2_weighted_image_is_a_spin_echo_if_it_is_a_single_one(
    sidecar: dict | None, why: str, dataset: Path, head: Head
) -> None:
    stem = dataset / "sub-1" / "anat" / "sub-1_T2w"
    save(Path(f"{stem}.nii.gz"), np.abs(head.signal[0]), head.affine)
    Path(f"{stem}.json").write_text("{" if sidecar is None else json.dumps(sidecar))
    (found,) = find_scans(dataset)
    scan = load_scan(found)
    assert (SpinEchoData in scan.artifacts) == (not why)
    if why:
        (finding,) = found.findings
        assert re.search(rf"sub-1_T2w.nii.gz was left aside, as it {why}.*--spin-echo", finding.text), finding.text
    else:
        assert scan.artifacts[SpinEchoData].echo_times_s == (0.08,)
        assert any("1 spin echo at 80 ms" in finding.text for finding in scan.findings)


def test_spin_echo_times_may_be_given(dataset: Path, head: Head) -> None:
    stem = dataset / "sub-1" / "anat" / "sub-1_echo-1_MESE"
    save(Path(f"{stem}.nii.gz"), np.abs(head.signal[0]), head.affine)
    (found,) = find_scans(dataset)
    with pytest.raises(InputError, match=r"EchoTime is missing in .*MESE\.json: .* or give --spin-echo-times"):
        load_scan(found)
    scan = load_scan(found, Given(spin_echo_times_s=(0.05,)))
    assert scan.artifacts[SpinEchoData].echo_times_s == (0.05,)
    with pytest.raises(InputError, match="--spin-echo-times gives 2 echo times for 1 echoes"):
        load_scan(found, Given(spin_echo_times_s=(0.05, 0.06)))


def test_a_t2_weighted_image_is_passed_over_where_there_are_several_echoes(dataset: Path) -> None:
    anat = dataset / "sub-1" / "anat"
    for name in ("sub-1_echo-1_MESE.nii", "sub-1_T2w.nii"):
        (anat / name).touch()
    (found,) = find_scans(dataset)
    assert [path.name for path in found.spin_echo] == ["sub-1_echo-1_MESE.nii"]
    assert found.findings == ()


def test_of_several_spin_echo_scans_the_matching_run_is_taken(dataset: Path) -> None:
    anat = dataset / "sub-1" / "anat"
    rename(anat, "sub-1_", "sub-1_run-2_")
    for run in (1, 2):
        (anat / f"sub-1_run-{run}_echo-1_MESE.nii").touch()
    (found,) = find_scans(dataset)
    assert [path.name for path in found.spin_echo] == ["sub-1_run-2_echo-1_MESE.nii"]
    assert "2 spin-echo scans" in found.findings[0].text


def test_what_a_person_gives_overrules_the_sidecars(dataset: Path) -> None:
    (found,) = find_scans(dataset)
    plain = load_scan(found).artifacts[GreData]
    scan = load_scan(found, Given((0.01, 0.02, 0.03), 1.5, (0.0, 0.0, 2.0), "flip"))
    gre = scan.artifacts[GreData]
    assert (gre.echo_times_s, gre.field_strength_t) == ((0.01, 0.02, 0.03), 1.5)
    assert gre.grid.b0_direction == (0.0, 0.0, 1.0)
    torch.testing.assert_close(gre.phase_rad, -plain.phase_rad)
    texts = {finding.level: finding.text for finding in scan.findings}
    assert "negated" in texts["repaired"]
    assert "10° from that of the affine" in texts["suspicious"]
    with pytest.raises(InputError, match="--echo-times gives 2 echo times for 3 echoes"):
        load_scan(found, Given(echo_times_s=(0.01, 0.02)))
    with pytest.raises(InputError, match="auto, keep, flip"):
        Given(phase_sign="wrong")  # type: ignore[arg-type]


def test_a_folder_without_scans_says_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no gradient-echo scan.*part-phase_MEGRE"):
        find_scans(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        find_scans(tmp_path / "nowhere")
    (tmp_path / "scan.nii").touch()
    with pytest.raises(InputError, match=r"is a file: .*--magnitude"):
        find_scans(tmp_path / "scan.nii")
