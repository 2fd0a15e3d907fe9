"""Sample data: a small simulated head, made on this computer by the library."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import slicer

from .exchange import read_nifti
from .files import scans_in
from .job import Run, library_command
from .scan import assign, bare_name
from .work import new_scratch

NAME = "QSM head (simulated)"
SHAPE, VOXEL_MM = (96, 112, 96), 2.0


def register(resources: Path) -> None:
    """Offer the head in Slicer's Sample Data module."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="QSMRecon",
        sampleName=NAME,
        uris="qsmrecon:head",  # Never read: the head is made here.
        fileNames="QSMReconHead.nii",
        nodeNames="QSMReconHead",
        loadFiles=False,
        customDownloader=make_head,
        thumbnailFileName=str(resources / "Icons" / "QSMRecon.png"),
    )


def make_head(source: Any = None) -> list[Any]:
    """What a click in the Sample Data module does: the head's volumes, or a sentence in the status bar and the log."""
    slicer.util.showStatusMessage("Simulating a head; this takes a minute …")
    try:
        return load_head()
    except Exception as error:  # Slicer's Sample Data module would show a traceback.
        logging.error("%s", error)
        slicer.util.showStatusMessage(str(error), 10_000)
        return []


def load_head() -> list[Any]:
    """Simulate the head in a child process and load its echoes, marked as what they are. Returns the volumes.

    Raises RuntimeError with a sentence where the library is not set up yet.
    """
    folder = new_scratch() / "head"
    size = ["--shape", *map(str, SHAPE), "--voxel-size", *[str(VOXEL_MM)] * 3]
    run = Run(library_command("simulate", "-o", str(folder), *size, "--progress", "json"), folder.parent)
    run.start()
    try:
        outcome = run.wait(slicer.app.processEvents)
        if outcome.kind != "done":
            raise RuntimeError(f"{outcome.sentence} Is QSMRecon set up? See its Set-up section.")
        volumes = []
        for echo in scans_in(folder)[0].rows({}):
            voxels, affine = read_nifti(echo.source)
            name = slicer.mrmlScene.GenerateUniqueName(bare_name(echo.name))
            volumes.append(slicer.util.addVolumeFromArray(voxels, affine, name))
            assign(volumes[-1], echo.part, echo.echo_times_s)
        return volumes
    finally:
        run.end_now()
        shutil.rmtree(run.folder, ignore_errors=True)
