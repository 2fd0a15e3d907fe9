"""Fields with known χ, by a word each: SUBJECT[~lesions][/VOXEL][@TILT][*FACTOR][+NOISE].

`siemens1mm`, `geswi`: a subject of a BIDS folder with derivatives/truth; `headN`: our phantom of seed N, drawn on the
voxels that are asked for. `~lesions` sets bleeds and calcifications of ±0.3 to ±1.4 ppm into the brain, `/0.76x0.76x3`
takes other voxels (mm), `@30` tilts B0 by 30° off the third axis, `*4` multiplies χ and field, `+2ppb` adds noise.
Without `~`, `/` and `@` the field of a subject is the one that its scan was simulated with; otherwise it is D∗(χ·mask).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import torch

from QSMReconLib.data import Grid
from QSMReconLib.labels import DEEP_NUCLEI, Label
from QSMReconLib.phantoms.head import head
from QSMReconLib.physics.box import Box
from QSMReconLib.physics.dipole import Dipole

LESIONS_PPM = (-1.4, -1.0, -0.6, -0.3, 0.3, 0.6, 1.0, 1.4)
"""χ of the lesions, two of each."""

WORD = re.compile(
    r"(?P<subject>\w+)(?P<lesions>~lesions)?(?:/(?P<voxel>[\d.]+x[\d.]+x[\d.]+))?"
    r"(?:@(?P<tilt>[\d.]+))?(?:\*(?P<factor>-?[\d.]+))?(?:\+(?P<noise>[\d.]+)ppb)?"
)


@dataclass(frozen=True)
class Case:
    """A field with the χ behind it; labels as in QSMReconLib.labels."""

    grid: Grid
    field_ppm: torch.Tensor
    chi_ppm: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor


def parse(described: str) -> dict[str, str | None]:
    """The parts of a case's word. Raises SystemExit for what is none."""
    found = WORD.fullmatch(described)
    if found is None:
        raise SystemExit(f"{described!r} is no case: SUBJECT[~lesions][/AxBxC][@TILT][*FACTOR][+NOISEppb].")
    return found.groupdict()


def load_case(data: Path | None, described: str, crop_mm: float | None = None) -> Case:
    """A case; with `crop_mm` only a cube of this edge around the deep nuclei, with the field that it has by itself."""
    asked = parse(described)
    subject = str(asked["subject"])
    voxel = tuple(float(edge) for edge in asked["voxel"].split("x")) if asked["voxel"] else None
    if phantom := re.fullmatch(r"head(\d+)", subject):
        case = _phantom(int(phantom[1]), voxel or (1.0, 1.0, 1.0))
    elif data is None:
        raise SystemExit(f"{described} needs the folder with the data.")
    else:
        case = _truth(data, subject)
        case = _resampled(case, voxel) if voxel else case
    if crop_mm is not None:
        case = _cropped(case, crop_mm)
    if asked["lesions"]:
        case = _with_lesions(case)
    if asked["tilt"]:
        angle = math.radians(float(asked["tilt"]))
        case = replace(case, grid=replace(case.grid, b0_direction=(math.sin(angle), 0.0, math.cos(angle))))
    if crop_mm is not None or asked["lesions"] or asked["tilt"]:
        case = _with_field(case)
    if asked["factor"]:
        factor = float(asked["factor"])
        case = replace(case, field_ppm=factor * case.field_ppm, chi_ppm=factor * case.chi_ppm)
    if asked["noise"]:
        noise = torch.randn(case.mask.shape, generator=torch.Generator().manual_seed(1))
        case = replace(case, field_ppm=case.field_ppm + 1e-3 * float(asked["noise"]) * noise * case.mask)
    return case


def _with_field(case: Case) -> Case:
    return replace(case, field_ppm=Dipole.of(case.grid).field(case.chi_ppm) * case.mask)


def _truth(data: Path, subject: str) -> Case:
    stem = data / "derivatives" / "truth" / f"sub-{subject}" / "anat" / f"sub-{subject}"
    images = {
        name: nibabel.load(f"{stem}_{name}.nii.gz")
        for name in ("Chimap", "desc-local_fieldmap", "desc-brain_mask", "dseg")
    }
    volumes = {name: torch.from_numpy(np.asarray(image.get_fdata())).float() for name, image in images.items()}
    mask = (volumes["desc-brain_mask"] > 0.5).float()
    grid = Grid.from_affine(mask.shape, images["Chimap"].affine)
    return Case(grid, volumes["desc-local_fieldmap"] * mask, volumes["Chimap"] * mask, mask, volumes["dseg"])


def _phantom(seed: int, voxel: tuple[float, ...]) -> Case:
    shape = [8 * math.ceil(edge / v / 8) for edge, v in zip((176, 208, 176), voxel, strict=True)]
    grid = Grid.centred((shape[0], shape[1], shape[2]), (voxel[0], voxel[1], voxel[2]), (0.0, 0.0, 1.0))
    drawn = head(grid, seed)
    mask = (drawn.on_grid(drawn.brain.float()) > 0.5).float()
    chi = drawn.on_grid(drawn.tissue.para_ppm - drawn.tissue.dia_ppm) * mask
    labels = drawn.labels_on_grid(drawn.tissue.labels).float()
    return _with_field(Case(grid, chi, chi, mask, labels))


def _resampled(case: Case, voxel: tuple[float, ...]) -> Case:
    """χ in other voxels, averaged over those that are thicker than before, and its exact field there."""
    edges = tuple(zip(case.grid.shape, case.grid.voxel_size_mm, voxel, strict=True))
    shape = [round(n * v / new) for n, v, new in edges]
    window = [3 if new > 2.5 * v else 1 for _, v, new in edges]

    def sample(volume: torch.Tensor, mode: str) -> torch.Tensor:
        kwargs = {} if mode == "nearest-exact" else {"align_corners": False}
        return torch.nn.functional.interpolate(volume[None, None], size=shape, mode=mode, **kwargs)[0, 0]

    smooth = torch.nn.functional.avg_pool3d(case.chi_ppm[None, None], window, 1, [n // 2 for n in window])[0, 0]
    mask = (sample(case.mask, "trilinear") > 0.5).float()
    chi = sample(smooth, "trilinear") * mask
    grid = Grid.centred((shape[0], shape[1], shape[2]), (voxel[0], voxel[1], voxel[2]), case.grid.b0_direction)
    return _with_field(Case(grid, chi, chi, mask, sample(case.labels, "nearest-exact")))


def _cropped(case: Case, edge_mm: float) -> Case:
    """A cube around the middle of the deep nuclei."""
    nuclei = torch.isin(case.labels, torch.tensor(DEEP_NUCLEI, dtype=case.labels.dtype)).nonzero().float()
    corner, shape = [], []
    for axis, (n, v) in enumerate(zip(case.grid.shape, case.grid.voxel_size_mm, strict=True)):
        length = min(n, 8 * round(edge_mm / v / 8))
        corner.append(min(max(0, round(float(nuclei[:, axis].mean())) - length // 2), n - length))
        shape.append(length)
    box = Box((corner[0], corner[1], corner[2]), (shape[0], shape[1], shape[2]), case.grid.shape)
    volumes = (box.cut(v).clone() for v in (case.field_ppm, case.chi_ppm, case.mask, case.labels))
    return Case(box.grid(case.grid), *volumes)


def _with_lesions(case: Case) -> Case:
    """Soft-edged balls of 2 to 5 mm, wholly inside the brain, at places that a seed decides."""
    generator = torch.Generator().manual_seed(7)
    voxel = case.grid.voxel_size_mm
    window = [2 * round(8 / v) + 1 for v in voxel]
    share = torch.nn.functional.avg_pool3d(case.mask[None, None], window, 1, [n // 2 for n in window])[0, 0]
    places = ((share > 0.999) & (case.mask > 0)).nonzero()
    chi, labels = case.chi_ppm.clone(), case.labels.clone()
    axes = [torch.arange(n) * v for n, v in zip(case.grid.shape, voxel, strict=True)]
    for value in 2 * LESIONS_PPM:
        place = places[int(torch.randint(len(places), (1,), generator=generator))]
        radius = 2 + 3 * float(torch.rand(1, generator=generator))
        x, y, z = ((axis - axis[at]).square() for axis, at in zip(axes, place, strict=True))
        distance = (x[:, None, None] + y[:, None] + z).sqrt()
        cover = ((radius - distance) / max(voxel) + 0.5).clamp(0, 1)
        chi = torch.lerp(chi, torch.full_like(chi, value), cover)
        labels[cover > 0.5] = float(Label.BLEED if value > 0 else Label.CALCIFICATION)
    return replace(case, chi_ppm=chi, labels=labels)
