"""The networks beside TKD, closed-form L2 and total variation, as they come and tuned, on heads with known χ.

    python benchmarks/networks.py [DATA] [--quick] [--networks NAME ...] [--cases CASE ...] [--methods NAME ...]
                                  [--crop-mm N] [--json FILE] [--figures DIR] [--write]

Cases are the words of cases.py; DATA is the BIDS folder of those that are subjects. A tuned method is given the value
of its one parameter that is best for the NRMSE on that very case: nobody can do that with a patient. `+ data` is a
network with last steps towards the field. NRMSE of tissue, blood and deep nuclei (DGM) are those of the challenge 2.0,
without a scale and an offset of their own; slopes have 95 % confidence intervals. MB is the peak that a method took
beyond what was held.
`--crop-mm 96` scores a cube around the deep nuclei, a complete problem of its own, where there is no time for heads;
`--quick` such a cube of a phantom, in a few of the cases and without DATA. `--write` puts the scores of whole heads
into the cards of the networks, as each card has them used: with last steps or without.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from cases import Case, load_case
from network_figures import curves, slices
from scores import SCORES, score

from QSMReconLib.data import LocalField
from QSMReconLib.evaluation.metrics import nrmse
from QSMReconLib.inversion.closedform import ClosedFormL2
from QSMReconLib.inversion.qsmnet import QsmNet
from QSMReconLib.inversion.tkd import Tkd
from QSMReconLib.inversion.tv import Tv
from QSMReconLib.networks.card import load_card, networks, write_card
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage

NETWORKS = ("qsmnet", "qsmnet-phys")

VARIANTS = (
    *("", "+0.5ppb", "+1ppb", "+2ppb", "+4ppb"),
    *("@0", "@15", "@30", "@45"),
    *("/0.7x0.7x0.7", "/0.76x0.76x3", "/0.5x0.5x2", "/0.76x0.76x3+2ppb"),
    *("*2", "*3", "*4", "*-1"),
    *("~lesions", "~lesions+2ppb"),
)
"""What is done to a subject: noise, tilt of B0, voxels (mm), χ times so much, pathology."""

CASES = (
    *(f"siemens1mm{variant}" for variant in VARIANTS),
    *(f"geswi{variant}" for variant in VARIANTS if not variant.startswith("/")),
)
QUICK = tuple(f"head1{variant}" for variant in ("", "+2ppb", "@30", "/0.76x0.76x3", "*4", "~lesions"))
QUICK_MM = 56.0
IN_CARDS = ("nrmse", "xsim", "hfen", "dgm_slope", "strong_slope")

Choose = Callable[[Case], Stage]


@dataclass(frozen=True)
class Made:
    """A map with what it cost."""

    chi_ppm: torch.Tensor
    seconds: float
    peak_mb: float


def run(stage: Stage, case: Case) -> Made:
    """The χ of a stage, timed."""
    local = LocalField(case.grid, case.field_ppm, case.mask)
    before = memory_mb(reset=True)
    start = time.perf_counter()
    with torch.inference_mode():
        chi = stage.apply(local, Runtime()).chi_ppm
    seconds = time.perf_counter() - start
    return Made(chi, seconds, memory_mb() - before)


def tuned(kind: type[Stage], option: str, factor: float = 2.0) -> Choose:
    """The stage with the value of `option` best for the NRMSE, on the powers of `factor` around its default."""

    def choose(case: Case) -> Stage:
        default = getattr(kind(), option)
        errors: dict[int, float] = {}

        def error(power: int) -> float:
            if power not in errors:
                stage = kind.with_options({option: default * factor**power})
                errors[power] = nrmse(run(stage, case).chi_ppm, case.chi_ppm, case.mask)
            return errors[power]

        best = 0
        for direction in (1, -1):
            while abs(best) < 6 and error(best + direction) < error(best):
                best += direction
        return kind.with_options({option: default * factor**best})

    return choose


def methods(names: list[str]) -> dict[str, Choose]:
    """What is compared, by name."""
    found: dict[str, Choose] = {
        "tkd": lambda case: Tkd(),
        "tkd tuned": tuned(Tkd, "threshold", 1.3),
        "l2": lambda case: ClosedFormL2(),
        "l2 tuned": tuned(ClosedFormL2, "weight"),
        "tv": lambda case: Tv(),
        "tv tuned": tuned(Tv, "regularisation"),
    }
    for name in names:
        plain, stepped = (QsmNet(network=name, data_consistency=choice) for choice in ("off", "noise"))
        found[name] = lambda case, stage=plain: stage
        found[f"{name} + data"] = lambda case, stage=stepped: stage
    return found


def memory_mb(reset: bool = False) -> float:
    """Megabytes that the process has held at most since the last reset, as Linux tells; NaN elsewhere."""
    status, refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        return math.nan
    if reset:
        ctypes.CDLL(None).malloc_trim(0)  # What was freed is given back, or the next method would have it for nothing.
        refs.write_text("5")  # Sets the peak to what is held now.
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Print the table; write JSON and pictures where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=networks("inversion"))
    parser.add_argument("--cases", nargs="*")
    parser.add_argument("--methods", nargs="*", help="only these, for example tkd 'qsmnet-phys + data'")
    parser.add_argument("--crop-mm", type=float)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figures", type=Path, metavar="DIR")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cases = args.cases or (QUICK if args.quick else CASES)
    crop_mm = args.crop_mm or (QUICK_MM if args.quick else None)
    compared = {name: choose for name, choose in methods(args.networks).items() if name in (args.methods or [name])}
    table: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{'case':28s}{'method':20s}" + "".join(f"{title:>{width}s}" for _, title, width, _ in SCORES), flush=True)
    for described in cases:
        case = load_case(args.data, described, crop_mm)
        maps = {}
        for name, choose in compared.items():
            made = run(choose(case), case)
            maps[name] = made.chi_ppm
            scores = score(made.chi_ppm, case) | {"seconds": made.seconds, "peak_mb": made.peak_mb}
            table.setdefault(described, {})[name] = {key: round(value, 4) for key, value in scores.items()}
            print(f"{described:28s}{name:20s}" + "".join(show(scores) for _, _, _, show in SCORES), flush=True)
        if args.figures:
            args.figures.mkdir(parents=True, exist_ok=True)
            slices(case, maps, args.figures / f"{described.replace('/', '_').replace('*', 'x')}.png")
        if args.json:
            args.json.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    if args.figures:
        curves(table, args.figures / "curves.png")
    if args.write and crop_mm is None:
        for name in args.networks:
            note_in_card(name, table)


def note_in_card(name: str, table: dict[str, dict[str, dict[str, float]]]) -> None:
    """Put a network's scores, case by case, into its card in the place of those that were there."""
    card = load_card(name)
    used = name if card.data_consistency == "off" else f"{name} + data"
    found = {case: {score: row[used][score] for score in IN_CARDS} for case, row in table.items() if used in row}
    if found:
        said = {"measured_with": "benchmarks/networks.py on simulated development heads, true local field, as used"}
        write_card(replace(card, accuracy=said | found))


if __name__ == "__main__":
    main()
