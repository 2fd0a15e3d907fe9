"""The command line as a person or a parent process meets it: exit codes, sentences, files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from QSMReconLib.cli import main
from QSMReconLib.phantoms.dataset import simulate

PIPELINE = {
    "name": "short",
    "description": "A few quick stages, for tests.",
    "stages": [{"stage": "mcpc3ds"}, {"stage": "romeo"}, {"stage": "fieldfit"}, {"stage": "arlo"}],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small simulated subjects with their truth, in a folder with a space and a letter beyond ASCII."""
    folder = tmp_path_factory.mktemp("données") / "a study"
    for label, seed in (("01", 1), ("02", 2)):
        simulate(
            folder,
            label,
            seed=seed,
            shape=(40, 48, 40),
            voxel_size_mm=(5, 4.5, 5),
            spin_echo_times_s=(),
            resolution_mm=2.5,
        )
    return folder


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A quick pipeline that takes the mask it is given."""
    file = tmp_path / "short.json"
    file.write_text(json.dumps(PIPELINE))
    return file


def true_mask(study: Path, label: str = "01") -> Path:
    return study / f"derivatives/truth/sub-{label}/anat/sub-{label}_desc-brain_mask.nii.gz"


def run(study: Path, pipeline: Path, out: Path, *more: str) -> int:
    mask = ["--mask", str(true_mask(study)), "--participant-label", "01"]
    arguments = ["run", str(study), "-o", str(out), "--pipeline", str(pipeline), "--device", "cpu", *mask]
    return main([*arguments, "--progress", "none", *more])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_run_writes_derivatives_with_provenance_and_a_report(study: Path, pipeline: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(study, pipeline, out, "--set", "romeo.template=2") == 0
    anat = out / "sub-01/anat"
    image = nibabel.load(anat / "sub-01_desc-total_fieldmap.nii.gz")
    source = nibabel.load(next((study / "sub-01/anat").glob("*part-phase*.nii.gz")))
    assert image.get_data_dtype() == np.float32  # type: ignore[attr-defined]
    assert image.header["srow_x"].tobytes() == source.header["srow_x"].tobytes()  # type: ignore[call-overload]
    described = json.loads((anat / "sub-01_desc-total_fieldmap.json").read_text())
    assert (described["Units"], described["Stage"]) == ("ppm", "fieldfit")
    assert described["Pipeline"]["stages"][1] == {"stage": "romeo", "options": {"template": 2}}
    assert len(described["Inputs"]) >= 8
    assert all(len(item["SHA256"]) == 64 for item in described["Inputs"])
    assert any("-4096" in note for note in described["Warnings"])
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    report = (anat / "sub-01_report.html").read_text("utf-8")
    assert "research use only" in report
    assert "data:image/png;base64," in report
    assert "http" not in report.split("<body>")[1].replace("https://doi.org", ""), "a report loads nothing"


def test_a_second_run_refuses_to_overwrite(
    study: Path, pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(study, pipeline, out) == 0
    before = files(out)
    assert run(study, pipeline, out) == 2
    assert "is there already: choose another output folder, or add --overwrite" in capsys.readouterr().err
    assert run(study, pipeline, out, "--overwrite") == 0
    assert files(out) == before


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--set", "romeo.template=0"], "romeo.template is 0, but must be"),
        (["--set", "romeo.tempalte=1"], "romeo has no option 'tempalte'"),
        (["--set", "romeo"], "not of the form STAGE.OPTION=VALUE"),
        (["--pipeline", "no-such"], "There is no pipeline or file 'no-such'"),
        (["--device", "abacus"], "'abacus' cannot be used here"),
        (["--participant-label", "09"], "09"),
        (["--mask", "no-such.nii"], "no-such.nii"),
    ],
)
def test_wrong_input_is_one_sentence_and_leaves_nothing(
    study: Path,
    pipeline: Path,
    tmp_path: Path,
    more: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(study, pipeline, out, *more) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not out.exists()


def test_one_broken_subject_does_not_stop_the_others(
    study: Path, pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    for source in study.rglob("sub-*/anat/*MEGRE*"):
        if "derivatives" in source.parts:
            continue
        target = broken / source.relative_to(study)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    (broken / "sub-01/anat/sub-01_echo-2_part-phase_MEGRE.nii.gz").unlink()
    short = json.loads(pipeline.read_text())
    short["stages"].insert(0, {"stage": "automask"})
    pipeline.write_text(json.dumps(short))
    out = tmp_path / "out"
    arguments = ["run", str(broken), "-o", str(out), "--pipeline", str(pipeline), "--device", "cpu"]
    assert main([*arguments, "--progress", "none"]) == 2
    assert "sub-01" in capsys.readouterr().err
    assert (out / "sub-02/anat/sub-02_report.html").exists()
    assert not (out / "sub-01").exists()


def test_a_job_file_and_json_progress(
    study: Path, pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job.json"
    described = {
        "input": str(study),
        "output": str(tmp_path / "out"),
        "participants": ["01"],
        "mask": str(true_mask(study)),
        "pipeline": json.loads(pipeline.read_text()),
        "device": "cpu",
    }
    job.write_text(json.dumps(described))
    assert main(["run", str(job), "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events} == {"progress", "done"}
    assert {event["stage"] for event in events[:-1]} == {"mcpc3ds", "romeo", "fieldfit", "arlo"}
    assert all(Path(path).exists() for path in [*events[-1]["outputs"], events[-1]["report"]])
    job.write_text('{"input": "x"}')
    assert main(["run", str(job), "--progress", "json"]) == 2
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["code"]) == ("error", 2)
    assert 'needs "output"' in event["text"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_nothing_half_written(study: Path, tmp_path: Path, number: signal.Signals) -> None:
    endless = tmp_path / "endless.json"
    endless.write_text(json.dumps(PIPELINE | {"stages": [{"stage": "romeo"}, *[{"stage": "complexfit"}] * 500]}))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "QSMReconLib", "run", str(study), "--participant-label", "01", "-o", str(out)]
    command += ["--pipeline", str(endless), "--mask", str(true_mask(study)), "--device", "cpu", "--progress", "json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if "complexfit" in line:
            break
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert not out.exists() or not files(out)


def test_one_stage_alone(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = study / "derivatives/truth/sub-01/anat"
    out = tmp_path / "out"
    local = ["--local-field", str(truth / "sub-01_desc-local_fieldmap.nii.gz"), "--mask", str(true_mask(study))]
    arguments = ["stage", "tkd", *local, "--set", "threshold=0.15", "-o", str(out), "--device", "cpu"]
    assert main([*arguments, "--progress", "none"]) == 0
    assert files(out) == {"chimap.nii.gz", "chimap.json"}
    assert json.loads((out / "chimap.json").read_text())["Units"] == "ppm"
    assert main([*arguments, "--progress", "none"]) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert main(["stage", "tkd", "-o", str(tmp_path / "none")]) == 2
    assert "tkd needs a local field" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_one_stage_on_a_scan(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["stage", "arlo", "--gre", str(study / "sub-02"), "--mask", str(true_mask(study, "02"))]
    assert main([*arguments, "-o", str(out), "--device", "cpu", "--progress", "none"]) == 0
    assert files(out) == {f"{name}.{end}" for name in ("r2star", "r2star_std") for end in ("nii.gz", "json")}


def test_the_doctor_says_what_there_is(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(study)]) == 0
    said = capsys.readouterr().out
    assert "sub-01" in said
    assert "Ready to run." in said
    assert main(["doctor", str(tmp_path / "nowhere")]) == 2
    first = sorted((study / "sub-01/anat").glob("*echo-[12]_*.nii.gz"))
    given = ["--magnitude", *map(str, first[:4:2]), "--phase", *map(str, first[1:4:2])]
    capsys.readouterr()
    assert main(["doctor", *given]) == 2
    assert "Ready to run, but for what is missing." in capsys.readouterr().out


def test_lists_are_complete_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stages", "--json"]) == 0
    listed = {stage["name"]: stage for stage in json.loads(capsys.readouterr().out)}
    assert listed["tkd"]["options"][0]["maximum"] == 0.66
    assert listed["tkd"]["needs"] == ["LocalField"]
    assert main(["stages"]) == 0
    assert "Shmueli" in capsys.readouterr().out
    assert main(["pipelines", "--json"]) == 0
    assert all(item["description"] for item in json.loads(capsys.readouterr().out))


def test_evaluate_knows_the_truth_from_itself(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = study / "derivatives" / "truth"
    assert main(["evaluate", str(truth), str(truth), "-o", str(tmp_path / "table.tsv")]) == 0
    lines = (tmp_path / "table.tsv").read_text().splitlines()
    nrmse = lines[0].split("\t").index("nrmse")
    assert {float(line.split("\t")[nrmse]) for line in lines[1:] if line.split("\t")[nrmse] != "n/a"} == {0.0}


def test_help_starts_quickly_and_without_torch() -> None:
    code = (
        "import sys; from QSMReconLib.cli.main import parser; parser().format_help(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_r2_may_lie_on_another_grid_than_r2star(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value, edge in (("star", 20.0, 1.0), ("r2", 14.0, 2.0)):
        volume = np.full((round(16 / edge),) * 3, value, np.float32)
        affine = np.diag([edge, edge, edge, 1.0])
        affine[:3, 3] = edge / 2
        nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / f"{name}.nii.gz")
    arguments = ["stage", "r2prime", "--r2star", str(tmp_path / "star.nii.gz"), "--r2", str(tmp_path / "r2.nii.gz")]
    assert main([*arguments, "--field-strength", "3", "-o", str(tmp_path / "out")]) == 0
    made = nibabel.load(tmp_path / "out" / "r2prime.nii.gz").get_fdata()
    assert made.shape == (16, 16, 16)
    assert np.allclose(made[1:-1, 1:-1, 1:-1], 6.0, atol=1e-4)
    assert "resampled to that of R2*" in capsys.readouterr().out
