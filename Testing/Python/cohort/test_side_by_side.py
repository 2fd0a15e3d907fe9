"""A cohort from the command line: scans side by side in real child processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from QSMReconLib.cli import main
from QSMReconLib.job import Job
from QSMReconLib.phantoms.dataset import simulate
from QSMReconLib.pipeline import load_pipeline

PIPELINE = {"name": "short", "stages": [{"stage": name} for name in ("automask", "mcpc3ds", "romeo", "fieldfit")]}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects, of whom the second lacks a phase image."""
    folder = tmp_path_factory.mktemp("cohort") / "study"
    for seed, label in enumerate(("01", "02", "03")):
        simulate(folder, label, seed=seed, shape=(40, 48, 40), voxel_size_mm=(5, 4.5, 5), resolution_mm=2.5)
    (folder / "sub-02/anat/sub-02_echo-2_part-phase_MEGRE.nii.gz").unlink()
    return folder


def arguments(study: Path, folder: Path, pipeline: dict, *more: str) -> list[str]:
    file = folder / "pipeline.json"
    file.write_text(json.dumps(pipeline))
    return ["run", str(study), "-o", str(folder / "out"), "--pipeline", str(file), "--device", "cpu", *more]


def test_the_sound_scans_are_done_and_the_broken_one_is_told(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(study, tmp_path, PIPELINE, "--jobs", "2", "--set", "romeo.template=2")
    assert main([*given, "--progress", "json"]) == 2
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = {event["scan"]: event for event in events if event["event"] == "done"}
    assert set(last) == {"sub-01", "sub-03"}
    assert all(Path(path).is_file() for event in last.values() for path in [*event["outputs"], event["report"]])
    (error,) = [event for event in events if event["event"] == "error"]
    assert "sub-02" in error["text"]
    assert error["code"] == 2
    out = tmp_path / "out"
    assert not (out / "sub-02").exists()
    assert {path.name for path in out.iterdir()} == {"sub-01", "sub-03", "dataset_description.json"}
    described = json.loads((out / "sub-03/anat/sub-03_desc-total_fieldmap.json").read_text("utf-8"))
    assert described["Pipeline"]["stages"][2]["options"] == {"template": 2}


def test_a_child_that_dies_is_told_and_the_rest_go_on(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = subprocess.Popen

    def deadly(command: list[str], **more: object) -> subprocess.Popen[str]:
        described = json.loads(Path(command[4]).read_text("utf-8"))
        if described["only"] == ["sub-01"]:
            command = [sys.executable, "-c", "import os, signal; print('hello'); os.kill(os.getpid(), signal.SIGKILL)"]
        return own(command, **more)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr("QSMReconLib.cohort.side_by_side.subprocess.Popen", deadly)
    given = arguments(study, tmp_path, PIPELINE, "--jobs", "3", "--progress", "none")
    assert main(given) == 1
    said = capsys.readouterr()
    assert "sub-01: Its process ended with code -9" in said.err
    assert "1 of 3 scans were done; not sub-01, sub-02." in said.out


def test_cancelling_ends_every_child_and_leaves_nothing(study: Path, tmp_path: Path) -> None:
    endless = PIPELINE | {"stages": [*PIPELINE["stages"], *[{"stage": "complexfit"}] * 500]}  # type: ignore[misc]
    given = arguments(study, tmp_path, endless, "--jobs", "2", "--progress", "json")
    command = [sys.executable, "-m", "QSMReconLib", *given]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    for line in parent.stdout:
        if "complexfit" in line:
            break
    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 130
    assert "Cancelled" in said
    out = tmp_path / "out"
    assert not out.exists() or not [path for path in out.rglob("*") if path.is_file()]


def test_fewer_than_one_job_is_refused(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(study, tmp_path, PIPELINE, "--jobs", "0")) == 2
    assert "--jobs is 0, but must be at least 1" in capsys.readouterr().err


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    job = Job(
        output=tmp_path / "out",
        input=tmp_path / "in",
        pipeline=load_pipeline("fast"),
        options=("tkd.threshold=0.2",),
        only=("sub-1",),
        magnitude=(tmp_path / "m.nii",),
        echo_times_s=(0.01, 0.02),
        b0_direction=(0.0, 0.0, 1.0),
        overwrite=True,
    )
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job.to_json()))
    assert Job.from_json(file) == job
