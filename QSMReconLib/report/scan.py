"""The report of one scan through one pipeline."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from .._lazy import torch
from ..data import GreData, LocalField, Mask, Volume
from ..stage import STAGE_PACKAGES, find_stage
from .figures import as_png, centre_of, histogram, slices

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..io.derivatives import Output
    from ..pipeline import Result

BRAIN, RELIABLE = "#58a6ff", "#f0b429"


def render_report(name: str, result: Result, made: list[Output], files: list[Path], common: dict[str, Any]) -> str:
    """The HTML of one run: acquisition, warnings, mid-slices and histogram of every map, and the pipeline."""
    from jinja2 import Environment

    gre, mask, local = (result.artifacts.get(kind) for kind in (GreData, Mask, LocalField))
    brain = mask.voxels.cpu().numpy() if isinstance(mask, Mask) else None
    outlines = [] if brain is None else [(brain, BRAIN)]
    if isinstance(local, LocalField):
        outlines.append((local.mask.cpu().numpy(), RELIABLE))
    # What people came for stands first: the last stages' maps before the first ones'.
    pairs = sorted(zip(made, files, strict=True), key=lambda pair: -STAGE_PACKAGES.index(_group(pair[0])))
    maps = [_map(output, str(file), brain) for output, file in pairs if output.tensor.dtype != torch.bool]
    if isinstance(gre, GreData):
        maps.insert(0, _magnitude(gre, brain, outlines))
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


def _group(output: Output) -> str:
    return find_stage(output.made_by).group


def _magnitude(
    gre: GreData, brain: NDArray[np.bool_] | None, outlines: list[tuple[NDArray[np.bool_], str]]
) -> dict[str, Any]:
    values = gre.magnitude[0].cpu().numpy()
    top = float(np.percentile(values[brain] if brain is not None and brain.any() else values, 99.5))
    where = centre_of(values > 0 if brain is None else brain)
    picture = slices(values, gre.grid.voxel_size_mm, where, (0.0, max(top, 1e-12)), "", outlines)
    row = {"title": "Magnitude, first echo", "unit": "1", "slices": as_png(picture), "file": ""}
    if brain is not None:
        row["summary"] = f"Blue: the brain mask, {_litres(brain, gre)} litres."
    if len(outlines) > 1:
        row["summary"] += f" Amber: where the local field is known, {_litres(outlines[1][0], gre)} litres."
    return row


def _litres(mask: NDArray[np.bool_], gre: GreData) -> str:
    return f"{mask.sum() * np.prod(gre.grid.voxel_size_mm) * 1e-6:.2f}"


def _map(output: Output, file: str, brain: NDArray[np.bool_] | None) -> dict[str, Any]:
    what, values = output.volume, output.tensor.cpu().numpy().astype(np.float32)
    inside = values[brain if brain is not None and brain.any() else values != 0]
    window = what.window or (0.0, max(float(np.percentile(inside, 99.5)), 1e-12))
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
