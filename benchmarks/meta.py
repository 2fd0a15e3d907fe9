"""Meta-QSM: one network for every voxel size, against those of one size, classical methods, and itself held still.

    python benchmarks/meta.py unseen [--count 100] [--size 256 64] [--noise-ppb 0] [--methods M ...] [--json FILE]
    python benchmarks/meta.py sizes [--sizes 0.5x0.5x2 ...] [--seeds 901 ... | --regions 8] [--figure FILE.png]
    python benchmarks/meta.py lesions [--sizes ...] [--seeds ...]
    python benchmarks/meta.py step [--size 128 48]

unseen    the first table of arXiv:1908.00206: simulated volumes at random voxel sizes, of a seed that no training had;
          RMSE (of the contrast, %), HFEN (%) and SSIM, mean ± sd, and the 95 % interval of the paired difference to
          Meta-QSM (Student's t; + is worse than Meta-QSM in RMSE and HFEN)
sizes     the second one: kept-back phantoms, each at every size, with the networks of one size at home and away, "to
          1 mm, QSMnet and back", and Meta-QSM with the voxel size held at the middle of its range
lesions   moments (sum of χ above the surroundings, times the volume) and signs of bleeds and calcifications
step      seconds of the plain network that Meta-QSM becomes for a voxel size, beside Mesa-QSM's, in turns

Methods: a stage's name, NAME of a network, NAME+data (steps towards the field), NAME=constant, NAME=literally (no
resampling, whatever the card says). Fields are D∗χ of sources inside the volume, drawn in thin slices and averaged.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, stats

from QSMReconLib.data import GreData, Grid, LocalField
from QSMReconLib.errors import InputError
from QSMReconLib.evaluation.metrics import hfen, nrmse, ssim, xsim
from QSMReconLib.networks.card import load_card, load_network, networks
from QSMReconLib.networks.runner import reconstruct
from QSMReconLib.networks.weightpredicted import WeightPredicted
from QSMReconLib.phantoms.head import head
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import find_stage, stages
from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.simulator import Simulator
from QSMReconLib.training.simulatorconfig import SimulatorConfig

Size = tuple[float, float, float]
Method = Callable[[LocalField], torch.Tensor]

UNSEEN_SEED = 770_000
SIZES = ("0.5x0.5x2", "0.5x0.5x4", "0.6x0.9x2.5", "0.76x0.76x3", "1x1x2", "1x1x4")
FIRST = ("tkd", "ilsqr", "medi", "tv", "metaqsm", "metaqsm+data", "metaqsm-phys")
SECOND = (
    "metaqsm",
    "metaqsm=constant",
    "mesaqsm-0.5x0.5x2=literally",
    "mesaqsm-0.76x0.76x3=literally",
    "qsmnet",
    "metaqsm+data",
    "qsmnet+data",
    "metaqsm-phys",
    "metaqsm-phys=constant",
    "qsmnet-phys",
    "tkd",
    "tv",
    "hdqsm",
)
OPTIONS: dict[str, dict[str, float]] = {"tkd": {"threshold": 0.2}, "medi": {"data_weight": 1000.0}}
"""What the paper gives for its baselines; all else is as our stages have it."""


@dataclass(frozen=True)
class Case:
    """A field with the χ behind it, and the numbers of the lesions (0: none)."""

    local: LocalField
    chi_ppm: torch.Tensor
    lesions: torch.Tensor


def unseen(
    count: int, size: tuple[int, int], noise_ppb: float, low: Size = (0.5, 0.5, 2.0), high: Size = (1.0, 1.0, 4.0)
) -> Iterator[Case]:
    """Volumes of size[0]² × size[1] at random voxel sizes of a range, by the simulator of the trainings."""
    config = SimulatorConfig(
        sizes=(size[0],), slices=size[1], low_mm=low, high_mm=high, axial=1.0, geometric=0.0,
        noise_free=1.0, known_noise=0.0, harmonic=0.0, wrapped=0.0, eroded=0.0, scaled=0.0, flipped=0.0,
    )  # fmt: skip
    simulator = Simulator(Anatomy.load(), config, UNSEEN_SEED)
    for number in range(count):
        sample = simulator.sample(number)
        grid = Grid.centred(sample.spectrum.shape, sample.spectrum.voxel_size_mm)
        field = noisy(sample.field_ppm, sample.mask, noise_ppb, number)
        yield Case(LocalField(grid, field, sample.mask), sample.chi_ppm, torch.zeros_like(sample.mask))


def phantom(seed: int, voxel: Size, fov_mm: float, noise_ppb: float, lesions: int = 3) -> Case:
    """The middle of the head of a seed at a voxel size, with the field that its sources make."""
    x, y, z = (max(8, 8 * round(fov_mm / v / 8)) for v in voxel)
    drawn = head(Grid.centred((x, y, z), voxel), seed, bleeds=lesions, calcifications=lesions)
    brain = drawn.brain[drawn.view].float()
    chi = (drawn.tissue.para_ppm - drawn.tissue.dia_ppm)[drawn.view] * brain
    fine = Grid.centred(tuple(chi.shape), tuple(drawn.space.voxel_size_mm))
    mask = (drawn.on_grid(brain) > 0.5).float()
    field = drawn.on_grid(Dipole.of(fine).field(chi)) * mask
    numbers = drawn.labels_on_grid(drawn.lesion_numbers)
    kinds = torch.zeros_like(numbers)
    for lesion in drawn.lesions:
        if lesion.kind in ("bleed", "calc"):
            kinds[numbers == lesion.number] = lesion.number if lesion.kind == "bleed" else -lesion.number
    local = LocalField(drawn.grid, noisy(field, mask, noise_ppb, seed), mask)
    return Case(local, drawn.on_grid(chi) * mask, kinds)


def noisy(field: torch.Tensor, mask: torch.Tensor, noise_ppb: float, seed: int) -> torch.Tensor:
    """The field with white noise inside the mask."""
    noise = torch.randn(field.shape, generator=torch.Generator().manual_seed(seed))
    return field + 1e-3 * noise_ppb * noise * mask


def method(described: str) -> Method:
    """A method by its description; see the top of the file. Raises InputError where there is none."""
    name, _, how = described.partition("=")
    name, _, data = name.partition("+")
    if name not in networks():
        stage = find_stage(name).with_options(OPTIONS.get(name, {}))
        return lambda local: stage.run({LocalField: local, GreData: scan(local)}, Runtime())[0].chi_ppm  # type: ignore[attr-defined]
    card = load_card(name)
    if not how:
        chosen = {"network": name, "data_consistency": "noise" if data else "off"}
        if name == "metaqsm-phys":
            chosen["data_consistency"] = "card"
        stage = find_stage(card.stage or "qsmnet").with_options(chosen)
        return lambda local: stage.run({LocalField: local}, Runtime())[0].chi_ppm  # type: ignore[attr-defined]
    network = load_network(card)
    if how == "constant":
        if not isinstance(network, WeightPredicted):
            raise InputError(f"The kernels of {name} are constant anyway.")
        low, high = network.config.low_mm, network.config.high_mm
        network = network.at([(a * b) ** 0.5 for a, b in zip(low, high, strict=True)])
    anywhere = replace(card, grid_mm=None)
    return lambda local: reconstruct(network, anywhere, local.field_ppm, local.mask, local.grid).chi_ppm


def scan(local: LocalField) -> GreData:
    """For methods that ask for a magnitude: one that is flat inside the mask, two echoes at 3 T."""
    magnitude = torch.stack([local.mask, local.mask])
    return GreData(local.grid, magnitude, torch.zeros_like(magnitude), (0.01, 0.02), 3.0)


def known(wanted: Sequence[str]) -> list[str]:
    """Those of the methods that there are; the others are said."""
    found = []
    for described in wanted:
        name = described.partition("=")[0].partition("+")[0]
        if name in networks() or name in stages():
            found.append(described)
        else:
            print(f"There is no {name} yet: left out.")
    return found


def scores(chi: torch.Tensor, case: Case) -> dict[str, float]:
    """RMSE and HFEN in %, SSIM and XSIM."""
    volumes = (chi, case.chi_ppm, case.local.mask)
    return {"rmse": nrmse(*volumes), "hfen": hfen(*volumes), "ssim": ssim(*volumes), "xsim": xsim(*volumes)}


def interval(values: np.ndarray, reference: np.ndarray) -> str:
    """Mean of the paired difference and its 95 % interval."""
    difference = values - reference
    if len(difference) < 2 or not difference.any():
        return ""
    low, high = stats.t.interval(0.95, len(difference) - 1, difference.mean(), stats.sem(difference))
    return f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def report(table: dict[str, list[dict[str, float]]]) -> None:
    """Mean ± sd of every score, and the paired differences to Meta-QSM: from the field alone, if that is there."""
    reference = "metaqsm" if "metaqsm" in table else "metaqsm-phys"
    print(f"{'method':34s}" + "".join(f"{name:>18s}" for name in ("RMSE %", "HFEN %", "SSIM", "XSIM")))
    columns = {n: {k: np.array([row[k] for row in rows]) for k in rows[0]} for n, rows in table.items()}
    for name, scored in columns.items():
        print(f"{name:34s}" + "".join(f"{v.mean():11.3f} ± {v.std():4.2f}" for v in scored.values()))
    if reference in columns:
        print(f"paired with {reference}, 95 %:")
        for name, scored in columns.items():
            if name != reference:
                parts = [f"{k} {interval(v, columns[reference][k])}" for k, v in scored.items()]
                print(f"{name:34s}  " + "   ".join(parts))


def table_of_unseen(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """The first table."""
    methods = {name: method(name) for name in known(args.methods or FIRST)}
    table: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for number, case in enumerate(unseen(args.count, tuple(args.size), args.noise_ppb)):
        for name, run in methods.items():
            with torch.inference_mode():
                table[name].append(scores(run(case.local), case))
        voxel = " × ".join(f"{v:.2f}" for v in case.local.grid.voxel_size_mm)
        print(
            f"{number + 1:4d}  {voxel} mm  " + "  ".join(f"{n} {r[-1]['rmse']:.1f}" for n, r in table.items()),
            flush=True,
        )
    report(table)
    return table


def table_of_sizes(args: argparse.Namespace) -> dict[str, dict[str, list[dict[str, float]]]]:
    """The second table, and the figure."""
    methods = {name: method(name) for name in known(args.methods or SECOND)}
    table: dict[str, dict[str, list[dict[str, float]]]] = {}
    for size in args.sizes:
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
        cases = (phantom(seed, parsed(size), args.fov_mm, args.noise_ppb) for seed in args.seeds)
        if args.regions:
            cases = unseen(args.regions, tuple(args.size), args.noise_ppb, parsed(size), parsed(size))
        for case in cases:
            for name, run in methods.items():
                with torch.inference_mode():
                    rows[name].append(scores(run(case.local), case))
        print(f"\n{size} mm, {args.regions or len(args.seeds)} cases", flush=True)
        report(rows)
        table[size] = rows
    if args.figure:
        draw(table, args.figure)
    return table


def draw(table: dict[str, dict[str, list[dict[str, float]]]], path: Path) -> None:
    """RMSE over voxel size, a line a method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    sizes = sorted(table, key=lambda size: (parsed(size)[2] / parsed(size)[0], parsed(size)))
    for index, name in enumerate(next(iter(table.values()))):
        means = [float(np.mean([row["rmse"] for row in table[size][name]])) for size in sizes]
        style = "-" if name.startswith("metaqsm") else "--" if name.startswith("mesa") else ":"
        axes.plot(sizes, means, style, marker="osD^v<>"[index % 7], label=name, color=f"C{index % 10}")
    axes.set_ylabel("RMSE of the contrast, %")
    axes.set_xlabel("voxel size, mm, from the least to the most anisotropic")
    axes.set_ylim(0, None)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def table_of_lesions(args: argparse.Namespace) -> dict[str, list[float]]:
    """Share of the true moment that a map has, of every bleed and calcification."""
    methods = {name: method(name) for name in known(args.methods or ("metaqsm", "metaqsm+data", "metaqsm-phys", "tv"))}
    shares: dict[str, list[float]] = {name: [] for name in methods}
    for size in args.sizes:
        for seed in args.seeds:
            case = phantom(seed, parsed(size), args.fov_mm, args.noise_ppb, lesions=5)
            true = moments(case.chi_ppm, case)
            for name, run in methods.items():
                with torch.inference_mode():
                    found = moments(run(case.local), case)
                shares[name] += [found[number] / true[number] for number in true]
    print(f"{'method':24s}{'lesions':>8s}{'sign kept':>11s}{'median':>9s}{'10th':>8s}{'90th':>8s}{'>= 0.9':>8s}")
    for name, values in shares.items():
        v = np.array(values)
        low, high = np.percentile(v, (10, 90))
        print(
            f"{name:24s}{len(v):8d}{100 * (v > 0).mean():9.0f} %{np.median(v):9.3f}{low:8.3f}{high:8.3f}"
            f"{100 * (v >= 0.9).mean():6.0f} %"
        )
    return shares


def moments(chi: torch.Tensor, case: Case) -> dict[int, float]:
    """Of every bleed (number > 0) and calcification (< 0): χ above the median around it, summed over it and its rim.

    ppm·mm³. Lesions of under 8 voxels, or at the edge of the mask, are left out.
    """
    values, numbers = chi.numpy(), case.lesions.numpy()
    inside = case.local.mask.numpy() > 0
    volume = float(np.prod(case.local.grid.voxel_size_mm))
    found = {}
    for number in np.unique(numbers[numbers != 0]):
        core = numbers == number
        near = ndimage.binary_dilation(core, iterations=1)
        around = ndimage.binary_dilation(core, iterations=4) & ~ndimage.binary_dilation(core, iterations=2)
        if core.sum() < 8 or not inside[ndimage.binary_dilation(core, iterations=3)].all():
            continue
        around &= numbers == 0
        found[int(number)] = volume * float((values[near] - np.median(values[around])).sum())
    return found


def table_of_steps(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of one pass, the least of seven in turns; and of the prediction."""
    voxel = (0.5, 0.5, 2.0)
    meta, mesa = (load_network(load_card(name)) for name in ("metaqsm", "mesaqsm-0.5x0.5x2"))
    if not isinstance(meta, WeightPredicted):
        raise InputError("metaqsm predicts no weights.")
    begin = time.perf_counter()
    plain = meta.at(voxel)
    predicted = time.perf_counter() - begin
    grid = Grid.centred((args.size[0], args.size[0], args.size[1]), voxel)
    mask = torch.ones(grid.shape)
    field = 0.01 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    card = replace(load_card("metaqsm"), grid_mm=None)
    seconds: dict[str, list[float]] = {"metaqsm": [], "mesaqsm": []}
    for _ in range(7):
        for name, network in (("metaqsm", plain), ("mesaqsm", mesa)):
            begin = time.perf_counter()
            with torch.inference_mode():
                reconstruct(network, card, field, mask, grid)
            seconds[name].append(time.perf_counter() - begin)
    best = {name: min(values) for name, values in seconds.items()}
    print(
        f"Meta {best['metaqsm']:.3f} s, Mesa {best['mesaqsm']:.3f} s, ratio {best['metaqsm'] / best['mesaqsm']:.3f}; "
    )
    print(f"prediction of the kernels, once a resolution: {predicted:.3f} s")
    return best | {"prediction": predicted}


def parsed(size: str) -> Size:
    """A voxel from its description, such as 0.76x0.76x3."""
    x, y, z = (float(edge) for edge in size.split("x"))
    return x, y, z


STUDIES = {"unseen": table_of_unseen, "sizes": table_of_sizes, "lesions": table_of_lesions, "step": table_of_steps}


def main() -> None:
    """Print the table of a study, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=[256, 64], metavar=("N", "SLICES"))
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[901, 902, 903])
    parser.add_argument("--regions", type=int, help="sizes: as many regions of the simulator instead of heads")
    parser.add_argument("--fov-mm", type=float, default=96.0)
    parser.add_argument("--noise-ppb", type=float, default=0.0)
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table = STUDIES[args.study](args)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
