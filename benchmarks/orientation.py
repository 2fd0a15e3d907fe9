"""How far maps of one head agree when the head is tilted: the consistency measure of QSMnet's paper.

    python benchmarks/orientation.py [DATASET] [--case CASE] [--crop MM] [--method NAME ...] [--network NAME ...]
                                     [--noise PPB] [--threads N]

One head is simulated at five tilts of B0 (0°, and 15° and 30° about two axes), each with noise of its own, and every
method makes a map of each (Yoon et al. 2018, doi:10.1016/j.neuroimage.2018.06.030, compare maps of five real
orientations with COSMOS). Printed: NRMSE (%) and XSIM against the truth, mean and worst of the tilts; the same of each
map against COSMOS of all five fields; and the standard deviation over the tilts, mean over the brain, in ppb. An
inversion that were blind to B0 would have none but that of its noise.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from math import cos, radians, sin
from pathlib import Path

import torch
from cases import load_case

from QSMReconLib.data import ChiMap, GreData, Grid, LocalField
from QSMReconLib.evaluation.metrics import nrmse, xsim
from QSMReconLib.inversion.cosmos import cosmos_inside
from QSMReconLib.physics.box import Box
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage, find_stage

TILTS_DEG = ((0, 0), (15, 0), (30, 0), (15, 90), (30, 90))
"""Of B0 off the third axis, and the direction in which."""
METHODS = ("tkd", "closedforml2", "ilsqr", "rts", "tv", "hdqsm", "medi")


def tilted(grid: Grid) -> list[Grid]:
    """The grid under five directions of B0."""
    directions = [
        (sin(radians(tilt)) * cos(radians(towards)), sin(radians(tilt)) * sin(radians(towards)), cos(radians(tilt)))
        for tilt, towards in TILTS_DEG
    ]
    return [replace(grid, b0_direction=b0) for b0 in directions]


def summary(maps: list[torch.Tensor], reference: torch.Tensor, mask: torch.Tensor) -> str:
    """NRMSE and XSIM of maps against a reference: mean, and the worst."""
    errors = [nrmse(one, reference, mask) for one in maps]
    likeness = [xsim(one, reference, mask) for one in maps]
    count = len(maps)
    return f"{sum(errors) / count:5.1f} ({max(errors):5.1f}) / {sum(likeness) / count:.3f} ({min(likeness):.3f})"


def main() -> None:
    """A row per method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("dataset", nargs="?", type=Path, default=default)
    parser.add_argument("--case", default="siemens1mm", help="a word of cases.py without noise")
    parser.add_argument("--crop", type=float, help="edge of a cube, mm")
    parser.add_argument("--method", nargs="*", default=METHODS)
    parser.add_argument("--network", nargs="*", default=[], help="networks of the stage qsmnet")
    parser.add_argument("--noise", type=float, default=1.0, help="ppb, different at each tilt")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    case = load_case(args.dataset, args.case, args.crop)
    inside = case.mask > 0
    box = Box.around(inside)
    grids, fields, generator = tilted(case.grid), [], torch.Generator().manual_seed(0)
    for grid in grids:
        noise = 1e-3 * args.noise * torch.randn(case.mask.shape, generator=generator)
        fields.append((Dipole.of(grid).field(case.chi_ppm) + noise) * case.mask)
    dipoles = [Dipole.of(box.grid(grid)) for grid in grids]
    weights = [box.cut(case.mask)] * len(grids)
    together = box.paste(cosmos_inside([box.cut(field) for field in fields], weights, dipoles, box.cut(inside)))
    print(f"{args.case}, {args.noise:g} ppb; NRMSE % and XSIM, mean (worst) of five tilts")
    print(f"{'COSMOS of all five':<22} against the truth {summary([together], case.chi_ppm, inside)}")
    stages: dict[str, Stage] = {name: find_stage(name)() for name in args.method}
    stages |= {name: find_stage("qsmnet").with_options({"network": name}) for name in args.network}
    # Phantoms have no magnitude here: that of MEDI has the edges of χ.
    magnitude = 1 + 3 * case.chi_ppm
    for name, stage in stages.items():
        maps = []
        for grid, field in zip(grids, fields, strict=True):
            gre = GreData(grid, magnitude[None], torch.zeros_like(magnitude)[None], (0.007,), 3.0)
            given = {LocalField: LocalField(grid, field, inside), GreData: gre}
            with torch.inference_mode():
                (made,) = stage.run(given, Runtime())
            assert isinstance(made, ChiMap)
            maps.append(made.chi_ppm - made.chi_ppm[inside].mean() * inside)
        spread = 1e3 * float(torch.stack(maps).std(0)[inside].mean())
        print(
            f"{name:<22} against the truth {summary(maps, case.chi_ppm, inside)}   against COSMOS "
            f"{summary(maps, together, inside)}   between tilts {spread:5.2f} ppb",
            flush=True,
        )


if __name__ == "__main__":
    main()
