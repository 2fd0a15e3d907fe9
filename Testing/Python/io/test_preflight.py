"""The doctor: every way in which a dataset can be broken is said, with the file and the remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from QSMReconLib.cli import main
from QSMReconLib.data import GreData, SpinEchoData
from QSMReconLib.errors import InputError
from QSMReconLib.io.bids import find_scans, load_scan
from QSMReconLib.io.nifti import read_volume
from QSMReconLib.io.preflight import examine
from QSMReconLib.io.scan import Given

from .conftest import Head, edit, save
from .test_plausibility import homodyne

ANAT = "sub-1/anat/sub-1"


def image(folder: Path, echo: int = 2, part: str = "phase", suffix: str = ".nii") -> Path:
    return folder / f"{ANAT}_echo-{echo}_part-{part}_MEGRE{suffix}"


def edit_sidecars(folder: Path, change: Callable[[dict], None], pattern: str = "*MEGRE.json") -> None:
    for path in folder.rglob(pattern):
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))


def in_milliseconds(values: dict) -> None:
    values["EchoTime"] *= 1000


def moved(path: Path) -> None:
    stored = nibabel.load(path)
    affine = stored.affine.copy()
    affine[2, 3] += 4.0
    save(path, np.asarray(stored.dataobj), affine, np.int16)


def with_nan(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    values[3, 4, 5:9] = np.nan
    return values


def filtered(folder: Path) -> None:
    for echo in (1, 2, 3):
        magnitude, grid = read_volume(image(folder, echo, "mag"))
        phase, _ = read_volume(image(folder, echo))
        signal = homodyne(14)(torch.polar(magnitude, phase * torch.pi / 4096), grid)
        edit(image(folder, echo), lambda _, signal=signal: (signal.angle() * 4095 / torch.pi).numpy(), np.int16)


def negated(folder: Path) -> None:
    for echo in (1, 2, 3):
        edit(image(folder, echo), lambda values: np.clip(-values, -4096, 4095))


def swapped_times(folder: Path) -> None:
    for part in ("mag", "phase"):
        first, third = image(folder, 1, part, ".json"), image(folder, 3, part, ".json")
        one, other = first.read_text(), third.read_text()
        first.write_text(other)
        third.write_text(one)


def swapped_parts(folder: Path) -> None:
    edit(image(folder, 1, "mag"), lambda _: np.asarray(nibabel.load(image(folder, 1)).dataobj))


def only_real(folder: Path) -> None:
    unlink(*folder.rglob("*part-phase*"))
    for path in list(folder.rglob("*part-mag*")):
        path.rename(path.with_name(path.name.replace("part-mag", "part-real")))


def brighter(folder: Path) -> None:
    edit(image(folder, 3, "mag"), lambda values: values * 5)


def unlink(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


# What is broken, and what the finding must say: the file, then the remedy.
ERRORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "high-pass-filtered phase": (filtered, r"echo-1_part-phase.* high-pass filtered.*: export the unfiltered phase"),
    "flipped sign": (negated, r"echo-1_part-phase.* opposite sign.*multiply it by -1, or give --phase-sign flip"),
    "echo times in ms": (
        lambda d: edit_sidecars(d, in_milliseconds),
        r"beside .*echo-1_part-mag.* must be milliseconds: write seconds \(0.006, 0.014, 0.022\)",
    ),
    "one echo's grid off": (
        lambda d: moved(image(d)),
        r"echo-2_part-phase.*another grid .* than .*echo-1_part-mag.*: export all echoes",
    ),
    "one echo of another shape": (
        lambda d: edit(image(d, 3, "mag"), lambda v: v[:-1]),
        r"echo-3_part-mag.*another grid \(43 × 52 × 42.* than .*echo-1_part-mag.*\(44 × 52 × 42",
    ),
    "NaN": (lambda d: edit(image(d), with_nan, np.float32), r"echo-2_part-phase.* 4 voxels .*NaN.*: export it again"),
    "infinity": (
        lambda d: edit(image(d, 1, "mag"), lambda v: np.where(v == v.max(), np.inf, v), np.float32),
        r"echo-1_part-mag.* not numbers .*: export it again",
    ),
    "all zero": (lambda d: edit(image(d, 3, "mag"), np.zeros_like), r"echo-3_part-mag.* is all zero: export it again"),
    "constant": (
        lambda d: edit(image(d), lambda v: v * 0 + 7),
        r"echo-2_part-phase.* is 7 everywhere: export it again",
    ),
    "magnitude without phase": (
        lambda d: unlink(*d.rglob("*part-phase*")),
        r"echo-1_part-mag.* is magnitude without phase.*: add it \(part-phase, or --phase\)",
    ),
    "phase without magnitude": (
        lambda d: unlink(*d.rglob("*part-mag*")),
        r"echo-1_part-phase.* is phase without magnitude.*: add it",
    ),
    "one phase missing": (
        lambda d: unlink(image(d)),
        r"3 echoes of the magnitude but 2 of the phase: add what belongs to .*echo-2_part-mag",
    ),
    "different echoes missing": (
        lambda d: unlink(image(d, 3), image(d, 2, "mag")),
        r"echo-3_part-mag.* and .*echo-2_part-phase.* different echoes: add what is missing",
    ),
    "EchoTime missing": (
        lambda d: edit_sidecars(d, lambda v: v.pop("EchoTime")),
        r"EchoTime is missing in .*echo-1_part-mag_MEGRE\.json: add it, in seconds, or give --echo-times",
    ),
    "one EchoTime missing": (
        lambda d: edit_sidecars(d, lambda v: v.pop("EchoTime"), "*echo-2*.json"),
        r"EchoTime is missing in .*echo-2_part-mag_MEGRE\.json: add it",
    ),
    "echo times do not increase": (
        swapped_times,
        r"beside .*echo-1_part-mag.* do not increase: put the echoes in order",
    ),
    "echo times of the parts differ": (
        lambda d: edit_sidecars(d, lambda v: v.update(EchoTime=v["EchoTime"] + 0.001), "*part-phase*.json"),
        r"EchoTime differs between .*part-mag_MEGRE\.json and .*part-phase_MEGRE\.json: mend one",
    ),
    "field strength missing": (
        lambda d: edit_sidecars(d, lambda v: v.pop("MagneticFieldStrength")),
        r"MagneticFieldStrength is missing in .*echo-1_part-mag_MEGRE\.json: add it, in tesla, or give --field",
    ),
    "field strength in gauss": (
        lambda d: edit_sidecars(d, lambda v: v.update(MagneticFieldStrength=30000)),
        r"MagneticFieldStrength in .*echo-1_part-mag_MEGRE\.json is 30000: give the field strength in tesla",
    ),
    "a sidecar that is not JSON": (
        lambda d: image(d, suffix=".json").write_text("{EchoTime: 5}"),
        r"echo-2_part-phase_MEGRE\.json cannot be read as JSON .*: mend or remove it",
    ),
    "a slice": (
        lambda d: edit(image(d), lambda v: v[:, :, :1]),
        r"echo-2_part-phase.* 44 × 52 × 1: .* three dimensions",
    ),
    "truncated": (lambda d: truncated(image(d)), r"echo-2_part-phase.*cut short.*: copy or export it again"),
    "magnitude and phase swapped": (
        swapped_parts,
        r"echo-1_part-mag.* goes down to -\d+, which no magnitude does: is it",
    ),
    "one echo in another unit": (
        lambda d: edit(image(d, 1), lambda v: v * np.pi / 4096, np.float32),
        r"echo-1_part-phase.* runs from -3.14.*: store all echoes in the same unit",
    ),
    "real part without imaginary part": (
        only_real,
        r"echo-1_part-real.* is a real part without imaginary part, .*: add it",
    ),
}

OTHERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "fewer than three echoes": (
        lambda d: unlink(*d.rglob("*echo-3*")),
        "missing",
        r"R2\* needs at least 3 echoes, and .*echo-1_part-phase.* has 2: add the other echoes",
    ),
    "a late echo": (
        lambda d: edit_sidecars(d, lambda v: v.update(EchoTime=0.3), "*echo-3*.json"),
        "suspicious",
        r"beside .*echo-1_part-phase.* is 0.3 s.*must be in seconds",
    ),
    "a brighter last echo": (brighter, "suspicious", r"brighter than the first \(.*echo-1.*order of their times\?"),
    "B0 elsewhere": (
        lambda d: edit_sidecars(d, lambda v: v.update(B0_dir=[0, 0, 1]), "*part-mag*.json"),
        "suspicious",
        r"B0 in .*echo-1_part-mag_MEGRE\.json is 10° from that of the affine",
    ),
    "phase in integers": (lambda d: None, "repaired", r"echo-1_part-phase.* runs from -4096 to 4095: it was taken as"),
}


def test_a_sound_dataset_passes(dataset: Path) -> None:
    (found,) = examine(dataset)
    assert found.errors == ()
    assert found.scan is not None
    assert {finding.level for finding in found.findings} == {"found", "repaired"}


@pytest.mark.parametrize("case", ERRORS)
def test_what_stands_in_the_way_is_an_error_and_stops_the_work(
    case: str, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    breaker, sentence = ERRORS[case]
    breaker(dataset)
    before = sorted(dataset.rglob("*"))
    (found,) = examine(dataset)
    assert found.scan is None
    (error,) = found.errors
    assert re.search(sentence, error.text), error.text
    assert error.file is not None
    with pytest.raises(InputError) as raised:
        load_scan(find_scans(dataset)[0])
    assert raised.value.exit_code == 2
    assert str(raised.value) == error.text
    assert_stops(dataset, before, capsys, error.text)


def assert_stops(
    dataset: Path, before: list[Path], capsys: pytest.CaptureFixture[str], sentence: str, *more: str
) -> None:
    """Whether `doctor` and `run` both say the sentence, end with exit code 2, and leave nothing behind."""
    out = dataset.parent / "out"
    capsys.readouterr()
    assert main(["doctor", str(dataset), *more]) == 2
    said = capsys.readouterr().out
    assert sentence in said
    assert "error" in said
    assert main(["run", str(dataset), "-o", str(out), "--device", "cpu", "--progress", "none", *more]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()
    assert sorted(dataset.rglob("*")) == before


def test_too_few_echoes_are_missing_to_the_doctor_and_stop_what_needs_r2star(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unlink(*dataset.rglob("*echo-3*"))
    before = sorted(dataset.rglob("*"))
    assert main(["doctor", str(dataset)]) == 2
    said = capsys.readouterr().out
    assert re.search(r"missing .*R2\* needs at least 3 echoes, and .*echo-1_part-phase.* has 2: add the other", said)
    assert "Ready to run, but for what is missing." in said
    out = dataset.parent / "out"
    clinical = ["--pipeline", "clinical", "--device", "cpu", "--progress", "none"]
    assert main(["run", str(dataset), "-o", str(out), *clinical]) == 2
    said = capsys.readouterr().err
    assert re.search(
        r"r2starfit needs .* R2\* needs at least 3 echoes, and .*echo-1_part-phase.*: add the other echoes", said
    ), said
    assert not out.exists()
    assert sorted(dataset.rglob("*")) == before


@pytest.mark.parametrize("case", OTHERS)
def test_what_does_not_stand_in_the_way_is_said_and_passes(case: str, dataset: Path) -> None:
    breaker, level, sentence = OTHERS[case]
    breaker(dataset)
    (found,) = examine(dataset)
    assert found.errors == ()
    assert found.scan is not None
    assert [f for f in found.findings if f.level == level and re.search(sentence, f.text)], found.findings


def test_a_wrong_direction_of_b0_turns_the_sign_of_iron_too(dataset: Path) -> None:
    """Across B0 the dipole is negative: what was paramagnetic would come out diamagnetic, which is noticed."""
    (found,) = examine(dataset, given=Given(b0_direction=(0.0, 1.0, 0.0)))
    (error,) = found.errors
    assert "If B0 is not along (0.00, 1.00, 0.00)" in error.text
    assert "--b0-direction" in error.text


def test_the_sign_may_be_kept_or_flipped_on_request(dataset: Path) -> None:
    expected = load_scan(find_scans(dataset)[0]).artifacts[GreData].phase_rad
    negated(dataset)
    (files,) = find_scans(dataset)
    kept = load_scan(files, Given(phase_sign="keep")).artifacts[GreData].phase_rad
    flipped = load_scan(files, Given(phase_sign="flip")).artifacts[GreData].phase_rad
    assert torch.equal(kept, -flipped)
    assert float(torch.cos(flipped - expected).min()) > 0.999


def test_all_that_is_wrong_is_collected(dataset: Path, head: Head) -> None:
    edit(image(dataset), with_nan, np.float32)
    edit(image(dataset, 3, "mag"), np.zeros_like)
    edit_sidecars(dataset, in_milliseconds)
    head.write(dataset / "sub-2" / "anat", "sub-2")
    broken, sound = examine(dataset)
    assert len(broken.errors) == 3
    assert sound.errors == ()
    assert [found.name for found in examine(dataset, ["2"])] == ["sub-2"]


def test_a_broken_spin_echo_is_an_error(dataset: Path) -> None:
    path = dataset / f"{ANAT}_echo-1_MESE.nii.gz"
    path.write_bytes(b"")
    path.with_name("sub-1_echo-1_MESE.json").write_text('{"EchoTime": 0.01}')
    (found,) = examine(dataset)
    assert [path.name in error.text for error in found.errors] == [True]


@pytest.mark.parametrize(
    ("shape", "value", "sentence"),
    [
        ((44, 52, 42), 0.0, r"mask\.nii is empty: .* Give one that covers the brain"),
        ((43, 52, 42), 1.0, r"mask\.nii lies on another grid \(43 × 52 × 42 .*44 × 52 × 42 .*resample it"),
        ((44, 52, 42), float("nan"), r"mask\.nii holds voxels that are not numbers .*: set them to zero"),
        (None, 0.0, r"no file .*mask\.nii: check its name"),
    ],
    ids=["empty", "elsewhere", "NaN", "absent"],
)
def test_a_mask_that_does_not_fit_is_an_error(
    shape, value, sentence, dataset: Path, head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = dataset / "mask.nii"
    if shape is not None:
        save(mask, np.full(shape, value), head.affine)
    (found,) = examine(dataset, mask=mask)
    (error,) = found.errors
    assert re.search(sentence, error.text), error.text
    assert error.file == mask
    assert_stops(dataset, sorted(dataset.rglob("*")), capsys, error.text, "--mask", str(mask))


def test_a_mask_that_fits_is_described(dataset: Path, head: Head) -> None:
    save(dataset / "mask.nii", np.abs(head.signal[0]) > 0.3, head.affine, np.uint8)
    (found,) = examine(dataset, mask=dataset / "mask.nii")
    assert found.errors == ()
    assert re.search(r"mask\.nii covers \d+ % of the volume", found.findings[-1].text)


REPAIRS = {
    "geswi": ["Every second slice from bottom to top"],
    "invivo7t": ["runs from -0.0036744 to 0.0036744"],
    "siemens1mm": ["runs from -4096 to 4095"],
}


@pytest.mark.parametrize("subject", REPAIRS)
def test_the_development_data_passes_with_its_repairs(subject: str, examined) -> None:
    found = examined(subject)
    assert found.scan is not None
    repairs = [finding.text for finding in found.findings if finding.level == "repaired"]
    assert [words in text for words, text in zip(REPAIRS[subject], repairs, strict=True)] == [True]
    assert {finding.level for finding in found.findings} == {"found", "repaired"}
    gre = found.scan.artifacts[GreData]
    assert float(gre.phase_rad.abs().max()) == pytest.approx(np.pi, abs=1e-3)
    assert (SpinEchoData in found.scan.artifacts) == (subject == "siemens1mm")
