"""Accuracy and speed of the networks on the development heads, beside closed forms.

    python benchmarks/networks.py DATA [--networks NAME ...] [--cases CASE ...] [--json FILE]

DATA is the BIDS folder with derivatives/truth. Cases: subject, and what is done to it, such as siemens1mm,
siemens1mm+2ppb (noise), siemens1mm@30 (the field of its χ with B0 tilted by 30°), siemens1mm*4 (χ times 4),
siemens1mm*-1, siemens1mm/0.76x0.76x3 (resampled).
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import torch

from QSMReconLib.data import Grid
from QSMReconLib.evaluation.metrics import hfen, nrmse, xsim
from QSMReconLib.inversion.tkd import tkd
from QSMReconLib.labels import DEEP_NUCLEI
from QSMReconLib.networks.card import load_card, load_network, networks
from QSMReconLib.networks.runner import reconstruct
from QSMReconLib.physics.dipole import Dipole

CASES = (
    "siemens1mm",
    "siemens1mm+2ppb",
    "geswi",
    "geswi+2ppb",
    "siemens1mm@20",
    "siemens1mm@30",
    "siemens1mm/0.76x0.76x3",
    "siemens1mm*4",
    "siemens1mm*-1",
)


@dataclass(frozen=True)
class Case:
    """A field with the χ behind it; labels as in QSMReconLib.labels."""

    grid: Grid
    field_ppm: torch.Tensor
    chi_ppm: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor


def load_case(data: Path, described: str) -> Case:
    """A case by its description; see the top of the file."""
    subject = re.split(r"[+@*/]", described)[0]
    case = _truth(data, subject)
    if found := re.search(r"/([\d.]+)x([\d.]+)x([\d.]+)", described):
        case = _resampled(case, (float(found[1]), float(found[2]), float(found[3])))
    if found := re.search(r"@([\d.]+)", described):
        angle = math.radians(float(found[1]))
        grid = replace(case.grid, b0_direction=(math.sin(angle), 0.0, math.cos(angle)))
        case = replace(case, grid=grid, field_ppm=Dipole.of(grid).field(case.chi_ppm) * case.mask)
    if found := re.search(r"\*(-?[\d.]+)", described):
        factor = float(found[1])
        case = replace(case, field_ppm=factor * case.field_ppm, chi_ppm=factor * case.chi_ppm)
    if found := re.search(r"\+([\d.]+)ppb", described):
        noise = torch.randn(case.mask.shape, generator=torch.Generator().manual_seed(1))
        case = replace(case, field_ppm=case.field_ppm + 1e-3 * float(found[1]) * noise * case.mask)
    return case


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


def _resampled(case: Case, voxel: tuple[float, float, float]) -> Case:
    """χ averaged to other voxels, and its exact field there."""
    shape = [round(n * v / new) for n, v, new in zip(case.grid.shape, case.grid.voxel_size_mm, voxel, strict=True)]

    def sample(volume: torch.Tensor, mode: str) -> torch.Tensor:
        kwargs = {} if mode == "nearest-exact" else {"align_corners": False}
        return torch.nn.functional.interpolate(volume[None, None], size=shape, mode=mode, **kwargs)[0, 0]

    smooth = torch.nn.functional.avg_pool3d(case.chi_ppm[None, None], (1, 1, 3), 1, (0, 0, 1))[0, 0]
    mask = (sample(case.mask, "trilinear") > 0.5).float()
    chi = sample(smooth, "trilinear") * mask
    grid = Grid.centred((shape[0], shape[1], shape[2]), voxel, case.grid.b0_direction)
    return Case(grid, Dipole.of(grid).field(chi) * mask, chi, mask, sample(case.labels, "nearest-exact"))


def methods(names: list[str]) -> dict[str, Callable[[Case], torch.Tensor]]:
    """What is compared, by name."""

    def of(name: str) -> Callable[[Case], torch.Tensor]:
        card = load_card(name)
        network = load_network(card)
        return lambda case: reconstruct(network, card, case.field_ppm, case.mask, case.grid).chi_ppm

    found: dict[str, Callable[[Case], torch.Tensor]] = {
        "tkd 0.15": lambda case: tkd(case.field_ppm, Dipole.of(case.grid), 0.15) * case.mask
    }
    return found | {name: of(name) for name in names}


def slopes(chi: torch.Tensor, case: Case) -> dict[str, float]:
    """Of the means of the deep nuclei, and of all voxels beyond 0.1 ppm, estimated over true."""
    true, estimated = case.chi_ppm.numpy(), chi.numpy()
    labels = case.labels.numpy()
    means = [(true[labels == n].mean(), estimated[labels == n].mean()) for n in DEEP_NUCLEI if (labels == n).any()]
    strong = (np.abs(true) > 0.1) & (case.mask.numpy() > 0)
    return {
        "dgm_slope": float(np.polyfit(*zip(*means, strict=True), 1)[0]) if len(means) > 2 else math.nan,
        "strong_slope": float((true[strong] * estimated[strong]).sum() / (true[strong] ** 2).sum()),
    }


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", nargs="*", default=list(networks("inversion")))
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table: dict[str, dict[str, dict[str, float]]] = {}
    compared = methods(args.networks)
    print(f"{'case':26s}{'method':14s}{'NRMSE %':>9s}{'XSIM':>7s}{'HFEN %':>8s}{'DGM':>7s}{'>0.1':>7s}{'seconds':>9s}")
    for described in args.cases:
        case = load_case(args.data, described)
        for name, method in compared.items():
            start = time.perf_counter()
            with torch.inference_mode():
                chi = method(case)
            seconds = time.perf_counter() - start
            volumes = (chi, case.chi_ppm, case.mask)
            scores = {"nrmse": nrmse(*volumes), "xsim": xsim(*volumes), "hfen": hfen(*volumes)} | slopes(chi, case)
            scores["seconds"] = seconds
            table.setdefault(described, {})[name] = {key: round(value, 4) for key, value in scores.items()}
            print(
                f"{described:26s}{name:14s}{scores['nrmse']:9.1f}{scores['xsim']:7.3f}{scores['hfen']:8.1f}"
                f"{scores['dgm_slope']:7.3f}{scores['strong_slope']:7.3f}{seconds:9.1f}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
