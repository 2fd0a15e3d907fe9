"""Jobs: which scans they name, and that nothing in a job.json is swallowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from QSMReconLib.errors import InputError
from QSMReconLib.job import Job


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """One subject with two runs; only names matter here."""
    anat = tmp_path / "study" / "sub-a" / "anat"
    anat.mkdir(parents=True)
    for run in (1, 2):
        for part in ("mag", "phase"):
            (anat / f"sub-a_run-{run}_echo-1_part-{part}_MEGRE.nii.gz").touch()
    return tmp_path / "study"


def write(path: Path, **described: object) -> Path:
    path.write_text(json.dumps(described), encoding="utf-8")
    return path


def test_a_job_may_name_single_scans_of_a_folder(study: Path) -> None:
    job = Job(output=Path("out"), input=study)
    assert [files.name for files in job.scans()] == ["sub-a_run-1", "sub-a_run-2"]
    job = Job(output=Path("out"), input=study, only=("sub-a_run-2",))
    assert [files.name for files in job.scans()] == ["sub-a_run-2"]


def test_a_mask_fits_the_one_scan_that_is_named(study: Path) -> None:
    job = Job(output=Path("out"), input=study, only=("sub-a_run-2",), mask=Path("mask.nii"))
    assert len(job.scans()) == 1


def test_a_scan_that_is_not_there_is_a_sentence_naming_those_that_are(study: Path) -> None:
    with pytest.raises(InputError, match=r"no scan sub-b; it has sub-a_run-1, sub-a_run-2"):
        Job(output=Path("out"), input=study, only=("sub-b",)).scans()


def test_plain_files_may_have_spin_echoes(tmp_path: Path) -> None:
    job = Job.from_json(
        write(tmp_path / "job.json", output="out", magnitude=["m.nii"], phase=["p.nii"], spin_echo=["s1.nii", "s2.nii"])
    )
    (files,) = job.scans()
    assert files.spin_echo == (tmp_path / "s1.nii", tmp_path / "s2.nii")
    assert files.magnitude == (tmp_path / "m.nii",)


def test_a_job_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*job\.json: check its name"):
        Job.from_json(tmp_path / "job.json")


def test_spin_echoes_may_be_given_to_the_one_scan_of_a_folder(study: Path) -> None:
    spin = (Path("sub-a_T2w.nii.gz"),)
    job = Job(output=Path("out"), input=study, only=("sub-a_run-1",), spin_echo=spin, spin_echo_times_s=(0.08,))
    assert [files.spin_echo for files in job.scans()] == [spin]
    assert job.given().spin_echo_times_s == (0.08,)
    with pytest.raises(InputError, match=r"--spin-echo fits one scan, but .* holds 2"):
        Job(output=Path("out"), input=study, spin_echo=spin).scans()


@pytest.mark.parametrize(
    ("described", "sentence"),
    [({"output": "o", "pipline": "x"}, "does not know pipline"), ({"input": "i"}, 'needs "output"')],
)
def test_a_job_with_a_wrong_key_is_refused(tmp_path: Path, described: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Job.from_json(write(tmp_path / "job.json", **described))
