"""The module from the Python console or a script: volumes in, nodes out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer

from QSMReconLib.errors import InputError, QsmReconError
from QSMReconLib.pipeline import Pipeline

from .job import Outcome, Progress
from .recipe import Recipe, library_pipelines
from .reconstruction import Reconstruction, Request
from .scan import ECHO_TIMES, PART, PARTS, Echo, chosen, echo_times, guess, problems, scan_name, volumes_of
from .work import new_scratch

Callback = Callable[["dict[str, Any] | None", str], None]
"""Called once, with the nodes by name and "", or with None and the sentence that says what went wrong."""


def run(
    logic: Any,
    volumes: Mapping[str, Any] | Sequence[Any],
    echoTimes: Sequence[float] | None = None,
    fieldStrength: float | None = None,
    pipeline: str | None = None,
    callback: Callback | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    mask: Any = None,
    device: str = "auto",
    phaseSign: str = "auto",
    output: str | Path | None = None,
    overwrite: bool = False,
    title: str = "",
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any] | Reconstruction:
    """Reconstruct volumes of the scene.

    `volumes` is `{"magnitude": [...], "phase": [...]}` (or real and imag; spin_echo too) with a node, several nodes, or
    a sequence each; or a plain list where the module's table, names, sidecars or DICOM tags tell which is which.
    `echoTimes` of the gradient echoes in seconds and `fieldStrength` in tesla come from there where they are left out.
    `pipeline` is the name of one, `options={"tkd.threshold": 0.15}` changes its options, `mask` is a segmentation,
    `output` a folder in which the files stay. `progress(stage, fraction)` is called as the work goes on.

    Without `callback` this waits, letting the application live on, and returns the nodes by their BIDS names
    ("Chimap", "R2starmap", …). With it, it returns at once (what it returns can be stopped by `.run.cancel()`), and
    `callback(nodes, "")` or `callback(None, sentence)` is called at the end.

    Raises InputError or QsmReconError with a sentence.
    """
    rows, stated = _rows(volumes, echoTimes)
    strength = fieldStrength or stated or 0.0
    for finding in problems(chosen(rows), strength):
        raise InputError(finding.text)
    asked = Request(
        title=title or scan_name([echo.name for echo in chosen(rows)]),
        rows=rows,
        field_strength_t=strength,
        pipeline=_pipeline(pipeline, options or {}),
        mask=mask,
        device=device,
        phase_sign=phaseSign,
        output=Path(output) if output else None,
        overwrite=overwrite,
    )

    def tell(event: Progress) -> None:
        if progress is not None:
            progress(event.stage, event.fraction)

    work = Reconstruction(asked, new_scratch(), logic.start_process, on_progress=tell)
    try:
        work.start()
    except InputError:
        work.close()
        raise
    if callback is not None:
        _watch(work, callback)
        return work
    return _nodes(work, work.run.wait(slicer.app.processEvents))


def _pipeline(name: str | None, options: Mapping[str, Any]) -> Pipeline:
    known = list(library_pipelines())
    name = known[0] if name is None and known else name
    if name not in known:
        raise InputError(f"There is no pipeline {name!r}; there are {', '.join(known) or 'none'}.")
    recipe = Recipe(name)
    inside = [step.stage.name for step in recipe.steps()]
    for setting, value in options.items():
        stage, dot, option = setting.partition(".")
        if not dot or stage not in inside:
            raise InputError(f"{setting!r} is not STAGE.OPTION of {name}; its stages are {', '.join(inside)}.")
        recipe = recipe.with_option(stage, option, value)
    return recipe.resolved()


_watching: set[Any] = set()


def _watch(work: Reconstruction, callback: Callback) -> None:
    timer = qt.QTimer()
    timer.setInterval(100)

    def poll() -> None:
        outcome = work.run.poll()
        if outcome is None:
            return
        timer.stop()
        _watching.discard(timer)
        try:
            nodes, sentence = _nodes(work, outcome), ""
        except QsmReconError as error:
            nodes, sentence = None, str(error)
        except Exception as error:  # Nobody is above a timer who could catch it.
            logging.debug("QSMRecon", exc_info=True)
            nodes, sentence = None, f"The results could not be loaded ({type(error).__name__}: {error})."
        callback(nodes, sentence)

    timer.timeout.connect(poll)
    timer.start()
    _watching.add(timer)  # Or Python would let go of it at once.


def _nodes(work: Reconstruction, outcome: Outcome) -> dict[str, Any]:
    try:
        if outcome.kind != "done":
            raise QsmReconError(outcome.sentence)
        results = work.load(outcome, slicer.mrmlScene)
    finally:
        work.close()
    return {bids: node for result in results for bids, node in (result.maps | result.masks).items()}


def _rows(volumes: Any, echo_times_s: Sequence[float] | None) -> tuple[list[Echo], float | None]:
    if isinstance(volumes, Mapping):
        unknown = set(volumes) - set(PARTS) - {"imaginary"}
        if unknown:
            raise InputError(
                f"Volumes are given as {', '.join(filter(None, PARTS))}; not as {', '.join(sorted(unknown))}."
            )
        named = [(part, node) for part, nodes in volumes.items() for node in _as_list(nodes)]
    else:
        named = [(node.GetAttribute(PART) or guess(node).part, node) for node in _as_list(volumes)]
        for part, node in named:
            if not part:
                raise InputError(
                    f"Nothing tells whether {node.GetName()} is magnitude or phase: "
                    'give the volumes as {"magnitude": [...], "phase": [...]}.'
                )
    rows, strength, used = [], None, dict.fromkeys(PARTS, 0)
    for part, node in named:
        part = "imag" if part == "imaginary" else part
        known, count = guess(node), len(volumes_of(node))
        times = echo_times(node.GetAttribute(ECHO_TIMES) or "") or known.echo_times_s
        if echo_times_s is not None and part != "spin_echo":
            times = tuple(echo_times_s)[used[part] : used[part] + count]
        used[part] += count
        strength = strength or known.field_strength_t
        rows.append(Echo(node, node.GetName(), part, times, count))
    return rows, strength


def _as_list(nodes: Any) -> list[Any]:
    return list(nodes) if isinstance(nodes, (list, tuple)) else [nodes]
