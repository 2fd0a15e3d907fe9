"""Seconds and peak memory of every classical stage, beside a public engine's (QSM.rs, Rust, 2026-07, 2 threads).

    python benchmarks/speed.py [--shape X Y Z] [--threads N] [--repeats N] [--device cpu|cuda] [--only NAME ...]

A simulated scan of 1 mm (default 160 × 200 × 160, 4 echoes, a brain of 124 × 156 × 116 mm in it) is made once. Each
row runs in a process of its own: seconds are the best of the repeats, the peak is what the process held beyond the
scan. On a GPU all rows run in one process, and the peak is what was allocated there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import pi
from pathlib import Path
from typing import Any

import torch

from QSMReconLib.data import (
    Artifact,
    FieldNoise,
    GreData,
    Grid,
    LocalField,
    Mask,
    R2PrimeMap,
    TotalField,
    UnwrappedPhase,
)
from QSMReconLib.physics.constants import radians_per_ppm
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.relaxivity import DR_HZ_PER_PPM
from QSMReconLib.stage import find_stage

ECHO_TIMES_S = (0.005, 0.012, 0.019, 0.026)


@dataclass(frozen=True)
class Row:
    """A stage with options, and the engine's seconds and megabytes for it."""

    name: str
    stage: str
    engine: str = ""
    options: dict[str, Any] = field(default_factory=dict)


ROWS = (
    Row("ROMEO, 4 echoes", "romeo", "0.9 / 650"),
    Row("complex fit", "complexfit"),
    Row("V-SHARP, 12 radii", "vsharp", "4.5 / 510", {"largest_mm": 12, "smallest_mm": 1}),
    Row("RESHARP, 29 iterations", "resharp", "8.3 / 520", {"iterations": 29, "tolerance": 0}),
    Row("SHARP", "sharp", "0.5 / 250"),
    Row("LBV (theirs: 500 iterations)", "lbv", "1.8 / 160", {"tolerance": 1e-5}),
    Row("iSMV, 50 iterations", "ismv", "7.4 / 520", {"tolerance": 0}),
    Row("total-field inversion, local field", "tfifield"),
    Row("PDF, default (20 iterations)", "pdf", "63 / 520"),
    Row("PDF, 196 iterations", "pdf", "63 / 520", {"iterations": 196}),
    Row("TKD", "tkd", "0.17 / 240"),
    Row("closed-form L2", "closedforml2", "0.20 / 280"),
    Row("TV, 15 iterations, published", "tv", "2.4 / 600", {"iterations": 15, "tolerance": 1e-6, "masked": False}),
    Row("TV, 15 iterations, masked", "tv", "2.4 / 600", {"iterations": 15, "tolerance": 1e-6}),
    Row("TV, default", "tv"),
    Row("RTS, 12 iterations", "rts", "2.3 / 940", {"lsmr_iterations": 4, "iterations": 12, "tolerance": 1e-6}),
    Row("RTS, default", "rts", "2.3 / 940"),
    Row("HD-QSM, default", "hdqsm"),
    Row("nlTV, default", "nltv"),
    Row("nlTGV, default", "nltgv"),
    Row("weak-harmonic, default", "weakharmonic"),
    Row(
        "MEDI, 3 × 100 CG",
        "medi",
        "11.8 / 1050",
        {"iterations": 3, "cg_iterations": 100, "tolerance": 1e-4, "cg_tolerance": 1e-6, "csf_weight": 0},
    ),
    Row("MEDI, default", "medi", "11.8 / 1050", {"csf_weight": 0}),
    Row("NDI, default", "ndi"),
    Row("iLSQR, default", "ilsqr", "36.5 / 1320"),
    Row("R2* (ARLO)", "arlo", "0.06 / -"),
    Row("R2* (nonlinear)", "r2starfit"),
    Row("χ-separation, default", "chiseparation", "9.3 / 910"),
)


def make_scan(shape: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    """The volumes that the stages begin with: a head of blobs with air below it."""
    grid = Grid.centred(shape)
    axes = [torch.arange(n) - (n - 1) / 2 for n in shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    half = [0.39 * n for n in shape]
    brain = (x / half[0]) ** 2 + (y / half[1]) ** 2 + (z / (0.93 * half[2])) ** 2 < 1
    chi = 0.03 * torch.sin(x / 4) * torch.cos(y / 5) * torch.sin(z / 6) * brain
    air = 9.0 * (x**2 + (y - 30) ** 2 + (z + 0.49 * shape[2]) ** 2 < 150)
    dipole = Dipole.of(grid)
    local, background = dipole.field(chi) * brain, dipole.field(air * ~brain)
    generator = torch.Generator().manual_seed(0)
    phases, magnitudes = [], []
    for echo_time in ECHO_TIMES_S:
        noise = torch.randn(2, *shape, generator=generator) * 10
        magnitude = (1000 * brain + 300 * ~brain) * torch.exp(-20 * torch.tensor(echo_time))
        signal = torch.polar(magnitude, radians_per_ppm(3.0, echo_time) * (local + background))
        signal = signal + torch.complex(noise[0], noise[1])
        magnitudes.append(signal.abs())
        phases.append(signal.angle())
    times = torch.tensor(ECHO_TIMES_S)[:, None, None, None] * (2 * pi)
    total = (local + background) * brain
    return {
        "magnitude": torch.stack(magnitudes),
        "phase": torch.stack(phases),
        "unwrapped": total * times * radians_per_ppm(3.0, 1.0) / (2 * pi),
        "total": total,
        "noise": 0.001 * brain,
        "local": local,
        "r2prime": DR_HZ_PER_PPM * (chi.abs() + 0.02 * brain),
        "mask": brain,
    }


def artifacts(volumes: dict[str, torch.Tensor], device: str) -> dict[type[Artifact], Artifact]:
    """The scan as stages take it."""
    v = {name: volume.to(device) for name, volume in volumes.items()}
    grid = Grid.centred(tuple(v["mask"].shape))
    made = (
        GreData(grid, v["magnitude"], v["phase"], ECHO_TIMES_S, 3.0),
        UnwrappedPhase(grid, v["unwrapped"], ECHO_TIMES_S, 3.0),
        Mask(grid, v["mask"]),
        TotalField(grid, v["total"]),
        FieldNoise(grid, v["noise"]),
        LocalField(grid, v["local"], v["mask"]),
        R2PrimeMap(grid, v["r2prime"], 3.0),
    )
    return {type(artifact): artifact for artifact in made}


def measure(
    scan: Path, stage: str, options: dict[str, Any], threads: int, repeats: int, device: str
) -> dict[str, float]:
    """Seconds, and megabytes at the peak above those before; in this process."""
    torch.set_num_threads(threads)
    given = artifacts(torch.load(scan, weights_only=True), device)
    method = find_stage(stage).with_options(options)
    before, best = memory_mb(device, "VmRSS"), float("inf")
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.perf_counter()
            method.run(given, Runtime(device))
            if device != "cpu":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
    return {"seconds": best, "mb": memory_mb(device, "VmHWM") - before}


def memory_mb(device: str, which: str) -> float:
    """What the process holds now (VmRSS) or held at most (VmHWM), as Linux tells; NaN elsewhere."""
    if device != "cpu":
        used = torch.cuda.memory_allocated() if which == "VmRSS" else torch.cuda.max_memory_allocated()
        return used / 2**20
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith(which)), float("nan"))


def main() -> None:
    """Make the scan and run each row in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=(160, 200, 160))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=[], help="stages to run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        job = json.loads(given.child)
        print(json.dumps(measure(Path(job.pop("scan")), **job)))
        return
    compare(tuple(given.shape), given.threads, given.repeats, given.device, given.only)


def compare(shape: tuple[int, int, int], threads: int, repeats: int, device: str, only: Sequence[str] = ()) -> None:
    """Make the scan, run each row (or those of the stages `only`) in a child process, and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.pt"
        torch.save(make_scan(shape), scan)
        print(f"{device:34s}{'s / MB':>16s}{'engine, CPU':>16s}")
        for row in ROWS:
            if only and row.stage not in only:
                continue
            job = {"scan": str(scan), "stage": row.stage, "options": row.options, "threads": threads}
            job |= {"repeats": repeats, "device": device}
            if device != "cpu":
                # There the peak can be measured from row to row, and a process would take longer than its row.
                torch.cuda.reset_peak_memory_stats()
                tell(row, measure(scan, row.stage, row.options, threads, repeats, device))
                continue
            done = subprocess.run(
                [sys.executable, __file__, "--child", json.dumps(job)], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                said = done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"]
                print(f"{row.name:34s}{'failed':>16s}  {said[-1]}", flush=True)
                continue
            tell(row, json.loads(done.stdout.splitlines()[-1]))


def tell(row: Row, figures: dict[str, float]) -> None:
    """One line of the table."""
    ours = f"{figures['seconds']:.3g} / {figures['mb']:.0f}"
    print(f"{row.name:34s}{ours:>16s}{row.engine:>16s}", flush=True)


if __name__ == "__main__":
    main()
