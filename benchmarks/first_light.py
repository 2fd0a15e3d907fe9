"""Fields and χ beside the truth, next to what a public engine (QSM.rs, Rust, 2026-07) reached on the same data.

    python benchmarks/first_light.py [DATASET] [--participant-label L ...] [--threads N] [--part true|raw|both]

DATASET is a BIDS dataset with its truth in derivatives/truth; the default is the development data beside the checkout.
"True" rows begin with the true local field, without and with 2 ppb of white noise, and are scored in the true mask.
"Raw" rows begin with the scan and the true mask; they are scored where the local field is given (kept, of the true
mask), the total field in the true mask eroded by two voxels after its median. NRMSE in %, and XSIM, of the QSM
challenge 2.0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from QSMReconLib.data import ChiMap, Grid, LocalField, Mask, TotalField
from QSMReconLib.evaluation.metrics import nrmse, xsim
from QSMReconLib.inversion.hdqsm import HdQsm
from QSMReconLib.inversion.nltv import NlTv
from QSMReconLib.inversion.rts import Rts
from QSMReconLib.inversion.tkd import Tkd
from QSMReconLib.inversion.tv import Tv
from QSMReconLib.io.bids import find_scans, load_scan
from QSMReconLib.io.nifti import read_volume
from QSMReconLib.pipeline import load_pipeline
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage

INVERSIONS: dict[str, Stage] = {
    "TKD 0.15": Tkd(threshold=0.15),
    "TV 2e-4, as published": Tv(regularisation=2e-4, masked=False, tolerance=1e-3),
    "TV 3e-5, as published": Tv(regularisation=3e-5, masked=False, tolerance=1e-3),
    "TV 1e-4, masked (default)": Tv(),
    "RTS": Rts(),
    "HD-QSM": HdQsm(),
    "nlTV": NlTv(),
}
ENGINE = {
    ("sub-siemens1mm", "clean"): {
        "TKD 0.15": "31.0/.689",
        "TV 2e-4": "23.0/.667",
        "TV 3e-5": "24.8/.763",
        "RTS": "26.8/.697",
        "HD-QSM": "18.7/.750",
    },
    ("sub-siemens1mm", "2 ppb"): {
        "TKD 0.15": "54.2/.344",
        "TV 2e-4": "24.4/.660",
        "TV 3e-5": "39.6/.477",
        "HD-QSM": "22.5/.680",
    },
    ("sub-geswi", "clean"): {
        "TKD 0.15": "39.6/.550",
        "TV 2e-4": "22.8/.663",
        "TV 3e-5": "31.6/.634",
        "RTS": "29.3/.609",
        "HD-QSM": "21.9/.712",
    },
    ("sub-geswi", "2 ppb"): {
        "TKD 0.15": "48.4/.381",
        "TV 2e-4": "24.5/.648",
        "TV 3e-5": "41.9/.445",
        "HD-QSM": "25.7/.631",
    },
}
ENGINE_RAW = {
    "sub-siemens1mm": "2.3 ppb; local 66 % on 75 %; TV 65/.39",
    "sub-geswi": "4.2 ppb; local 180 %; TV 198/.11",
}


class Truth:
    """The true maps of one subject, read when asked for."""

    def __init__(self, dataset: Path, subject: str) -> None:
        self.stem = f"{dataset}/derivatives/truth/{subject}/anat/{subject}_"

    def __getitem__(self, suffix: str) -> tuple[torch.Tensor, Grid]:
        return read_volume(Path(f"{self.stem}{suffix}.nii.gz"))


def score(found: torch.Tensor, true: torch.Tensor, mask: torch.Tensor) -> str:
    """NRMSE/XSIM in the mask."""
    return f"{nrmse(found, true, mask):5.1f}/{xsim(found, true, mask):.3f}"


def from_true_field(subject: str, truth: Truth) -> Iterator[str]:
    """A row per noise and inversion."""
    (field, grid), (chi, _) = truth["desc-local_fieldmap"], truth["Chimap"]
    mask = truth["desc-brain_mask"][0] > 0.5
    noise = 2e-3 * torch.randn(field.shape, generator=torch.Generator().manual_seed(0))
    for kind, measured in (("clean", field), ("2 ppb", field + noise)):
        local = LocalField(grid, measured * mask, mask)
        for name, stage in INVERSIONS.items():
            (made,) = stage.run({LocalField: local}, Runtime())
            engine = ENGINE.get((subject, kind), {}).get(name.split(",")[0], "-")
            yield f"{subject:<16} true field {kind:<6} {name:<26} {score(made.chi_ppm, chi, mask)}   engine {engine}"


def from_raw(subject: str, dataset: Path, truth: Truth) -> Iterator[str]:
    """One row: total field, local field and χ by the classical pipeline from the scan."""
    (files,) = find_scans(dataset, [subject])
    scan = load_scan(files)
    mask = truth["desc-brain_mask"][0] > 0.5
    result = load_pipeline("classical").run(scan.artifacts | {Mask: Mask(scan.grid, mask)}, Runtime())
    inner = ndimage.binary_erosion(mask.numpy(), iterations=2)
    error = (result.artifacts[TotalField].field_ppm - truth["desc-total_fieldmap"][0]).numpy()[inner]
    local, chi = result.artifacts[LocalField], result.artifacts[ChiMap]
    kept = float(local.mask.sum() / mask.sum())
    yield (
        f"{subject:<16} raw: total field {1e3 * np.median(np.abs(error - np.median(error))):.2f} ppb; "
        f"local {nrmse(local.field_ppm, truth['desc-local_fieldmap'][0], local.mask):.1f} % on {100 * kept:.1f} % of "
        f"the brain; χ by TV {score(chi.chi_ppm, truth['Chimap'][0], local.mask)}   "
        f"engine {ENGINE_RAW.get(subject, '-')}"
    )
    seconds = ", ".join(f"{r.stage.name} {r.seconds:.1f}" for r in result.records if not r.skipped)
    yield f"{'':<16} seconds: {seconds}"


def main() -> None:
    """Print a row per subject, input and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("dataset", nargs="?", type=Path, default=default)
    parser.add_argument("--participant-label", nargs="+", default=["siemens1mm", "geswi"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--part", choices=("true", "raw", "both"), default="both")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for label in args.participant_label:
        subject = f"sub-{label.removeprefix('sub-')}"
        truth = Truth(args.dataset, subject)
        if args.part != "raw":
            for row in from_true_field(subject, truth):
                print(row, flush=True)
        if args.part != "true":
            for row in from_raw(subject, args.dataset, truth):
                print(row, flush=True)


if __name__ == "__main__":
    main()
