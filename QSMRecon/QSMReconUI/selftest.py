"""The module's self-test, run by Slicer's Self Tests or by ctest: the real library in a real child process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from .job import Run, library_command
from .recipe import library_pipelines
from .sample import load_head
from .scan import chosen, problems, rows
from .setup import needed
from .work import new_scratch

PIPELINE = "fast"


def run(case: Any, logic: Any, resources: Path) -> None:
    """Raises AssertionError where something is not as it should be."""
    case.delayDisplay("The library is found by a child process")
    child = Run(library_command("stages", "--json"), new_scratch())
    child.start()
    outcome = child.wait(slicer.app.processEvents)
    shutil.rmtree(child.folder, ignore_errors=True)
    assert outcome.kind == "done", outcome.details
    missing = [str(package) for package in needed(resources / "requirements.txt") if not package.fits]
    if missing:
        case.delayDisplay(f"Not set up ({', '.join(missing)}): nothing can be reconstructed here")
        return
    case.delayDisplay("A simulated head comes into the scene")
    volumes = load_head()
    assert volumes
    scan = chosen(rows(slicer.mrmlScene))
    assert not list(problems(scan, 3.0))
    case.delayDisplay("It is reconstructed")
    name = PIPELINE if PIPELINE in library_pipelines() else None
    nodes = logic.run([echo.source for echo in scan], fieldStrength=3.0, pipeline=name)
    chi = slicer.util.arrayFromVolume(nodes["Chimap"])
    assert np.isfinite(chi).all()
    assert 0.005 < chi[chi != 0].std() < 0.2
    case.delayDisplay("The self-test has passed")
