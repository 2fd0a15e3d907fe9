"""The module from scripts: `QSMReconLogic().run(...)`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slicer

from QSMReconLib.errors import InputError, OptionError, QsmReconError
from standins.application import pump

from .conftest import FakeProcess, write_results

TIMES = (0.005, 0.010, 0.015)


@pytest.fixture
def logic(app: Any, children: list[FakeProcess], pipelines: Any) -> Any:
    """The logic, whose children end well by themselves."""
    import QSMRecon

    made = QSMRecon.QSMReconLogic()
    start = made.start_process

    def finishing(*arguments: Any) -> FakeProcess:
        child = start(*arguments)
        child.say(event="progress", stage="tkd", fraction=0.5, text="")
        child.say(event="done", scan="s", outputs=write_results(Path(child.job["output"])), report="")
        child.end(0)
        return child

    made.start_process = finishing
    return made


@pytest.fixture
def volumes(echoes: list[Any]) -> dict[str, list[Any]]:
    return {"magnitude": echoes[::2], "phase": echoes[1::2]}


def test_it_waits_and_returns_the_nodes(logic: Any, volumes: Any, children: list[FakeProcess]) -> None:
    nodes = logic.run(volumes, TIMES, 3.0)
    assert {"Chimap", "desc-para_Chimap", "R2starmap", "desc-brain_mask"} <= set(nodes)
    assert nodes["Chimap"].GetName() == "head χ [ppm]"
    assert not children[0].folder.exists()


def test_a_plain_list_is_told_apart_by_names(logic: Any, echoes: list[Any], children: list[FakeProcess]) -> None:
    logic.run(echoes, TIMES, 3.0)
    assert Path(children[0].job["input"]).name == "scan"
    assert children[0].job["field_strength_t"] == 3.0


def test_it_says_how_far_it_is(logic: Any, volumes: Any) -> None:
    said: list[Any] = []
    logic.run(volumes, TIMES, 3.0, progress=lambda stage, fraction: said.append((stage, fraction)))
    assert said == [("tkd", 0.5)]


def test_the_job_holds_what_was_asked(
    logic: Any, volumes: Any, children: list[FakeProcess], tmp_path: Path, pipelines: Any
) -> None:
    logic.run(
        volumes,
        TIMES,
        3.0,
        "other",
        options={"tkd.threshold": 0.3},
        device="cpu",
        phaseSign="flip",
        output=tmp_path / "out ü",
        overwrite=True,
        title="Patient 7",
    )
    job = children[0].job
    assert job["pipeline"]["stages"][0]["options"] == {"threshold": 0.3, "correct": True}
    assert (job["device"], job["phase_sign"], job["overwrite"]) == ("cpu", "flip", True)
    assert job["output"] == str(tmp_path / "out ü")
    assert (Path(job["input"]) / "sub-Patient7").is_dir() is False, "what is temporary goes"
    assert slicer.mrmlScene.GetFirstNodeByName("Patient 7 χ [ppm]") is not None


def test_with_a_callback_it_returns_at_once(logic: Any, volumes: Any) -> None:
    answers: list[Any] = []
    work = logic.run(volumes, TIMES, 3.0, callback=lambda nodes, sentence: answers.append((nodes, sentence)))
    assert not answers
    assert pump(2, until=lambda: answers)
    nodes, sentence = answers[0]
    assert (sentence, nodes["Chimap"].GetName()) == ("", "head χ [ppm]")
    assert not work.scratch.exists()


def test_a_callback_hears_of_failure_and_cancel(
    app: Any, children: list[FakeProcess], pipelines: Any, volumes: Any
) -> None:
    import QSMRecon

    logic = QSMRecon.QSMReconLogic()
    answers: list[Any] = []
    work = logic.run(volumes, TIMES, 3.0, callback=lambda *answer: answers.append(answer))
    children[-1].say(event="error", text="No.", code=2)
    children[-1].end(2)
    assert pump(2, until=lambda: answers)
    assert not work.scratch.exists()
    work = logic.run(volumes, TIMES, 3.0, callback=lambda *answer: answers.append(answer))
    work.run.cancel()
    assert pump(2, until=lambda: len(answers) == 2)
    assert not work.scratch.exists()
    assert answers == [(None, "No."), (None, "Cancelled. Nothing was kept.")]


def test_a_callback_hears_of_results_that_cannot_be_read(
    app: Any, children: list[FakeProcess], pipelines: Any, volumes: Any
) -> None:
    import QSMRecon

    answers: list[Any] = []
    work = QSMRecon.QSMReconLogic().run(volumes, TIMES, 3.0, callback=lambda *answer: answers.append(answer))
    broken = children[-1].folder / "sub-head_Chimap.nii.gz"
    broken.write_bytes(b"no image")
    children[-1].say(event="done", scan="s", outputs=[str(broken)], report="")
    children[-1].end(0)
    assert pump(2, until=lambda: answers)
    ((nodes, sentence),) = answers
    assert nodes is None
    assert sentence.startswith("The results could not be loaded (")
    assert not work.scratch.exists()


def test_sample_data_that_cannot_be_made_is_a_sentence(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from QSMReconUI import sample

    said: list[str] = []
    monkeypatch.setattr(slicer.util, "showStatusMessage", lambda text, duration=0: said.append(text))
    monkeypatch.setattr(sample, "library_command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    assert sample.make_head() == []
    assert "Is QSMRecon set up?" in said[-1]
    assert not list((Path(slicer.app.temporaryPath) / "QSMRecon").iterdir())


def test_a_failure_is_an_exception_with_a_sentence(
    app: Any, children: list[FakeProcess], pipelines: Any, volumes: Any
) -> None:
    import QSMRecon

    logic = QSMRecon.QSMReconLogic()
    start = logic.start_process

    def failing(*arguments: Any) -> FakeProcess:
        child = start(*arguments)
        child.say(event="error", text="The phase is filtered.", code=2)
        child.end(2)
        return child

    logic.start_process = failing
    with pytest.raises(QsmReconError, match="The phase is filtered"):
        logic.run(volumes, TIMES, 3.0)
    assert not children[0].folder.exists()


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (lambda a: a.pop("fieldStrength"), InputError, "field strength is not known"),
        (lambda a: a.update(echoTimes=(5, 10, 15)), InputError, "must be milliseconds"),
        (lambda a: a.update(echoTimes=TIMES[:2]), InputError, "needs its echo time"),
        (lambda a: a.update(pipeline="nix"), InputError, "There is no pipeline 'nix'; there are clinical, other"),
        (lambda a: a.update(options={"tv.weight": 1}), InputError, "its stages are tkd"),
        (lambda a: a.update(options={"tkd.threshold": 5}), OptionError, "must be 0.01 to 0.66"),
        (lambda a: a.update(volumes={"magnitude": a["volumes"]["magnitude"]}), InputError, "3 magnitude and 0 phase"),
        (lambda a: a.update(volumes={"mag": []}), InputError, "not as mag"),
        (lambda a: a.update(volumes=[slicer.util.getNode("T1")]), InputError, "Nothing tells whether T1"),
    ],
)
def test_wrong_arguments_are_a_sentence_before_any_work(
    logic: Any,
    volumes: Any,
    children: list[FakeProcess],
    change: Callable[[dict[str, Any]], Any],
    error: type[Exception],
    sentence: str,
) -> None:
    from .conftest import add_volume

    add_volume("T1")
    arguments = {"volumes": volumes, "echoTimes": TIMES, "fieldStrength": 3.0}
    change(arguments)
    with pytest.raises(error, match=sentence):
        logic.run(**arguments)
    assert not children


def test_unknown_arguments_are_not_swallowed(logic: Any, volumes: Any) -> None:
    with pytest.raises(TypeError):
        logic.run(volumes, TIMES, 3.0, pipline="other")
