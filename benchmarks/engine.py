"""Every inversion beside the truth, the clock and a public engine (QSM.rs, Rust, 2026-07).

    python benchmarks/engine.py [DATASET] [--study accuracy sweep automatic speed] [--method NAME ...] [--case CASE ...]
                                [--crop MM] [--quick] [--figure FILE.png] [--shape X Y Z] [--threads N]

accuracy: each method at its defaults on both simulated subjects: from the true local field, from that with 2 ppb of
noise, and from the raw scan (`raw:SUBJECT`: local field and noise of the pipeline `classical`, true mask). NRMSE in %
and XSIM of the QSM challenge 2.0. sweep: the same over each method's one weight, with a figure. automatic: λ chosen by
L-curve and discrepancy beside the best of the sweep. speed: the inversions of benchmarks/speed.py, on the CPU and on a
GPU where there is one. DATASET is a BIDS folder with derivatives/truth; cases are those of cases.py. `--crop` takes a
cube around the deep nuclei with the field it has by itself; `--quick` is `--crop 48`, one case, three values, small
boxes: a check that the command runs, not a measurement.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import speed
import torch
from cases import load_case, parse
from first_light import ENGINE

from QSMReconLib.data import Artifact, ChiMap, FieldNoise, GreData, LocalField, Mask
from QSMReconLib.evaluation.metrics import nrmse, xsim
from QSMReconLib.io.bids import find_scans, load_scan
from QSMReconLib.physics.box import Box
from QSMReconLib.pipeline import load_pipeline
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage, find_stage

Given = dict[type[Artifact], Artifact]


@dataclass(frozen=True)
class Method:
    """A stage, the option that its sweep varies, its values, and the engine's name for it."""

    stage: str
    swept: str
    values: tuple[float, ...]
    engine: str = ""


METHODS = (
    Method("tkd", "threshold", (0.05, 0.1, 0.15, 0.2, 0.3), "TKD 0.15"),
    Method("closedforml2", "weight", (1e-4, 1e-3, 5e-3, 0.02, 0.1)),
    Method("tv", "regularisation", (1e-5, 3e-5, 1e-4, 2e-4, 5e-4), "TV 2e-4"),
    Method("nltv", "regularisation", (1e-5, 3e-5, 1e-4, 2e-4, 5e-4)),
    Method("nltgv", "regularisation", (1e-5, 3e-5, 1e-4, 2e-4, 5e-4)),
    Method("weakharmonic", "regularisation", (1e-5, 3e-5, 1e-4, 2e-4, 5e-4)),
    Method("rts", "mu", (3e2, 1e3, 2e3, 1e4, 1e5), "RTS"),
    Method("hdqsm", "regularisation", (1e-5, 3e-5, 1e-4, 2e-4, 5e-4), "HD-QSM"),
    Method("medi", "data_weight", (100, 300, 1000, 3000, 10000)),
    Method("ndi", "iterations", (10, 20, 40, 80, 160)),
    Method("ilsqr", "tolerance", (0.1, 0.03, 0.01, 0.003)),
)
SUBJECTS = ("siemens1mm", "geswi")
KEPT_BACK = {
    ("tkd", "clean"): "30.7/.69",
    ("tv", "clean"): "22.1/.66",
    ("rts", "clean"): "24.4/.72",
    ("medi", "clean"): "24.6/.75",
    ("hdqsm", "clean"): "18.4/.75",
    ("nltv", "clean"): "19.3/.70",
    ("ilsqr", "clean"): "47.7/.54",
    ("tv", "2 ppb"): "23.7/.65",
    ("nltv", "2 ppb"): "20.7/.69",
    ("hdqsm", "2 ppb"): "22.3/.68",
}
"""The engine on phantoms of other anatomies, 1 mm, as its own papers' yardstick has it (issue 6)."""


@dataclass(frozen=True)
class Problem:
    """What a method begins with, and what it should find."""

    name: str
    given: Given
    chi_ppm: torch.Tensor

    def score(self, stage: Stage) -> tuple[float, float, float, list[str]]:
        """NRMSE, XSIM, seconds and notes of a method."""
        runtime, start = Runtime(), time.perf_counter()
        with torch.inference_mode():
            (made,) = stage.run(self.given, runtime)
        assert isinstance(made, ChiMap)
        seconds = time.perf_counter() - start
        return (
            nrmse(made.chi_ppm, self.chi_ppm, made.mask),
            xsim(made.chi_ppm, self.chi_ppm, made.mask),
            seconds,
            (runtime.notes),
        )


def load(dataset: Path, word: str, crop_mm: float | None) -> Problem:
    """The case of a word; the magnitude of a subject's scan comes with it."""
    raw = word.startswith("raw:")
    case = load_case(dataset, word.removeprefix("raw:"), None if raw else crop_mm)
    subject = str(parse(word.removeprefix("raw:"))["subject"])
    inside = case.mask > 0
    if not (dataset / f"sub-{subject}").is_dir():
        magnitude = 1 + 3 * case.chi_ppm  # A phantom without a scan: its edges are those of χ.
        gre = GreData(case.grid, magnitude[None], torch.zeros_like(magnitude)[None], (0.007,), 3.0)
        return Problem(word, {LocalField: LocalField(case.grid, case.field_ppm, inside), GreData: gre}, case.chi_ppm)
    scan = load_scan(find_scans(dataset, [subject])[0])
    gre = scan.artifacts[GreData]
    assert isinstance(gre, GreData)
    if raw:
        result = load_pipeline("classical").run(scan.artifacts | {Mask: Mask(scan.grid, inside)}, Runtime())
        given: Given = {kind: result.artifacts[kind] for kind in (LocalField, FieldNoise)}
        return Problem(word, given | {GreData: gre}, case.chi_ppm)
    corner = np.rint(np.linalg.solve(gre.grid.affine, np.asarray(case.grid.affine)[:, 3])[:3]).astype(int)
    box = Box((int(corner[0]), int(corner[1]), int(corner[2])), case.grid.shape, gre.grid.shape)
    cut = GreData(case.grid, box.cut(gre.magnitude), box.cut(gre.phase_rad), gre.echo_times_s, gre.field_strength_t)
    given = {LocalField: LocalField(case.grid, case.field_ppm, inside), GreData: cut}
    if noise := parse(word)["noise"]:
        given[FieldNoise] = FieldNoise(case.grid, 1e-3 * float(noise) * inside)
    return Problem(word, given, case.chi_ppm)


def published(method: Method, word: str) -> str:
    """What the engine has: on this subject, and on kept-back phantoms."""
    if word.startswith("raw:"):
        return "best of 581: 44.8/.51 on 73.5 % of other phantoms"
    kind = "2 ppb" if "+2ppb" in word else "clean"
    here = ENGINE.get((f"sub-{parse(word)['subject']}", kind), {}).get(method.engine, "-")
    return f"{here} here, {KEPT_BACK.get((method.stage, kind), '-')} kept back"


def accuracy(problems: list[Problem], methods: list[Method]) -> None:
    """A row per case and method at its defaults."""
    for problem in problems:
        for method in methods:
            error, similarity, seconds, _ = problem.score(find_stage(method.stage)())
            ours = f"{error:5.1f} / {similarity:.3f}  {seconds:6.1f} s"
            print(
                f"{problem.name:<20} {method.stage:<14} {ours}   engine {published(method, problem.name)}", flush=True
            )


def sweep(problems: list[Problem], methods: list[Method], figure: Path, count: int) -> None:
    """A row per case, method and value, and the figure."""
    curves: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for problem in problems:
        for method in methods:
            for value in method.values[:count]:
                stage = find_stage(method.stage).with_options(options(method, value))
                error, similarity, _, _ = problem.score(stage)
                curves.setdefault(method.stage, {}).setdefault(problem.name, []).append((value, error, similarity))
                print(
                    f"{problem.name:<20} {method.stage:<14} {method.swept} {value:<8g} {error:5.1f} / {similarity:.3f}",
                    flush=True,
                )
    draw(curves, {method.stage: method for method in methods}, figure)
    print(f"The figure is in {figure}.")


def options(method: Method, value: float) -> dict[str, Any]:
    """What a sweep sets: iterations are stopped by nothing else."""
    return {method.swept: value} | ({"tolerance": 0} if method.swept == "iterations" else {})


def draw(
    curves: dict[str, dict[str, list[tuple[float, float, float]]]], methods: dict[str, Method], figure: Path
) -> None:
    """NRMSE above and XSIM below, a column per method; the default is a dotted line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    drawn, panels = pyplot.subplots(2, len(curves), figsize=(1.5 * len(curves) + 0.8, 4.2), squeeze=False, sharey="row")
    for column, (name, cases) in enumerate(curves.items()):
        default = getattr(find_stage(name)(), methods[name].swept)
        for row, label in enumerate(("NRMSE, %", "XSIM")):
            panel = panels[row][column]
            for case, points in cases.items():
                panel.plot([p[0] for p in points], [p[1 + row] for p in points], "o-", ms=3, lw=1, label=case)
            panel.axvline(default, color="0.6", ls=":", lw=1)
            panel.set_xscale("log")
            panel.xaxis.set_minor_formatter(ticker.NullFormatter())
            panel.grid(alpha=0.3)
            if column == 0:
                panel.set_ylabel(label)
        panels[0][column].set_title(name, fontsize=10)
        panels[1][column].set_xlabel(methods[name].swept, fontsize=9)
    drawn.legend(*panels[0][0].get_legend_handles_labels(), loc="upper center", ncols=9, frameon=False)
    drawn.tight_layout(rect=(0, 0, 1, 0.94))
    drawn.savefig(figure, dpi=110)
    pyplot.close(drawn)


def automatic(problems: list[Problem], methods: list[Method]) -> None:
    """λ by both ways, beside the default, for those methods that can choose it."""
    for problem in problems:
        for method in methods:
            if "automatic" not in [declared.name for declared in find_stage(method.stage).options()]:
                continue
            for way in ("off", "lcurve", "discrepancy"):
                error, similarity, seconds, notes = problem.score(
                    find_stage(method.stage).with_options({"automatic": way})
                )
                chosen = next((note.split("λ = ")[1] for note in notes if "λ = " in note), "default")
                print(
                    f"{problem.name:<20} {method.stage:<8} {way:<12} λ {chosen:<22} {error:5.1f} / {similarity:.3f}"
                    f"  {seconds:6.1f} s",
                    flush=True,
                )


def main() -> None:
    """The studies that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("dataset", nargs="?", type=Path, default=default)
    studies = ("accuracy", "sweep", "automatic", "speed")
    parser.add_argument("--study", nargs="+", choices=studies, default=studies)
    parser.add_argument("--method", nargs="+", choices=[method.stage for method in METHODS], default=[])
    parser.add_argument("--case", nargs="+", default=[], help="words of cases.py, or raw:SUBJECT")
    parser.add_argument("--crop", type=float, help="edge of a cube, mm")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--figure", type=Path, default=Path("engine.png"))
    parser.add_argument("--shape", nargs=3, type=int, default=(160, 200, 160), help="of the speed study")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    methods = [method for method in METHODS if not args.method or method.stage in args.method]
    crop = args.crop or (48.0 if args.quick else None)
    simulated = [f"{subject}{noise}" for subject in SUBJECTS for noise in ("", "+2ppb")]
    words = args.case or (simulated[1:2] if args.quick else [*simulated, *(f"raw:{subject}" for subject in SUBJECTS)])
    if set(args.study) & {"accuracy", "sweep", "automatic"}:
        problems = [load(args.dataset, word, crop) for word in words]
        if "accuracy" in args.study:
            accuracy(problems, methods)
        fields = [problem for problem in problems if not problem.name.startswith("raw:")]
        if "sweep" in args.study:
            sweep(fields, methods, args.figure, 3 if args.quick else 99)
        if "automatic" in args.study:
            automatic(fields, methods)
    if "speed" in args.study:
        shape = (40, 48, 40) if args.quick else tuple(args.shape)
        names = [method.stage for method in methods]
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            speed.compare(shape, args.threads, 1 if args.quick else 2, device, names)


if __name__ == "__main__":
    main()
