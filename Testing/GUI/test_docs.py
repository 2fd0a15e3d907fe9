"""The examples of docs/slicer.md, as they stand there. Those that run a pipeline have a child that ends well at once;
the real one is in test_real_child."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk

from standins.application import pump

from .conftest import AFFINE, SHAPE, FakeProcess, add_volume, write_results

PAGE = Path(__file__).parents[2] / "docs" / "slicer.md"
EXAMPLES = re.findall(r"```python slicer\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def names(app: Any, children: list[FakeProcess], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the examples take for granted."""
    import QSMRecon

    original = QSMRecon.QSMReconLogic.__init__

    def init(self: Any) -> None:
        original(self)
        start = self.start_process

        def finishing(*arguments: Any) -> FakeProcess:
            child = start(*arguments)
            child.say(event="done", scan="s", outputs=write_results(Path(child.job["output"])), report="")
            child.end(0)
            return child

        self.start_process = finishing

    monkeypatch.setattr(QSMRecon.QSMReconLogic, "__init__", init)
    return {
        "slicer": slicer,
        "vtk": vtk,
        "magnitude": [add_volume(f"magnitude {echo}") for echo in range(4)],
        "phase": [add_volume(f"phase {echo}") for echo in range(4)],
        "field": slicer.util.addVolumeFromArray(np.random.default_rng(0).normal(0, 0.01, SHAPE), AFFINE, "field"),
    }


def test_every_example_of_the_page_runs(names: dict[str, Any], children: list[FakeProcess]) -> None:
    pytest.importorskip("torch")
    assert len(EXAMPLES) == 3
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"{PAGE.name}, example {number + 1}", "exec"), names)
    assert children[0].job["pipeline"]["name"] == "fast"
    assert names["chi"].max() == np.float32(0.05)
    assert pump(2, until=lambda: not names["work"].scratch.exists())
    options = {stage["stage"]: stage["options"] for stage in children[1].job["pipeline"]["stages"]}
    assert options["tkd"]["threshold"] == 0.1
    chi = slicer.mrmlScene.GetFirstNodeByName("chi [ppm]")
    assert slicer.util.arrayFromVolume(chi).shape == SHAPE


def test_every_picture_and_page_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE.read_text("utf-8")):
        assert (PAGE.parent / target).exists(), target


def test_every_sentence_it_explains_is_one_that_is_said() -> None:
    table = PAGE.read_text("utf-8").split("## When something is wrong")[1].split("##")[0]
    root = PAGE.parents[1]
    said = "".join(
        path.read_text("utf-8") for folder in ("QSMRecon", "QSMReconLib") for path in (root / folder).rglob("*.py")
    )
    said = re.sub(r'"\s*\n\s*f?"', "", said)
    for sentence in re.findall(r"^\| \*(.+?)\* \|", table, re.MULTILINE):
        for piece in sentence.split("…"):
            assert piece.strip() in said, piece
