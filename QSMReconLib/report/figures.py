"""The pictures of a report: three mid-slices in a fixed grey window with its scale, and a histogram."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK, PAPER, ACCENT = "#d7dce2", "#101418", "#58a6ff"


def centre_of(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The voxel in the middle of the mask's box, or of the volume where the mask is empty."""
    if not mask.any():
        mask = np.ones_like(mask)
    found = [np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    x, y, z = (int(axis[0] + axis[-1]) // 2 for axis in found)
    return x, y, z


def slices(
    values: NDArray[np.float32],
    voxel_size_mm: Sequence[float],
    centre: tuple[int, int, int],
    window: tuple[float, float],
    unit: str,
    outlines: Sequence[tuple[NDArray[np.bool_], str]] = (),
) -> Figure:
    """Axial, coronal and sagittal slices of (X, Y, Z) in RAS order through `centre`, as radiologists look at them (the
    patient's right on the left), with a scale, and masks outlined in colours of their own."""
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    def planes(volume: NDArray) -> list[NDArray]:
        x, y, z = centre
        return [volume[::-1, :, z].T, volume[::-1, y, :].T, volume[x].T]

    vx, vy, vz = voxel_size_mm
    pixels = [(vx, vy), (vx, vz), (vy, vz)]
    extents = [(0, p.shape[1] * u, 0, p.shape[0] * v) for p, (u, v) in zip(planes(values), pixels, strict=True)]
    widths, heights = [extent[1] for extent in extents], [extent[3] for extent in extents]
    wide = 11.0
    figure = Figure(figsize=(wide, wide * max(heights) / sum(widths) * 0.92 + 0.1), facecolor=PAPER)
    axes = figure.subplots(1, 3, width_ratios=widths)
    style = {"color": INK, "fontsize": 8, "path_effects": [withStroke(linewidth=2, foreground=PAPER)]}
    for axis, plane, extent, side, name in zip(
        axes, planes(values), extents, "RRP", ("axial", "coronal", "sagittal"), strict=True
    ):
        shown = axis.imshow(
            plane, origin="lower", cmap="gray", vmin=window[0], vmax=window[1], extent=extent, interpolation="nearest"
        )
        axis.set_axis_off()
        axis.text(0.01, 0.02, name, transform=axis.transAxes, **style)
        axis.text(0.01, 0.5, side, transform=axis.transAxes, **style)
    for mask, colour in outlines:
        for axis, plane, extent in zip(axes, planes(mask), extents, strict=True):
            if plane.any() and not plane.all():
                axis.contour(plane, levels=[0.5], colors=colour, linewidths=0.8, extent=extent, origin="lower")
    axes[0].plot([8, 58], [14, 14], linewidth=2, color=INK)
    axes[0].text(33, 17, "5 cm", ha="center", **style)
    figure.subplots_adjust(0.005, 0.01, 0.925, 0.99, 0.02)
    bar = figure.colorbar(shown, cax=figure.add_axes((0.94, 0.15, 0.012, 0.7)))
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
    bar.ax.set_title("" if unit == "1" else unit, color=INK, fontsize=8)
    return figure


def histogram(values: NDArray[np.float32], window: tuple[float, float], unit: str) -> Figure:
    """How often each value occurs, over a span somewhat wider than the window or than the values, if that is less."""
    from matplotlib.figure import Figure

    margin = 0.25 * (window[1] - window[0])
    least, most = np.percentile(values, [0.5, 99.5]) if values.size else window
    low, high = max(window[0] - margin, least), min(window[1] + margin, most)
    span = (0.0 if window[0] == 0 else low - 0.1 * (high - low), high + 0.1 * (high - low) + 1e-9)
    figure = Figure(figsize=(3.4, 1.7), facecolor=PAPER)
    axis = figure.subplots()
    axis.set_facecolor(PAPER)
    axis.hist(values, bins=100, range=span, color=ACCENT, histtype="stepfilled", alpha=0.85)
    axis.set_yticks([])
    axis.tick_params(colors=INK, labelsize=7)
    axis.set_xlabel(unit, color=INK, fontsize=8)
    for name, spine in axis.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(INK)
    figure.subplots_adjust(0.03, 0.28, 0.97, 0.98)
    return figure


def as_png(figure: Figure) -> str:
    """A figure as the text of an <img> source."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor=figure.get_facecolor())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
