"""The pictures of a lesion: crops of every map in three planes, and its profile from the tissue around to its core."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data import Grid
from .lesions import Numbers, Volume, Where
from .maps import CHANNELS, ReviewMaps

PIXELS = 128
Box = tuple[slice, slice, slice]
Points = list[tuple[float, float]]

_OUTLINE, _RULER = (255, 196, 0), (255, 255, 255)


@dataclass(frozen=True)
class Column:
    """A column of crops: what it shows, and from which value (black) to which (white)."""

    title: str
    unit: str
    low: float
    high: float


def columns_of(maps: ReviewMaps) -> list[tuple[Column, Volume]]:
    """The magnitude, where there is one, and every map in its fixed window."""
    shown = []
    if maps.magnitude is not None:
        values = maps.magnitude[maps.mask] if maps.mask.any() else maps.magnitude
        low, high = (float(v) for v in np.percentile(values, (1, 99.5)))
        shown.append((Column("magnitude", "", low, max(high, low + 1e-12)), maps.magnitude))
    known = [maps.channels[name] for name in CHANNELS if name in maps.channels]
    shown += [(Column(c.title, c.unit, *c.window), c.values) for c in known]
    return shown


def crops(
    columns: Sequence[tuple[Column, Volume]],
    grid: Grid,
    numbers: Numbers,
    label: int,
    centre_voxel: Sequence[float],
    half_mm: float = 22.0,
) -> NDArray[np.uint8]:
    """An RGB picture (3·PIXELS, columns·PIXELS, 3): axial, coronal and sagittal crops below each other, one column per
    map, as radiologists look at them (the patient's right on the left), the lesion outlined, a ruler of 10 mm."""
    rows = []
    ticks = np.linspace(-half_mm, half_mm, PIXELS)
    for across, up in ((0, 1), (0, 2), (1, 2)):
        at = [np.full((PIXELS, PIXELS), float(c)) for c in centre_voxel]
        # Pictures run from the top down; left is the patient's right, and in sagittal ones the front.
        at[up] = at[up] - ticks[:, None] / grid.voxel_size_mm[up]
        at[across] = at[across] - ticks[None, :] / grid.voxel_size_mm[across]
        box, inside = _near(at, grid.shape)
        edge = _edge(_at((numbers[box] == label).astype(np.float32), inside) > 0.5)
        rows.append(np.concatenate([_tile(_at(v[box], inside), c, edge, half_mm) for c, v in columns], axis=1))
    return np.concatenate(rows)


def as_png(picture: NDArray[np.uint8]) -> str:
    """A picture as the text of an <img> source."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def overview(
    maps: ReviewMaps, places_mm: Sequence[Sequence[float]], size: int = 260
) -> list[tuple[str, float, Points]]:
    """The brain from above, the front and the left: (a picture of its middle slice, height over width, and where each
    lesion lies in it as shares of width and height), as radiologists look at them."""
    grid = maps.grid
    background = maps.magnitude if maps.magnitude is not None else next(iter(maps.channels.values())).values
    inside = np.argwhere(maps.mask)
    low, high = (inside.min(0), inside.max(0) + 1) if len(inside) else (np.zeros(3, int), np.array(grid.shape))
    inverse = np.linalg.inv(np.asarray(grid.affine))
    voxels = np.asarray(places_mm, dtype=float).reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]
    # The window of the brain alone: skull and fat around it are brighter.
    values = background[maps.mask] if len(inside) else background
    dark, bright = (float(v) for v in np.percentile(values, (1, 99.5)))
    pictures = []
    for across, up in ((0, 1), (0, 2), (1, 2)):
        through = 3 - across - up
        width, height = (float((high[a] - low[a]) * grid.voxel_size_mm[a]) for a in (across, up))
        rows = max(1, round(size * height / width))
        at: list[NDArray[np.float64]] = [np.full((rows, size), float((low[through] + high[through] - 1) / 2))] * 3
        at[across] = np.broadcast_to(np.linspace(high[across] - 1, low[across], size), (rows, size))
        at[up] = np.broadcast_to(np.linspace(high[up] - 1, low[up], rows)[:, None], (rows, size))
        grey = np.clip((_at(background, at) - dark) / max(bright - dark, 1e-12), 0, 1)
        grey *= 0.3 + 0.7 * (_at(maps.mask.astype(np.float32), at) > 0.5)
        picture = as_png(np.repeat((230 * grey).astype(np.uint8)[..., None], 3, axis=2))
        spots = [
            tuple(float((high[a] - 1 - v[a]) / max(high[a] - 1 - low[a], 1)) for a in (across, up)) for v in voxels
        ]
        pictures.append((picture, rows / size, [(x, y) for x, y in spots]))
    return pictures


def profile_svg(profile: Mapping[str, Sequence[tuple[float, float, float]]], titles: Mapping[str, str]) -> str:
    """χ_para and χ_dia (or χ) over depth, with standard errors; the edge of the lesion is the line in the middle."""
    names = [name for name in ("chi_para", "chi_dia") if profile.get(name)]
    names = names or [name for name in ("chi",) if profile.get(name)]
    if not names:
        return ""
    width, height, left, bottom = 300, 150, 34, 22
    values = [m + s * e for name in names for _, m, e in profile[name] for s in (-1, 1)]
    low, high = min(0.0, *values), max(20.0, *values)

    def place(depth: float, value: float) -> str:
        x = left + (depth + 1) / 2 * (width - left - 4)
        y = height - bottom - (value - low) / (high - low) * (height - bottom - 6)
        return f"{x:.1f},{y:.1f}"

    def line(start: tuple[float, float], end: tuple[float, float], style: str) -> str:
        (x1, y1), (x2, y2) = (place(*point).split(",") for point in (start, end))
        return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" {style}/>'

    parts = [line((0, low), (0, high), 'stroke="#8c959f" stroke-dasharray="3 3"')]
    parts.append(line((-1, 0), (1, 0), 'stroke="#8c959f"'))
    for value in (low, high):
        y = place(-1, value).split(",")[1]
        parts.append(f'<text x="{left - 4}" y="{y}" text-anchor="end" dominant-baseline="middle">{round(value)}</text>')
    for i, (name, colour) in enumerate(zip(names, ("#cf222e", "#0969da"), strict=False)):
        band = profile[name]
        around = [place(d, m + e) for d, m, e in band] + [place(d, m - e) for d, m, e in reversed(band)]
        parts.append(f'<polygon points="{" ".join(around)}" fill="{colour}" fill-opacity="0.25"/>')
        points = " ".join(place(d, m) for d, m, _ in band)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + 8 + 60 * i}" y="14" style="fill: {colour}">{titles[name]}</text>')
    words = (("around", "start", left), ("edge", "middle", (left + width - 4) / 2), ("core", "end", width - 4))
    parts += [f'<text x="{x}" y="{height - 6}" text-anchor="{anchor}">{word}</text>' for word, anchor, x in words]
    return f'<svg viewBox="0 0 {width} {height}" class="profile" role="img">{"".join(parts)}</svg>'


def _near(at: Sequence[NDArray[np.float64]], shape: Sequence[int]) -> tuple[Box, list[NDArray[np.float64]]]:
    """The box of voxels around places, and the places in it: interpolation copies what it is given."""
    low = [int(np.clip(np.floor(a.min()) - 1, 0, n - 1)) for a, n in zip(at, shape, strict=True)]
    high = [int(np.clip(np.ceil(a.max()) + 2, 1, n)) for a, n in zip(at, shape, strict=True)]
    x, y, z = (slice(a, max(b, a + 1)) for a, b in zip(low, high, strict=True))
    return (x, y, z), [a - start for a, start in zip(at, low, strict=True)]


def _at(volume: NDArray[np.float32], at: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    from scipy.ndimage import map_coordinates

    return map_coordinates(volume, at, order=1, cval=0.0)


def _tile(values: NDArray[np.float32], column: Column, edge: Where, half_mm: float) -> NDArray[np.uint8]:
    grey = np.clip((values - column.low) / (column.high - column.low), 0, 1)
    tile = np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=2)
    tile[edge] = _OUTLINE
    length = round(10.0 / (2 * half_mm) * PIXELS)
    tile[-7:-4, 6 : 6 + length] = _RULER
    tile[:, -1] = tile[-1] = 0
    return tile


def _edge(inside: Where) -> Where:
    from scipy.ndimage import binary_dilation

    return binary_dilation(inside) & ~inside
