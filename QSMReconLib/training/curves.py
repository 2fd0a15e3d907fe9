"""The course of a training as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Loss and validation scores over steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3))
    FigureCanvasAgg(figure)
    for place, (name, title) in enumerate((("loss", "loss"), ("nrmse", "NRMSE, %"), ("xsim", "XSIM")), start=1):
        axes = figure.add_subplot(1, 3, place)
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        if points:
            axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.set_title(title)
        axes.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
