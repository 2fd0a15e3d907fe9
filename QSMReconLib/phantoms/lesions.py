"""Lesions of known kind in the phantom: MS lesions with their rims, bleeds and calcifications.

What χ_para and χ_dia do in a lesion is given in the words that the review uses: hyper, iso, hypo against the tissue
around, and hyper_rim for a paramagnetic rim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .._lazy import torch
from ..errors import InputError
from ..labels import Label
from .brain import HIGH, LOW, Brain
from .pose import Pose
from .shapes import ellipsoid, share
from .space import Box, Space, Waves
from .tissues import TISSUES, Canvas

MS_KINDS = (
    ("hyper", "hypo"),
    ("hyper_rim", "hypo"),
    ("iso", "hypo"),
    ("hypo", "hypo"),
    ("iso", "iso"),
    ("hyper", "iso"),
)
"""The (χ_para, χ_dia) kinds of MS lesion, drawn in turn."""

_ATTEMPTS = 5_000
_SAMPLES = 3


@dataclass(frozen=True)
class Lesion:
    """One lesion: its number in the label map, what it is (ms, bleed, calc), where, and how large.

    `para` and `dia` are words for MS lesions; `chi_ppm` is the peak χ of the others.
    """

    number: int
    kind: str
    para: str
    dia: str
    chi_ppm: float | None
    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]


def draw_lesions(
    canvas: Canvas,
    space: Space,
    pose: Pose,
    brain: Brain,
    counts: tuple[int, int, int],
    rng: np.random.Generator,
    edge_mm: float,
) -> tuple[tuple[Lesion, ...], torch.Tensor]:
    """Paint `counts` = (MS lesions, bleeds, calcifications); returns them and their label map on `space`.

    Raises InputError where there is no room for so many.
    """
    numbers = torch.zeros(space.shape, dtype=torch.int16, device=space.device)
    planned = [(kind, turn) for kind, n in zip(("ms", "bleed", "calc"), counts, strict=True) for turn in range(n)]
    taken: list[tuple[NDArray[np.float64], float]] = []
    lesions = []
    # Each lesion has a generator of its own: that one finds its place at once or late does not change the next.
    seed = int(rng.integers(2**32))
    for number, (kind, turn) in enumerate(planned, start=1):
        rng = np.random.default_rng([seed, number])
        radii = _radii(kind, turn, rng)
        centre = _place(space, pose, brain, canvas.labels[brain.box], (kind, float(radii.max())), taken, rng)
        taken.append((centre, float(radii.max())))
        para, dia = MS_KINDS[turn % len(MS_KINDS)] if kind == "ms" else ("", "")
        size = float(rng.uniform(0.6, 1.5)) * (1 if kind == "bleed" else -1)
        lesion = Lesion(number, kind, para, dia, None if kind == "ms" else size, _triple(centre), _triple(radii))
        _draw(canvas, space, lesion, numbers, rng, edge_mm)
        lesions.append(lesion)
    return tuple(lesions), numbers


def _radii(kind: str, turn: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if kind == "ms":
        return rng.uniform(3.0, 6.5, 3)
    # Most bleeds and calcifications are small; one in nine bleeds is a haematoma.
    large = kind == "bleed" and turn % 9 == 8
    return np.exp(rng.normal(0, 0.1, 3)) * (rng.uniform(5.0, 8.0) if large else rng.uniform(1.2, 3.0))


def _place(
    space: Space,
    pose: Pose,
    brain: Brain,
    labels: torch.Tensor,
    planned: tuple[str, float],
    taken: list[tuple[NDArray[np.float64], float]],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """A centre in the white matter, away from other lesions; MS lesions mostly near the ventricles."""
    low, high = pose.bounds_mm(LOW, HIGH)
    kind, radius = planned
    to_voxel = np.linalg.inv(space.part(brain.box).affine)
    depth, ventricles, hull = (v.cpu().numpy() for v in (brain.depth, brain.ventricles, brain.hull))
    tissue = labels.cpu().numpy()
    # The stricter wishes are given up little by little: small heads on coarse grids have little room.
    strict = np.linspace(1, 0, _ATTEMPTS)
    centres = rng.uniform(low, high, (_ATTEMPTS, 3))
    around = radius * np.vstack([np.zeros(3), np.eye(3), -np.eye(3)])
    points = centres[:, None] + strict[:, None, None] * around
    voxels = np.rint(points @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int)
    good = ((voxels >= 0) & (voxels < tissue.shape)).all((1, 2))
    voxels = np.where(good[:, None, None], voxels, 0)
    at = tuple(voxels[:, 0].T)
    good &= (tissue[tuple(np.moveaxis(voxels, 2, 0))] == Label.WHITE_MATTER).all(1)
    good &= (depth[at] > 2.0 + radius * (0.4 + 0.5 * strict)) & (hull[at] < -(radius + 4))
    good &= ventricles[at] > 0.8 * radius
    if kind == "ms":
        good &= (ventricles[at] < 14 + radius) | (rng.uniform(size=_ATTEMPTS) < 0.25)
    for point, wish in zip(centres[good], strict[good], strict=True):
        if all(np.linalg.norm(point - other) > radius + r + 3 * wish for other, r in taken):
            return point
    raise InputError("There is no room for so many lesions in this head: ask for fewer.")


def _draw(
    canvas: Canvas, space: Space, lesion: Lesion, numbers: torch.Tensor, rng: np.random.Generator, edge_mm: float
) -> None:
    reach = max(lesion.radii_mm) + 5
    box = space.box([v - reach for v in lesion.centre_mm], [v + reach for v in lesion.centre_mm])
    # Small ones are not much larger than a voxel: what they fill of it is counted on a finer grid.
    distance = _distance(space.part(box).split((_SAMPLES,) * 3), lesion, rng)

    def filled(deeper_mm: float = 0.0) -> torch.Tensor:
        fine = share(distance + deeper_mm, edge_mm / _SAMPLES)
        return torch.nn.functional.avg_pool3d(fine[None], _SAMPLES)[0]

    inside = filled()
    if lesion.kind == "ms":
        _demyelinate(canvas, box, lesion, inside, filled(2.0), rng)
    else:
        label = Label.BLEED if lesion.kind == "bleed" else Label.CALCIFICATION
        size_ppb = abs(lesion.chi_ppm or 0.0) * 1e3
        tissue = replace(TISSUES[label], **{"para_ppb" if label is Label.BLEED else "dia_ppb": size_ppb})
        canvas.paint(inside, tissue, label, box)
    numbers[box].masked_fill_(inside >= inside.max().clamp(max=0.5), lesion.number)


def _demyelinate(
    canvas: Canvas, box: Box, lesion: Lesion, inside: torch.Tensor, core: torch.Tensor, rng: np.random.Generator
) -> None:
    """Turn what is there into an MS lesion: the rim is what `inside` has around the `core`."""
    more, rim, less, keep = (
        rng.uniform(0.020, 0.040),
        rng.uniform(0.030, 0.060),
        rng.uniform(0.5, 0.75),
        rng.uniform(0.3, 0.65),
    )
    para, dia = canvas.para_ppm[box], canvas.dia_ppm[box]
    if lesion.para == "hyper":
        para += more * inside
    elif lesion.para == "hyper_rim":
        para += rim * (inside - core)
    elif lesion.para == "hypo":
        para *= 1 - less * inside
    if lesion.dia == "hypo":
        dia *= 1 - (1 - keep) * inside
    for volume, value in ((canvas.r2_hz, rng.uniform(9.5, 11.5)), (canvas.r1_hz, 0.75), (canvas.density, 0.84)):
        volume[box].lerp_(torch.tensor(float(value), device=volume.device), inside)


def _distance(part: Space, lesion: Lesion, rng: np.random.Generator) -> torch.Tensor:
    """To the surface of a turned, slightly irregular ellipsoid."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = part.affine.copy()
    affine[:3, 3] -= lesion.centre_mm
    there = np.eye(4)
    there[:3, :3] = turn
    x, y, z = Space(part.shape, there @ affine, part.device).position_mm()
    rough = Waves.draw(rng, 2.5 * max(lesion.radii_mm), number=24).on(part)
    return ellipsoid((x, y, z), (0.0, 0.0, 0.0), lesion.radii_mm) + 0.08 * min(lesion.radii_mm) * rough


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
