"""Iron and myelin apart: every way to χ_para and χ_dia on a development head, with its truth.

    python benchmarks/separation.py DATA [--study STUDY ...] [--subject NAME] [--quick] [--json FILE]

DATA is the BIDS folder with derivatives/truth. But in the last study, the true local field gets 2 ppb of noise and the
true R2′ 1 Hz. Studies:

    chi      the separations from R2′, with χ from TKD, total variation, qsmnet-phys and the truth
    r2star   the same scan without spin echoes: R2*-QSM, and R2′ by each rule, or the network, that guesses it
    noise    R2′ with 0.5 to 3 Hz of noise
    dr       R2′ that a relaxivity off by up to 20 %, or another one for each source, has made
    masks    the joint optimisation with the masks of veins and fluid
    guess    R2′ itself, as each rule and the network guess it from R2*, against the true one: NRMSE, XSIM, bias in Hz
    raw      everything from the scan itself, with its spin echoes and without, inside the true mask; not with --quick

--quick takes a block of 96³ voxels around the deep nuclei, with a field of its own, instead of the whole head: a tenth
of the time, and numbers that are comparable among themselves only.

For each map: NRMSE in %, XSIM, correlation; |1 - slope| over the means of the deep nuclei (as the QSM challenge has it)
and the slope over the means of all tissues; Bland and Altman's bias and half-width of 95 % of the tissues' means, ppb;
and the leakage, ppb: the mean error of χ_dia in the nuclei, then in the veins, and that of χ_para in calcifications.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import torch

from QSMReconLib.data import (
    Artifact,
    ChiMap,
    FieldNoise,
    Grid,
    LocalField,
    Mask,
    R2Map,
    R2PrimeMap,
    R2StarMap,
    SeparatedChi,
    SpinEchoData,
)
from QSMReconLib.evaluation.metrics import correlation, dgm_linearity, nrmse, xsim
from QSMReconLib.inversion.qsmnet import QsmNet
from QSMReconLib.inversion.tkd import Tkd
from QSMReconLib.inversion.tv import Tv
from QSMReconLib.io.bids import find_scans, load_scan
from QSMReconLib.labels import DEEP_NUCLEI, Label
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.pipeline import load_pipeline
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.chiseparation import ChiSeparation
from QSMReconLib.separation.chisepnet import ChiSepNet
from QSMReconLib.separation.findcsf import FindCsf
from QSMReconLib.separation.findvessels import FindVessels
from QSMReconLib.separation.nullseparation import NullSeparation
from QSMReconLib.separation.r2primefromr2star import METHODS, R2PrimeFromR2Star
from QSMReconLib.separation.r2starqsm import R2StarQsm
from QSMReconLib.stage import Stage

STUDIES = ("chi", "r2star", "noise", "dr", "masks", "guess", "raw")
COLUMNS = ("nrmse", "xsim", "correlation", "dgm", "slope", "bias_ppb", "limit_ppb", "leak_ppb", "leak_vein_ppb")
FIELD_NOISE_PPM = 0.002
DECAY_NOISE_HZ = 1.0
DR = 137.0
SEPARATIONS: dict[str, Stage] = {"null": NullSeparation(), "joint": ChiSeparation(), "chisepnet": ChiSepNet()}
INVERSIONS: dict[str, Stage] = {"tkd": Tkd(), "tv": Tv(), "qsmnet-phys": QsmNet()}

Given = dict[type[Artifact], Artifact]


@dataclass(frozen=True)
class Head:
    """What was measured, but for the decay, and the truth behind it; labels as in QSMReconLib.labels."""

    grid: Grid
    field_ppm: torch.Tensor
    para_ppm: torch.Tensor
    dia_ppm: torch.Tensor
    r2_hz: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def load(cls, data: Path, subject: str, quick: bool) -> Head:
        """The head of a subject, or a block of it whose field is that of the block alone."""
        stem = data / "derivatives" / "truth" / f"sub-{subject}" / "anat" / f"sub-{subject}"
        names = ("desc-para_Chimap", "desc-dia_Chimap", "R2map", "desc-brain_mask", "dseg", "desc-local_fieldmap")
        images = [nibabel.load(f"{stem}_{name}.nii.gz") for name in names]
        volumes = [torch.from_numpy(np.asarray(image.get_fdata())).float() for image in images]
        grid = Grid.from_affine(volumes[0].shape, images[0].affine)
        if quick:
            middle = torch.isin(volumes[4], torch.tensor([float(n) for n in DEEP_NUCLEI])).nonzero().float().mean(0)
            corner = [int(c) - min(48, n // 2) for c, n in zip(middle, grid.shape, strict=True)]
            sides = [min(96, n) for n in grid.shape]
            for axis, (start, length) in enumerate(zip(corner, sides, strict=True)):
                volumes = [volume.narrow(axis, max(start, 0), length) for volume in volumes]
            grid = Grid.centred((sides[0], sides[1], sides[2]), grid.voxel_size_mm, grid.b0_direction)
        para, dia, r2, mask, labels, field = volumes
        mask = (mask > 0.5).float()
        if quick:
            field = Dipole.of(grid, padding_mm=96).field((para - dia) * mask)
        noise = torch.randn(mask.shape, generator=torch.Generator().manual_seed(1))
        return cls(grid, (field + FIELD_NOISE_PPM * noise) * mask, para * mask, dia * mask, r2 * mask, mask, labels)

    def measured(self, dr_para: float = DR, dr_dia: float = DR, noise_hz: float = DECAY_NOISE_HZ) -> Given:
        """The local field, R2′ and R2* of this head, and the noise of the field."""
        generator = torch.Generator().manual_seed(2)
        one, two = torch.randn(2, *self.mask.shape, generator=generator)
        reversible = dr_para * self.para_ppm + dr_dia * self.dia_ppm
        r2prime = (reversible + noise_hz * one).clamp(min=0) * self.mask
        r2star = (self.r2_hz + reversible + noise_hz * two).clamp(min=0) * self.mask
        artifacts: list[Artifact] = [
            LocalField(self.grid, self.field_ppm, self.mask),
            Mask(self.grid, self.mask),
            FieldNoise(self.grid, FIELD_NOISE_PPM * self.mask),
            R2PrimeMap(self.grid, r2prime, 3.0),
            R2StarMap(self.grid, r2star, 3.0),
        ]
        return {type(artifact): artifact for artifact in artifacts}

    def scores(self, found: SeparatedChi) -> dict[str, dict[str, float]]:
        """Of χ_para and χ_dia, by column."""
        maps = {"para": (found.chi_para_ppm, self.para_ppm), "dia": (found.chi_dia_ppm, self.dia_ppm)}
        return {name: self._of(name, *pair) for name, pair in maps.items()}

    def _of(self, name: str, found: torch.Tensor, true: torch.Tensor) -> dict[str, float]:
        regions = [(self.labels == label) & (self.mask > 0) for label in Label]
        means = np.array([(float(true[r].mean()), float(found[r].mean())) for r in regions if bool(r.any())])
        apart = 1000 * (means[:, 1] - means[:, 0])
        leaks = [DEEP_NUCLEI, (Label.VEIN,)] if name == "dia" else [(Label.CALCIFICATION,), ()]
        return {
            "nrmse": nrmse(found, true, self.mask),
            "xsim": xsim(found, true, self.mask),
            "correlation": correlation(found, true, self.mask),
            "dgm": dgm_linearity(found, true, self.mask, self.labels),
            "slope": float(np.polyfit(means[:, 0], means[:, 1], 1)[0]),
            "bias_ppb": float(apart.mean()),
            "limit_ppb": float(1.96 * apart.std(ddof=1)),
            "leak_ppb": self._error(found - true, leaks[0]),
            "leak_vein_ppb": self._error(found - true, leaks[1]),
        }

    def _error(self, error: torch.Tensor, labels: tuple[Label, ...]) -> float:
        where = torch.isin(self.labels, torch.tensor([float(label) for label in labels])) & (self.mask > 0)
        return 1000 * float(error[where].mean()) if bool(where.any()) else math.nan


Row = tuple[str, Callable[[], SeparatedChi]]


def separate(stage: Stage, given: Given, *more: Artifact) -> SeparatedChi:
    """One separation of what was measured, and of `more`."""
    (made,) = stage.run(given | {type(artifact): artifact for artifact in more}, Runtime())
    assert isinstance(made, SeparatedChi)
    return made


def make(stage: Stage, given: Given, *more: Artifact) -> Artifact:
    """The only artifact that a stage makes."""
    return stage.run(given | {type(artifact): artifact for artifact in more}, Runtime())[0]


def each(label: str, given: Given, *more: Artifact) -> Iterator[Row]:
    """Every separation of the same."""
    for way, stage in SEPARATIONS.items():
        yield f"{way}, {label}", lambda s=stage: separate(s, given, *more)


def rows(study: str, head: Head) -> Iterator[Row]:
    """The separations of a study, by name."""
    given = head.measured()
    inverted: dict[str, Artifact] = {}

    def chi(name: str) -> Artifact:
        if name == "truth":
            return ChiMap(head.grid, head.para_ppm - head.dia_ppm, head.mask)
        if name not in inverted:
            inverted[name] = make(INVERSIONS[name], given)
        return inverted[name]

    if study == "chi":
        yield "joint, no χ map", lambda: separate(ChiSeparation(), given)
        for name in (*INVERSIONS, "truth"):
            for way, stage in SEPARATIONS.items():
                if name != "truth" or way == "null":
                    yield f"{way}, χ of {name}", lambda s=stage, n=name: separate(s, given, chi(n))
    elif study == "r2star":
        yield "R2*-QSM", lambda: separate(R2StarQsm(), given, chi("qsmnet-phys"))
        for method in METHODS:
            guess = make(R2PrimeFromR2Star(method=method), given, chi("qsmnet-phys"))
            yield from each(f"R2′ by {method}", given, guess, chi("qsmnet-phys"))
        yield from each("R2′", given, chi("qsmnet-phys"))
    elif study == "noise":
        for noise in (0.5, 1.0, 2.0, 3.0):
            noisy = head.measured(noise_hz=noise)
            yield from each(f"R2′ ± {noise:g} Hz", noisy, chi("qsmnet-phys"))
    elif study == "dr":
        for para, dia in ((0.8, 0.8), (1.2, 1.2), (1.0, 0.8), (0.8, 1.0)):
            other = head.measured(para * DR, dia * DR)
            yield from each(f"Dr {para * DR:.0f}/{dia * DR:.0f}", other, chi("qsmnet-phys"))
    else:
        fluid = make(FindCsf(), given)
        veins = make(FindVessels(), given, chi("qsmnet-phys"))
        yield "joint, fluid", lambda: separate(ChiSeparation(), given, fluid, chi("qsmnet-phys"))
        yield "joint, veins", lambda: separate(ChiSeparation(), given, veins, chi("qsmnet-phys"))
        yield "joint, both", lambda: separate(ChiSeparation(), given, fluid, veins, chi("qsmnet-phys"))
        decay = given[R2PrimeMap]
        assert isinstance(decay, R2PrimeMap)
        doubled = replace(decay, r2prime_hz=decay.r2prime_hz * (1 + 0.5 * (head.labels == Label.VEIN)))
        yield "R2′ × 1.5 in veins", lambda: separate(ChiSeparation(), given, doubled, chi("qsmnet-phys"))
        yield "the same, veins", lambda: separate(ChiSeparation(), given, doubled, veins, chi("qsmnet-phys"))


def guesses(head: Head) -> dict[str, dict[str, float]]:
    """What each guess of R2′ errs: NRMSE in %, XSIM, and the mean error of every tissue in Hz; printed as well."""
    given = head.measured()
    chi = make(INVERSIONS["qsmnet-phys"], given)
    true = DR * (head.para_ppm + head.dia_ppm)
    regions = {label.name.lower(): (head.labels == label) & (head.mask > 0) for label in Label}
    regions = {name: region for name, region in regions.items() if bool(region.any())}
    print("".join(f"{name[:10]:>12s}" for name in ("guess", "nrmse", "xsim", *regions)))
    table = {}
    for method in METHODS:
        found = make(R2PrimeFromR2Star(method=method), given, chi)
        assert isinstance(found, R2PrimeMap)
        error = found.r2prime_hz - true
        scores = {"nrmse": nrmse(found.r2prime_hz, true, head.mask), "xsim": xsim(found.r2prime_hz, true, head.mask)}
        scores |= {name: float(error[region].mean()) for name, region in regions.items()}
        table[f"guess: {method}"] = scores
        print(f"{method[:11]:>12s}" + "".join(f"{value:12.3f}" for value in scores.values()), flush=True)
    return table


def from_scan(data: Path, subject: str, head: Head) -> Iterator[Row]:
    """The separations of what the pipeline `qsmnet` finds before its last stage, with masks of veins and fluid."""
    scan = load_scan(find_scans(data, [subject])[0])
    known = scan.artifacts | {Mask: Mask(scan.grid, head.mask)}
    pipeline = load_pipeline("qsmnet")
    pipeline = replace(pipeline, steps=pipeline.steps[:-1])
    for label in ("spin echoes", "R2* alone"):
        if label == "R2* alone":
            # What does not come from spin echoes is there by now, and is not made again.
            known = {kind: made for kind, made in known.items() if kind not in (SpinEchoData, R2Map, R2PrimeMap)}
        elif SpinEchoData not in known:
            continue
        with torch.inference_mode():
            known = pipeline.run(known, Runtime()).artifacts
        fluid, veins = make(FindCsf(), known), make(FindVessels(), known)
        yield from each(label, known, fluid, veins)
    yield "R2*-QSM", lambda g=known: separate(R2StarQsm(), g)


def main() -> None:
    """Print the tables, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--study", nargs="*", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--subject", default="siemens1mm")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.quick:
        args.study = [study for study in args.study if study != "raw"]
    head = Head.load(args.data, args.subject, args.quick)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for study in args.study:
        if study == "guess":
            with torch.inference_mode():
                table |= guesses(head)
            continue
        print(
            f"\n{study:26s}{'map':5s}"
            + "".join(f"{name.replace('_ppb', ''):>12s}" for name in COLUMNS)
            + "     seconds"
        )
        for name, work in from_scan(args.data, args.subject, head) if study == "raw" else rows(study, head):
            start = time.perf_counter()
            with torch.inference_mode():
                found = work()
            seconds = time.perf_counter() - start
            scores = head.scores(found)
            table[f"{study}: {name}"] = scores
            for kind, values in scores.items():
                numbers = "".join(f"{values[column]:12.3f}" for column in COLUMNS)
                print(f"{name if kind == 'para' else '':26s}{kind:5s}{numbers}{seconds:12.1f}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
