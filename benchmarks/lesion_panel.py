"""How long the lesion panel takes for each action, on 300 lesions in a head of 1 mm; the goal is 100 ms.

    python benchmarks/lesion_panel.py [--lesions 300] [--shape 160 200 160] [--repeats 20] [--pictures]

The panel runs on stand-ins for the desktop application (see docs/slicer.md); scene, outlines and slice logics are
Slicer's own. With --pictures the large axial view is also drawn after each action, in software, which the desktop
application leaves to the graphics card. The last column is the most processor time that an action took: on a machine
that does other things as well, the others are longer than the panel's own.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]

from standins import application  # noqa: E402
from standins.mrml import View  # noqa: E402

GOAL_S = 0.1
WORDS = {
    "class_para": ("hyper", "iso", "hypo", "rim", "undecided"),
    "class_dia": ("hyper", "iso", "hypo", "undecided"),
    "class_focal": ("bleed", "calcification", "vessel", "other"),
}


def scatter(shape: tuple[int, ...], count: int) -> np.ndarray:
    """So many balls of 1 to 4 voxels radius, numbered, none in another's place."""
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.int16)
    grid = np.indices((9, 9, 9)) - 4
    for number in range(1, count + 1):
        ball = (grid**2).sum(0) <= rng.uniform(1, 4) ** 2
        while True:
            box = tuple(slice(c - 4, c + 5) for c in (rng.integers(5, n - 5) for n in shape))
            if not labels[box].any():
                break
        labels[box][ball] = number
    return labels


def write_table(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    """A table with as many columns as the library writes."""
    from scipy.ndimage import center_of_mass

    rng = np.random.default_rng(0)
    numbers = range(1, int(labels.max()) + 1)
    statistic = ("mean", "median", "sd", "p5", "p95", "normal", "local_sd", "contrast", "contrast_low", "contrast_high")
    more = [f"{name}_{what}_ppb" for name in ("chi", "chi_para", "chi_dia") for what in statistic]
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t")
        table.writerow(["label", "segment", "volume_mm3", "x", "y", "z", *WORDS, "proposed", "flags", *more])
        for number, centre in zip(numbers, center_of_mass(labels > 0, labels, numbers), strict=True):
            place = (affine @ [*reversed(centre), 1])[:3]
            words = [rng.choice(list(choices)) for choices in WORDS.values()]
            volume = int((labels == number).sum())
            table.writerow([number, 1, volume, *place, *words, False, "", *rng.normal(0, 20, len(more)).round(3)])


def timed(action: Callable[[], Any], repeats: int, after: Callable[[], Any]) -> tuple[list[float], list[float]]:
    """(seconds, of them spent computing) of each call, until everything that it set going has settled."""
    found, busy = [], []
    for _ in range(repeats):
        began, worked = time.perf_counter(), time.process_time()
        action()
        application.pump(0)
        after()
        found.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    return found, busy


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lesions", type=int, default=300)
    arguments.add_argument("--shape", type=int, nargs=3, default=(160, 200, 160))
    arguments.add_argument("--repeats", type=int, default=20)
    arguments.add_argument("--pictures", action="store_true")
    given = arguments.parse_args()
    application.install()
    with tempfile.TemporaryDirectory() as folder:
        scene = application.start(Path(folder))
        import slicer

        import QSMRecon

        QSMRecon.QSMRecon(SimpleNamespace(path=str(ROOT / "QSMRecon" / "QSMRecon.py")))
        widget = QSMRecon.QSMReconWidget()
        widget.parent.show()
        labels = scatter(tuple(reversed(given.shape)), given.lesions)
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        slicer.mrmlScene.AddNode(crosshair)
        chi = slicer.util.addVolumeFromArray(
            np.random.default_rng(0).normal(0, 0.02, labels.shape).astype(np.float32), affine, "head χ [ppm]"
        )
        parameters = widget.logic.getParameterNode()
        parameters.chi = parameters.para = parameters.dia = parameters.base = chi
        widget.window.review.start()
        view = View(scene, scene.view("Red"), (640, 640)) if given.pictures else None
        write_table(Path(folder) / "lesions.tsv", labels, affine)

        from QSMReconUI.lesions import make_table

        began = time.perf_counter()
        made = make_table(slicer.mrmlScene, "head lesions", Path(folder) / "lesions.tsv", labels, chi)
        parameters.lesionTable = made.node
        application.pump(0.05)
        size = " × ".join(map(str, given.shape))
        print(f"{given.lesions} lesions, {size}; opened in {time.perf_counter() - began:.2f} s")
        rows(widget, made, given.repeats, view.picture if view is not None else lambda: None)
        if view is not None:
            view.close()
        widget.cleanup()


def rows(widget: Any, made: Any, repeats: int, after: Callable[[], Any]) -> None:
    """A line for each action."""
    import slicer

    panel, parameters, ui = widget.window.lesions, widget.logic.getParameterNode(), widget.ui
    rng = np.random.default_rng(1)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    words = iter([str(i) * 3 for i in range(10 * repeats)])
    searches = iter(["rim", ""] * repeats)
    filters = iter(["rims", "undecided", "focal", "all"] * repeats)
    actions: dict[str, Callable[[], Any]] = {
        "a row is clicked": lambda: ui.lesionTableWidget.selectRow(int(rng.integers(len(made.labels)))),
        "next": lambda: panel.step(1),
        "the crosshair is put on a lesion": lambda: crosshair.SetCrosshairRAS(
            *made.centre_mm(int(rng.choice(made.labels)))
        ),
        "a class is said": lambda: panel.say("reader_para", ("iso", "hyper", "rim")[int(rng.integers(3))]),
        "agree, and on": lambda: panel.agree(),
        "a letter of a comment": lambda: panel._comment_typed(next(words)),
        "another filter": lambda: setattr(parameters, "lesionFilter", next(filters)),
        "a word is searched": lambda: ui.lesionSearchEdit.setText(next(searches)),
        "sorted by another column": lambda: ui.lesionTableWidget.sortItems(int(rng.integers(1, 6))),
        "blinded, and back": lambda: setattr(parameters, "blinded", not parameters.blinded),
    }
    print(f"{'action':<36}{'median ms':>10}{'worst ms':>10}{'busy ms':>10}")
    missed = 0
    for name, action in actions.items():
        seconds, busy = timed(action, repeats, after)
        missed += max(seconds) > GOAL_S
        line = "".join(f"{1e3 * v:>10.0f}" for v in (statistics.median(seconds), max(seconds), max(busy)))
        print(f"{name:<36}{line}", flush=True)
    print(
        f"Goal {1e3 * GOAL_S:.0f} ms: {'met by every action' if not missed else f'missed at least once by {missed}'}."
    )


if __name__ == "__main__":
    main()
