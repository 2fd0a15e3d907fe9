"""The widget without the desktop application: see `Testing/standins`.

Set QSMRECON_SLICER_SOURCE to a checkout of Slicer to use its own ScriptedLoadableModule and parameterNodeWrapper.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

for package in ("slicer", "PySide6"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install '.[slicer-test]'")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

from standins import application  # noqa: E402

source = os.environ.get("QSMRECON_SLICER_SOURCE")
application.install(Path(source) if source else None)

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2.0, 0, -32], [0, 0, 2.5, -20], [0, 0, 0, 1]])
SHAPE = (17, 31, 29)
"""K, J, I."""


class FakeProcess:
    """A child process that says what a test tells it to."""

    def __init__(self, command: Sequence[str], folder: Path, stdout: Path, stderr: Path) -> None:
        self.command, self.folder = list(command), folder
        self._stdout, self._stderr = stdout, stderr
        self.code: int | None = None
        self.stopped = self.killed = False
        self.obeys = True
        job = folder / "job.json"
        self.job: dict[str, Any] = json.loads(job.read_text("utf-8")) if job.exists() else {}

    def say(self, **event: Any) -> None:
        """Write an event."""
        with self._stdout.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")

    def grumble(self, text: str) -> None:
        """Write into the log."""
        with self._stderr.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")

    def end(self, code: int) -> None:
        """End by itself."""
        self.code = code

    def poll(self) -> int | None:
        """The exit code."""
        return self.code

    def stop(self) -> None:
        """Be asked to end."""
        self.stopped = True
        if self.obeys:
            self.code = 130

    def kill(self) -> None:
        """Be ended."""
        self.killed = True
        self.code = -9


@pytest.fixture
def app(tmp_path: Path) -> Any:
    """A fresh scene and application."""
    return application.start(tmp_path / "Slicer tmp ü")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeProcess]:
    """Every child that is started is a fake, and ends up in this list."""
    import QSMRecon

    started: list[FakeProcess] = []

    def start(*arguments: Any) -> FakeProcess:
        started.append(FakeProcess(*arguments))
        return started[-1]

    original = QSMRecon.QSMReconLogic.__init__

    def fake_init(self: Any) -> None:
        original(self)
        self.start_process = start

    monkeypatch.setattr(QSMRecon.QSMReconLogic, "__init__", fake_init)
    return started


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two named pipelines of real stages."""
    from QSMReconLib.inversion.tkd import Tkd
    from QSMReconLib.pipeline import Pipeline, Step
    from QSMReconUI import console, pipeline_panel, recipe

    known = {
        "clinical": Pipeline("clinical", (Step(Tkd()),), "What most people want."),
        "other": Pipeline("other", (Step(Tkd(threshold=0.1, correct=True)),), "Something else."),
    }
    for module in (console, pipeline_panel, recipe):
        monkeypatch.setattr(module, "library_pipelines", lambda: known)
    return known


@pytest.fixture
def make_widget(app: Any, children: list[FakeProcess], pipelines: Any) -> Iterator[Callable[[], Any]]:
    """Opens the module's widget, as often as asked."""
    import QSMRecon

    opened = []

    def make() -> Any:
        QSMRecon.QSMRecon(SimpleNamespace(path=str(ROOT / "QSMRecon" / "QSMRecon.py")))
        opened.append(QSMRecon.QSMReconWidget())
        application.pump(0.02)
        return opened[-1]

    yield make
    for widget in opened:
        widget.cleanup()
        widget.parent.deleteLater()
        # What a click or a timer raised was shown as a sentence: here it must not pass unseen.
        assert "Traceback" not in widget.ui.logText.toPlainText(), widget.ui.logText.toPlainText()
    application.pump(0.02)


@pytest.fixture
def widget(make_widget: Callable[[], Any]) -> Any:
    """The module's widget."""
    return make_widget()


def add_volume(name: str, value: float = 1.0) -> Any:
    """A volume in the scene, with a ball inside."""
    import slicer

    k, j, i = np.indices(SHAPE)
    ball = (k - 8) ** 2 + (j - 15) ** 2 + (i - 14) ** 2 < 50
    return slicer.util.addVolumeFromArray((value * ball).astype(np.float32), AFFINE, name)


@pytest.fixture
def echoes(app: Any) -> list[Any]:
    """Three echoes, magnitude and phase, with names that say so."""
    return [add_volume(f"head e{echo} {part}", echo) for echo in (1, 2, 3) for part in ("mag", "ph")]


@pytest.fixture
def ready(widget: Any, echoes: list[Any]) -> Any:
    """A widget with a whole scan chosen."""
    from QSMReconUI.scan import assign

    for index, node in enumerate(echoes):
        assign(node, ("magnitude", "phase")[index % 2], [0.005 * (1 + index // 2)])
    widget.logic.getParameterNode().fieldStrength = 3.0
    application.pump(0.02)
    assert widget.ui.runButton.enabled, widget.ui.runButton.toolTip
    return widget


def write_results(folder: Path, name: str = "sub-head", like: Any = None) -> list[str]:
    """What a child leaves: maps, a mask, a report."""
    import slicer

    from QSMReconUI.exchange import write_nifti

    anat = folder / name / "anat"
    anat.mkdir(parents=True, exist_ok=True)
    ball = slicer.util.arrayFromVolume(add_volume("scratch"))
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetFirstNodeByName("scratch"))
    written = []
    maps = {"Chimap": 0.05, "desc-para_Chimap": 0.08, "desc-dia_Chimap": 0.03, "R2starmap": 20, "desc-brain_mask": 1}
    for bids, value in maps.items():
        path = anat / f"{name}_{bids}.nii.gz"
        write_nifti(path, ball * np.float32(value) if value != 1 else ball.astype(np.uint8), AFFINE)
        sidecar = {
            "Units": "ppm",
            "Stage": "tkd",
            "Reference": "none",
            "Warnings": ["Größe"],
            "Pipeline": {"name": "x"},
        }
        path.with_name(f"{name}_{bids}.json").write_text(json.dumps(sidecar), encoding="utf-8")
        written.append(str(path))
    (anat / f"{name}_report.html").write_text("<p>report</p>", encoding="utf-8")
    return written
