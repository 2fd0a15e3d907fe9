"""Masks, field maps and relaxation rates beside the truth, and how long they take.

    python benchmarks/fieldmap.py [DATASET] [--participant-label L ...] [--threads N]

DATASET is a BIDS dataset with its truth in derivatives/truth (`qsmrecon simulate` writes such; the default is the
development data beside the checkout). Errors of the field are taken in the true mask eroded by two voxels, after its
median; "reliable" is where the noise map does not mark a voxel as unreliable. Ends with the seconds at 160×200×160.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from QSMReconLib.data import FieldNoise, GreData, Grid, Mask, R2Map, R2StarMap, SpinEchoData, TotalField
from QSMReconLib.evaluation.metrics import dice
from QSMReconLib.fieldmap.complexfit import ComplexFit
from QSMReconLib.fieldmap.fieldfit import FieldFit
from QSMReconLib.fieldmap.mcpc3ds import Mcpc3ds
from QSMReconLib.fieldmap.romeo import Romeo
from QSMReconLib.io.bids import find_scans, load_scan
from QSMReconLib.io.nifti import read_volume
from QSMReconLib.masking.automask import AutoMask
from QSMReconLib.masking.qualitymask import QualityMask
from QSMReconLib.pipeline import Pipeline, Result, Step
from QSMReconLib.relaxometry.r2 import R2Fit
from QSMReconLib.relaxometry.r2star import Arlo, R2StarFit
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage

SHAPE = (160, 200, 160)
TIMES_S = (0.004, 0.012, 0.020, 0.028)


def run(given: dict, *stages: Stage) -> Result:
    """The stages in a row, on the CPU."""
    return Pipeline("benchmark", tuple(Step(stage) for stage in stages)).run(given, Runtime())


def field_errors(result: Result, true_ppm: np.ndarray, mask: np.ndarray) -> str:
    """One line about a field map beside the truth."""
    field, noise = result.artifacts[TotalField].field_ppm.numpy(), result.artifacts[FieldNoise].noise_ppm.numpy()
    inner = ndimage.binary_erosion(mask, iterations=2)
    error = field - true_ppm
    error -= np.median(error[inner])
    # Unreliable voxels carry the largest value there is.
    marked = mask & (noise >= 0.999 * noise.max())
    kept = mask & ~marked
    varies = true_ppm - np.median(true_ppm[inner])

    def nrmse(where: np.ndarray) -> float:
        return 100 * float(np.linalg.norm(error[where]) / np.linalg.norm(varies[where]))

    off = np.abs(error) * 1e3
    return (
        f"median {np.median(off[inner]):5.2f} ppb, NRMSE {nrmse(inner):5.1f} %; "
        f"unreliable {100 * marked.sum() / mask.sum():4.1f} %; in the rest of the whole mask median "
        f"{np.median(off[kept]):5.2f}, 99.9 % below {np.percentile(off[kept], 99.9):5.1f} ppb, "
        f"NRMSE {nrmse(kept):4.1f} %"
    )


def rate_errors(found_hz: torch.Tensor, true_hz: torch.Tensor, mask: np.ndarray) -> str:
    """One line about a relaxation rate beside the truth."""
    inner = ndimage.binary_erosion(mask, iterations=2)
    error = (found_hz - true_hz).numpy()[inner]
    return f"bias (median) {np.median(error):+6.3f} Hz, median error {np.median(np.abs(error)):6.3f} Hz"


def seconds(result: Result) -> str:
    """How long each stage took."""
    return ", ".join(f"{record.stage.name} {record.seconds:.2f} s" for record in result.records)


def accuracy(dataset: Path, labels: list[str]) -> None:
    """Print every subject's figures."""
    for files in find_scans(dataset, labels):
        scan = load_scan(files)
        gre, spin = scan.artifacts[GreData], scan.artifacts.get(SpinEchoData)
        print(f"\n{scan.name}  {gre.grid.shape}, {len(gre.echo_times_s)} echoes")
        automatic = run({GreData: gre}, AutoMask())
        found = automatic.artifacts[Mask].voxels
        folder = dataset / "derivatives" / "truth" / f"sub-{scan.subject}" / "anat"
        paths = {path.name[len(scan.name) + 1 : -len(".nii.gz")]: path for path in folder.glob(f"{scan.name}_*.nii.gz")}
        if "desc-brain_mask" not in paths:
            print(f"  automask     {100 * float(found.float().mean()):.1f} % of the volume (no truth)")
            continue
        brain = read_volume(paths["desc-brain_mask"])[0] > 0
        mask = brain.numpy()
        true_ppm = read_volume(paths["desc-total_fieldmap"])[0].numpy()
        print(f"  automask     Dice {dice(found, brain):.4f}, {seconds(automatic)}")
        given = {GreData: gre, Mask: Mask(gre.grid, brain)}
        unwrapped = run(given, Mcpc3ds(), Romeo())
        print(f"  unwrapping   {seconds(unwrapped)}")
        for fit in (FieldFit(), ComplexFit()):
            result = run(unwrapped.artifacts, fit)
            print(f"  {fit.name:12s} {field_errors(result, true_ppm, mask)}; {seconds(result)}")
        trimmed = run(unwrapped.artifacts, QualityMask()).artifacts[Mask].voxels
        print(f"  qualitymask  drops {100 * (1 - int(trimmed.sum()) / int(brain.sum())):.2f} % of the true mask")
        if not {"R2map", "R2primemap"} <= set(paths):
            continue
        r2_hz, r2prime_hz = read_volume(paths["R2map"])[0], read_volume(paths["R2primemap"])[0]
        for fit in (Arlo(), R2StarFit()):
            result = run(given, fit)
            found_hz = result.artifacts[R2StarMap].r2star_hz
            print(f"  {fit.name:12s} {rate_errors(found_hz, r2_hz + r2prime_hz, mask)}; {seconds(result)}")
        if spin is not None:
            result = run(given | {SpinEchoData: spin}, R2Fit())
            print(f"  r2fit        {rate_errors(result.artifacts[R2Map].r2_hz, r2_hz, mask)}; {seconds(result)}")


def speed() -> None:
    """Print seconds at the size for which other engines are quoted: an ellipsoid that fills the box, four echoes."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    brain = x**2 + y**2 + z**2 < 0.95
    field_hz = 240 * (x**2 - z**2) + 95 * x * y + 36 * torch.sin(9 * y)
    times = torch.tensor(TIMES_S)[:, None, None, None]
    generator = torch.Generator().manual_seed(0)
    rough = 0.02 * torch.randn(2, 4, *SHAPE, generator=generator)
    signal = torch.polar(torch.exp(-20 * times).expand(4, *SHAPE).contiguous(), 2 * torch.pi * field_hz * times)
    signal = signal * brain + torch.complex(rough[0], rough[1])
    grid = Grid.centred(SHAPE)
    given = {GreData: GreData(grid, signal.abs(), signal.angle(), TIMES_S, 3.0), Mask: Mask(grid, brain)}
    del x, y, z, field_hz, rough, signal
    print(f"\n{' × '.join(map(str, SHAPE))}, {int(brain.sum()) / 1e6:.1f} million voxels in the mask, four echoes")
    start = time.perf_counter()
    result = run(given, Mcpc3ds(), Romeo(), QualityMask(), FieldFit(), ComplexFit(), Arlo(), R2StarFit())
    print(f"  {seconds(result)}; in all {time.perf_counter() - start:.1f} s on {torch.get_num_threads()} threads")
    print(f"  {seconds(run({GreData: given[GreData]}, AutoMask()))}")


def main() -> None:
    """Accuracy, then speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--participant-label", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.dataset.is_dir():
        accuracy(args.dataset, args.participant_label)
    else:
        print(f"There is no dataset {args.dataset}: make one by `qsmrecon simulate`. Speed only.")
    speed()


if __name__ == "__main__":
    main()
