"""Background removal from the raw scan: what each method leaves of the local field, and of χ after it.

    python benchmarks/background.py [DATASET] [--participant-label L ...] [--threads N] [--only NAME ...]
        [--inversions tv qsmnet-phys]

The true brain mask is given; the field is that of `classical` (mcpc3ds, romeo, complexfit), computed once a subject.
Each method then runs in a process of its own. Rows: NRMSE of the local field where it is given (%), the share of the
brain kept (%), the standard deviation of the smooth harmonic part left (ppb), χ by each inversion (NRMSE %/XSIM, in the
same mask), seconds and peak memory (MB) of the background removal alone. What inverts the total field in one step
(`tfi`, `lnqsm`) has no local field.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from speed import memory_mb

from QSMReconLib.data import Artifact, ChiMap, FieldNoise, LocalField, Mask, TotalField
from QSMReconLib.evaluation.metrics import nrmse, xsim
from QSMReconLib.inversion.qsmnet import QsmNet
from QSMReconLib.inversion.tv import Tv
from QSMReconLib.io.bids import find_scans, load_scan
from QSMReconLib.io.nifti import read_volume
from QSMReconLib.pipeline import Pipeline, load_pipeline
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage, find_stage

METHODS = ("sharp", "vsharp", "resharp", "ismv", "lbv", "pdf", "tfifield", "tfinet", "tfi", "lnqsm")
FIELD = ("mcpc3ds", "romeo", "complexfit")
INVERSIONS: dict[str, Stage] = {"tv": Tv(), "qsmnet-phys": QsmNet(network="qsmnet-phys")}


def field_of(dataset: Path, subject: str) -> dict[str, Any]:
    """The field map of a scan, its noise, and the truth."""

    def truth(suffix: str) -> torch.Tensor:
        return read_volume(dataset / f"derivatives/truth/{subject}/anat/{subject}_{suffix}.nii.gz")[0]

    (files,) = find_scans(dataset, [subject])
    scan = load_scan(files)
    mask = truth("desc-brain_mask") > 0.5
    steps = tuple(step for step in load_pipeline("classical").steps if step.stage.name in FIELD)
    result = Pipeline("field", steps).run(scan.artifacts | {Mask: Mask(scan.grid, mask)}, Runtime())
    total, noise = result.artifacts[TotalField], result.artifacts[FieldNoise]
    volumes = {"total": total.field_ppm, "noise": noise.noise_ppm, "mask": mask}
    return {"grid": scan.grid} | volumes | {"local": truth("desc-local_fieldmap"), "chi": truth("Chimap")}


def measure(file: Path, method: str, threads: int, inversions: list[str]) -> dict[str, Any]:
    """One row, in this process."""
    torch.set_num_threads(threads)
    there = torch.load(file, weights_only=False)
    grid, mask = there["grid"], there["mask"]
    noise = FieldNoise(grid, there["noise"])
    given: dict[type[Artifact], Artifact] = {
        TotalField: TotalField(grid, there["total"]),
        Mask: Mask(grid, mask),
        FieldNoise: noise,
    }
    before, start = memory_mb("cpu", "VmRSS"), time.perf_counter()
    with torch.inference_mode():
        (made,) = find_stage(method)().run(given, Runtime())
        row: dict[str, Any] = {"seconds": time.perf_counter() - start, "mb": memory_mb("cpu", "VmHWM") - before}
        row["kept"] = 100 * float(made.mask.sum() / mask.sum())
        if isinstance(made, ChiMap):
            row["chi"] = {"itself": score(made, there["chi"])}
            return row
        row["local"] = nrmse(made.field_ppm, there["local"], made.mask)
        row["left"] = 1e3 * (made.harmonic_ppm or 0.0)
        row["chi"] = {}
        for name in inversions:
            (chi,) = INVERSIONS[name].run({LocalField: made, FieldNoise: noise}, Runtime())
            row["chi"][name] = score(chi, there["chi"])
    return row


def score(found: ChiMap, true: torch.Tensor) -> str:
    """NRMSE/XSIM in the map's own mask."""
    return f"{nrmse(found.chi_ppm, true, found.mask):.1f}/{xsim(found.chi_ppm, true, found.mask):.3f}"


def main() -> None:
    """A row per subject and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("dataset", nargs="?", type=Path, default=default)
    parser.add_argument("--participant-label", nargs="+", default=["siemens1mm", "geswi"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--inversions", nargs="*", choices=tuple(INVERSIONS), default=list(INVERSIONS))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        file, method = args.child
        print(json.dumps(measure(Path(file), method, args.threads, args.inversions)))
        return
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        for label in args.participant_label:
            subject = f"sub-{label.removeprefix('sub-')}"
            file = Path(folder) / f"{subject}.pt"
            torch.save(field_of(args.dataset, subject), file)
            for method in args.only:
                command = [sys.executable, __file__, "--child", str(file), method, "--threads", str(args.threads)]
                command += ["--inversions", *args.inversions]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    print(f"{subject:16s} {method:9s} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
                    continue
                row = json.loads(done.stdout.splitlines()[-1])
                local = f"local {row['local']:6.1f} %, {row['left']:.2f} ppb left" if "local" in row else ""
                chi = ", ".join(f"χ by {name} {value}" for name, value in row["chi"].items())
                cost = f"{row['seconds']:.1f} s / {row['mb']:.0f} MB"
                print(f"{subject:16s} {method:9s} {local:28s} kept {row['kept']:5.1f} %  {chi}  {cost}", flush=True)


if __name__ == "__main__":
    main()
