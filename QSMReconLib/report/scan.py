"""The report of one scan through one pipeline."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..data import GreData, Mask, Volume
from .figures import as_png, centre_of, histogram, slices

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..io.derivatives import Output
    from ..pipeline import Result


def render_report(name: str, result: Result, made: list[Output], files: list[Path], common: dict[str, Any]) -> str:
    """The HTML of one run: acquisition, warnings, mid-slices and histogram of every map, and the pipeline."""
    from jinja2 import Environment

    gre = result.artifacts.get(GreData)
    mask = result.artifacts.get(Mask)
    brain = mask.voxels.cpu().numpy() if isinstance(mask, Mask) else None
    maps = [_map(output, str(file), brain) for output, file in zip(made, files, strict=True)]
    if isinstance(gre, GreData):
        maps.insert(0, _magnitude(gre, brain))
    template = Environment(autoescape=True).from_string(
        resources.files(__package__).joinpath("report.html").read_text("utf-8")
    )
    return template.render(
        name=name,
        version=__version__,
        time=common["Time"],
        research_use=common["IntendedUse"],
        notes=common["Warnings"],
        acquisition=_acquisition(gre) if isinstance(gre, GreData) else [],
        maps=maps,
        pipeline=common["Pipeline"],
        stages=[
            {
                "name": record.stage.name,
                "summary": record.stage.summary(),
                "options": ", ".join(f"{k} = {v}" for k, v in record.stage.to_json()["options"].items()),
                "seconds": "skipped" if record.skipped else f"{record.seconds:.1f}",
            }
            for record in result.records
        ],
        provenance=json.dumps(common, indent=2, ensure_ascii=False),
    )


def _acquisition(gre: GreData) -> list[tuple[str, str]]:
    tilt = np.degrees(np.arccos(min(1.0, max(abs(b) for b in gre.grid.b0_direction))))
    return [
        ("Field strength", f"{gre.field_strength_t:g} T"),
        ("Echo times", ", ".join(f"{1e3 * time:.2f}" for time in gre.echo_times_s) + " ms"),
        ("Matrix", " × ".join(str(n) for n in gre.grid.shape) + " (right, anterior, superior)"),
        ("Voxel", " × ".join(f"{v:.3g}" for v in gre.grid.voxel_size_mm) + " mm"),
        ("B0 along", ", ".join(f"{b:.3f}" for b in gre.grid.b0_direction) + f" in voxel axes ({tilt:.0f}° oblique)"),
    ]


def _magnitude(gre: GreData, brain: NDArray[np.bool_] | None) -> dict[str, Any]:
    values = gre.magnitude[0].cpu().numpy()
    top = float(np.percentile(values[brain] if brain is not None and brain.any() else values, 99.5))
    where = centre_of(values > 0 if brain is None else brain)
    picture = slices(values, gre.grid.voxel_size_mm, where, (0.0, max(top, 1e-12)), "")
    return {"title": "Magnitude, first echo", "unit": "1", "made_by": "input", "slices": as_png(picture), "file": ""}


def _map(output: Output, file: str, brain: NDArray[np.bool_] | None) -> dict[str, Any]:
    what, values = output.volume, output.tensor.cpu().numpy().astype(np.float32)
    inside = values[brain if brain is not None and brain.any() else values != 0]
    window = what.window or (float(inside.min()), float(inside.max()))
    if what.title == "Total field" and inside.size:
        edge = float(np.percentile(np.abs(inside), 99))
        window = (-edge, edge) if edge > 0 else window
    where = centre_of(values != 0 if brain is None else brain)
    row = {
        "title": what.title,
        "unit": what.unit,
        "made_by": output.made_by,
        "file": file,
        "slices": as_png(slices(values, output.artifact.grid.voxel_size_mm, where, window, what.unit)),
        "summary": _summary(what, inside),
    }
    if what.unit != "1":
        row["histogram"] = as_png(histogram(inside[inside != 0], window, what.unit))
    return row


def _summary(what: Volume, inside: NDArray[np.float32]) -> str:
    if not inside.size or what.unit == "1":
        return ""
    low, middle, high = np.percentile(inside, [2.5, 50, 97.5])
    return f"In the brain: median {middle:.4g}, 95 % between {low:.4g} and {high:.4g} {what.unit}."
