"""Lesions: are their classes, moments and kinds right, on scans whose truth is known.

    python benchmarks/lesions.py scan DERIVATIVES TRUTH [--without DERIVATIVES]
    python benchmarks/lesions.py kinds [--each 100] [--snr 30 60 120] [--json FILE]
    python benchmarks/lesions.py bleeds [--seeds 3] [--first-seed 0] [--json FILE]
    python benchmarks/lesions.py speed [--number 300]

scan    the results of `qsmrecon run` for a simulated MS subject against the table of its truth (the folder anat below
        derivatives/truth): agreement, share undecided, rims found and false; --without is the same scan reconstructed
        without its spin echoes, whose classes are compared with the others
kinds   lesions of each of the six MS kinds in blocks of white matter, at several SNRs of the field and R2* (60 means
        2 ppb and 1 Hz): the field of the block, total variation, χ-separation, and the review; sensitivity and
        specificity of every class, the share undecided, and the agreement of R2′ with R2* alone
bleeds  bleeds and calcifications of 1 to 4 mm radius, scanned at 3 T and 7 T on three grids, through `classical`:
        which they are told to be, and the moment against the truth, over radius
speed   the table of many lesions in a 1 mm head; `busy` is the processor's time, which other programs hardly change
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from QSMReconLib.data import (
    ChiMap,
    FieldNoise,
    GreData,
    Grid,
    LocalField,
    Mask,
    R2PrimeMap,
    R2StarMap,
    SeparatedChi,
    TotalField,
)
from QSMReconLib.inversion.tv import Tv
from QSMReconLib.labels import Label
from QSMReconLib.phantoms.lesions import MS_KINDS
from QSMReconLib.physics.constants import radians_per_ppm
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.pipeline import load_pipeline
from QSMReconLib.review.agreement import agreement
from QSMReconLib.review.files import review_files
from QSMReconLib.review.lesions import split
from QSMReconLib.review.maps import ReviewMaps, channel
from QSMReconLib.review.surroundings import Surroundings, from_labels
from QSMReconLib.review.table import review
from QSMReconLib.runtime import Runtime
from QSMReconLib.separation.chiseparation import ChiSeparation
from QSMReconLib.separation.r2primefromr2star import R2PrimeFromR2Star

WORDS = {"hyper_rim": "rim"}
DR = 0.137
"""Hz per ppb at 3 T."""
NOISE_PPM, DECAY_HZ, SNR = 0.002, 1.0, 60.0
GRIDS = ((1.0, 1.0, 1.0), (0.75, 0.75, 3.0), (0.6, 0.6, 1.5))
ECHOES_S = {3.0: (0.005, 0.012, 0.019, 0.026), 7.0: (0.004, 0.009, 0.014, 0.019)}
Scores = dict[str, Any]


def score(truth: list[str], found: list[str]) -> Scores:
    """Agreement among decided lesions, the share undecided, and of each class its sensitivity and specificity, %."""
    pairs = [(a, b) for a, b in zip(truth, found, strict=True) if b != "undecided"]
    scores: Scores = {
        "lesions": len(truth),
        "agreement": 100 * float(np.mean([a == b for a, b in pairs])) if pairs else float("nan"),
        "undecided": 100 * (1 - len(pairs) / max(len(truth), 1)),
    }
    for word in sorted(set(truth)):
        inside, outside = [b for a, b in pairs if a == word], [b for a, b in pairs if a != word]
        scores[f"sensitivity {word}"] = 100 * float(np.mean([b == word for b in inside])) if inside else float("nan")
        scores[f"specificity {word}"] = 100 * float(np.mean([b != word for b in outside])) if outside else float("nan")
    return scores


def said(title: str, scores: Scores) -> None:
    """A line of scores."""
    print(f"{title:26s}" + "  ".join(f"{key} {value:.4g}" for key, value in scores.items()), flush=True)


def scan(derivatives: Path, truth: Path, without: Path | None) -> Scores:
    """The review of a reconstructed MS subject against its truth."""
    (labels,) = truth.glob("*_desc-lesion_dseg.nii.gz")
    (kinds,) = truth.glob("*_desc-lesion_dseg.tsv")
    true = pd.read_csv(kinds, sep="\t", keep_default_na=False).set_index("id")
    tables, scores = [], {}
    for name, folder in (("R2′", derivatives), ("R2* alone", without)):
        if folder is None:
            continue
        out = Path(f"/tmp/qsmrecon-lesions-{name.replace(' ', '-')}.tsv")
        start = time.perf_counter()
        table = review_files(out, labels, folder, overwrite=True).table
        seconds = time.perf_counter() - start
        tables.append(table)
        for key in ("para", "dia"):
            expected = [WORDS.get(true.loc[label, key], true.loc[label, key]) for label in table["label"]]
            scores[f"{name} {key}"] = score(expected, table[f"class_{key}"].tolist())
            said(f"{name}, χ_{key}", scores[f"{name} {key}"])
        print(f"{name}: {seconds:.1f} s for files, table and all", flush=True)
    if len(tables) == 2:
        for key in ("para", "dia"):
            both = agreement(key, *(t[f"class_{key}"].tolist() for t in tables))
            scores[f"between {key}"] = {"agreement": both.percent, "undecided": both.undecided, "kappa": both.kappa}
            said(f"R2′ against R2*, χ_{key}", scores[f"between {key}"])
    return scores


def block(seed: int, number: int = 12) -> tuple[Grid, torch.Tensor, torch.Tensor, torch.Tensor, Any, list[Any]]:
    """Textured white matter of 84×84×60 mm in a ball of cortex, with lesions of all MS kinds in turn:
    (grid, χ_para, χ_dia in ppb, R2 in Hz, labels, [(para, dia)])."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    rng = np.random.default_rng(seed)
    grid = Grid.centred((84, 84, 60))
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in grid.shape), indexing="ij")
    edge = 1 - np.sqrt((x / 39) ** 2 + (y / 39) ** 2 + (z / 27) ** 2)
    mottle = [gaussian_filter(rng.normal(size=grid.shape), 4.0) for _ in range(3)]
    para, dia, r2 = (
        v * (1 + 0.07 * m / m.std()) for v, m in zip((18.0, 30.0, 14.0), mottle, strict=True)
    )  # The whole ball is white matter; a rind of cortex is cut off by the mask below.
    inside = edge > 0
    taken = np.zeros(grid.shape, dtype=bool)
    labels, kinds = np.zeros(grid.shape, dtype=int), []
    for turn in range(number):
        kind = MS_KINDS[turn % len(MS_KINDS)]
        for _ in range(500):
            radii = rng.uniform(3.0, 6.0, 3)
            c = rng.uniform(-0.72, 0.72, 3) * (39, 39, 27)
            inner = sum(((a - m) / r) ** 2 for a, m, r in zip((x, y, z), c, radii, strict=True)) < 1
            if (edge[inner] > 0.12).all() and not (taken & inner).any():
                break
        else:
            continue
        depth = distance_transform_edt(inner)
        kinds.append(kind)
        labels[inner] = len(kinds)
        taken |= distance_transform_edt(~inner) < 7
        if kind[0] == "hyper":
            para[inner] += rng.uniform(20, 40)
        elif kind[0] == "hyper_rim":
            para[inner & (depth <= 2)] += rng.uniform(30, 60)
        elif kind[0] == "hypo":
            para[inner] *= rng.uniform(0.25, 0.5)
        if kind[1] == "hypo":
            dia[inner] *= rng.uniform(0.3, 0.65)
        r2[inner] = rng.uniform(9.0, 12.0)
    volumes = [torch.from_numpy(v * inside).float() for v in (para, dia, r2)]
    return grid, *volumes, (labels, inside), kinds


def reviewed(seed: int, snr: float) -> Iterator[tuple[str, pd.DataFrame, list[Any]]]:
    """The tables of a block, from R2′ and from R2* alone."""
    grid, para, dia, r2, (labels, inside), kinds = block(seed)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((3, *grid.shape), generator=generator) * (SNR / snr)
    mask = torch.from_numpy(inside)
    field = Dipole.of(grid).field(1e-3 * (para - dia)) + NOISE_PPM * noise[0]
    reversible = DR * (para + dia)
    decay = (r2 + reversible + DECAY_HZ * noise[1]).clamp(min=0) * mask
    common = {
        LocalField: LocalField(grid, field * mask, mask.float()),
        Mask: Mask(grid, mask.float()),
        FieldNoise: FieldNoise(grid, NOISE_PPM * SNR / snr * mask),
        R2StarMap: R2StarMap(grid, decay, 3.0),
    }
    (chi,) = Tv().run(common, Runtime())
    assert isinstance(chi, ChiMap)
    (guess,) = R2PrimeFromR2Star().run(common, Runtime())
    measured = R2PrimeMap(grid, (reversible + DECAY_HZ * noise[2]).clamp(min=0) * mask, 3.0)
    tissue = np.where(inside, int(Label.WHITE_MATTER), 0)
    for name, rate in (("R2′", measured), ("R2*", guess)):
        (made,) = ChiSeparation().run(common | {ChiMap: chi, R2PrimeMap: rate}, Runtime())
        assert isinstance(made, SeparatedChi)
        volumes = {"chi": chi.chi_ppm, "chi_para": made.chi_para_ppm, "chi_dia": made.chi_dia_ppm, "r2star": decay}
        channels = {key: channel(key, value.numpy()) for key, value in volumes.items()}
        maps = ReviewMaps(grid, inside, channels, field_ppm=(field * mask).numpy(), r2prime_measured=name == "R2′")
        yield name, review(split(labels, grid), maps, from_labels(tissue)).table, kinds


def kinds(each: int, levels: list[float], first_seed: int = 0) -> Scores:
    """`each` lesions of every kind at each SNR."""
    scores: Scores = {}
    for snr in levels:
        found: dict[str, list[str]] = {}
        seed = first_seed
        while len(found.get("truth para", [])) < each * len(MS_KINDS):
            for name, table, truth in reviewed(seed, snr):
                for index, key in enumerate(("para", "dia")):
                    if name == "R2′":
                        words = [WORDS.get(kind[index], kind[index]) for kind in truth]
                        found.setdefault(f"truth {key}", []).extend(words)
                    found.setdefault(f"{name} {key}", []).extend(table[f"class_{key}"])
            seed += 1
        for key in ("para", "dia"):
            for name in ("R2′", "R2*"):
                scores[f"{snr:g} {name} {key}"] = score(found[f"truth {key}"], found[f"{name} {key}"])
                said(f"SNR {snr:g}, {name}, χ_{key}", scores[f"{snr:g} {name} {key}"])
            both = agreement(key, found[f"R2′ {key}"], found[f"R2* {key}"])
            scores[f"{snr:g} between {key}"] = {"agreement": both.percent, "kappa": both.kappa}
            said(f"SNR {snr:g}, R2′ to R2*, χ_{key}", scores[f"{snr:g} between {key}"])
    return scores


def bleed_scan(
    voxel: tuple[float, float, float], tesla: float, seed: int
) -> tuple[GreData, Mask, np.ndarray, np.ndarray]:
    """A ball of tissue with veins, a background and a dozen bleeds and calcifications, as a scan: (scan, mask, labels,
    rows of label, radius in mm, χ in ppm, moment)."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    parts = [max(1, round(v / 0.75)) for v in voxel]
    shape = [2 * round(76 / v / 2) for v in voxel]
    size = [v / n for v, n in zip(voxel, parts, strict=True)]
    b0 = (0.0, float(np.sin(0.2)), float(np.cos(0.2)))
    grid = Grid.centred((shape[0], shape[1], shape[2]), voxel, b0)
    fine = [n * s for n, s in zip(shape, parts, strict=True)]
    fine_grid = Grid.centred((fine[0], fine[1], fine[2]), (size[0], size[1], size[2]), b0)
    at = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * v for n, v in zip(fine, size, strict=True)), indexing="ij")
    inside = np.sqrt(sum(a**2 for a in at)) < 35
    chi = gaussian_filter(rng.normal(size=fine), [4 / v for v in size])
    chi *= 0.012 / chi.std()
    for _ in range(5):
        line = rng.normal(size=3)
        line /= np.linalg.norm(line)
        apart = [a - c for a, c in zip(at, rng.uniform(-25, 25, 3), strict=True)]
        along = sum(a * d for a, d in zip(apart, line, strict=True))
        chi[sum(a * a for a in apart) - along**2 < 0.7**2] = 0.25
    rate, density = np.full(fine, 20.0), np.ones(fine)
    labels, rows, centres = np.zeros(fine, dtype=int), [], []
    for _ in range(4000):
        c = rng.uniform(-26, 26, 3)
        if np.linalg.norm(c) > 27 or any(np.linalg.norm(c - other) < 13 for other in centres) or len(centres) == 12:
            continue
        centres.append(c)
        radius, sign = rng.uniform(1.0, 4.0), rng.choice([-1.0, 1.0])
        value = sign * rng.uniform(0.6, 1.4)
        away = np.sqrt(sum((a - m) ** 2 for a, m in zip(at, c, strict=True)))
        share = np.clip((radius - away) / float(np.mean(size)) + 0.5, 0, 1)
        change = share * (value - chi)
        chi = chi + change
        moment = float(change.sum() * np.prod(size))
        labels[share >= 0.5] = len(centres)
        rate = rate * (1 - share) + share * ((30 if sign > 0 else 45) + 137 * tesla / 3 * abs(value))
        density = density * (1 - share) + share * (0.7 if sign > 0 else 0.35)
        rows.append((len(centres), radius, value, moment))
    x, y, z = (a / 40 for a in at)
    field = Dipole.of(fine_grid).field(torch.from_numpy(chi * inside).float()).numpy()
    # A harmonic ground of second and third order, as air around a head makes it.
    field = field + 0.3 * x + 0.2 * (z**2 - (x**2 + y**2) / 2) - 0.2 * x * y + 0.1 * (z**3 - 1.5 * z * (x**2 + y**2))
    slopes = [np.gradient(field, axis=axis) for axis in range(3)]
    generator = torch.Generator().manual_seed(seed)

    def mean(volume: np.ndarray) -> torch.Tensor:
        return torch.nn.functional.avg_pool3d(torch.from_numpy(np.asarray(volume)).float()[None], parts)[0]

    echoes = []
    for echo in ECHOES_S[tesla]:
        turn = radians_per_ppm(tesla, echo)
        signal = density * np.exp(-rate * echo) * inside
        for slope in slopes:
            signal = signal * np.sinc(slope * turn / (2 * np.pi))
        noise = torch.randn((2, *grid.shape), generator=generator) / 60
        echoes.append(
            torch.complex(*(mean(signal * f(turn * field)) + n for f, n in zip((np.cos, np.sin), noise, strict=True)))
        )
    stack = torch.stack(echoes)
    counts = np.stack([mean((labels == row[0]).astype(np.float32)).numpy() for row in rows])
    seen = np.where(counts.max(0) >= 0.5, counts.argmax(0) + 1, 0)
    for index, row in enumerate(rows):
        if not (seen == row[0]).any():
            seen[np.unravel_index(counts[index].argmax(), grid.shape)] = row[0]
    mask = Mask(grid, (mean(inside) > 0.5).float())
    return GreData(grid, stack.abs(), stack.angle(), ECHOES_S[tesla], tesla), mask, seen, np.array(rows)


def bleeds(seeds: int, first_seed: int = 0) -> Scores:
    """Kind and moment of bleeds and calcifications on three grids at two field strengths."""
    scores: Scores = {}
    for voxel in GRIDS:
        for tesla in ECHOES_S:
            found = []
            for seed in range(first_seed, first_seed + seeds):
                gre, mask, labels, rows = bleed_scan(voxel, tesla, seed)
                made = load_pipeline("classical").run({GreData: gre, Mask: mask}, Runtime()).artifacts
                chi, local, total, noise = (made[kind] for kind in (ChiMap, LocalField, TotalField, FieldNoise))
                maps = ReviewMaps(
                    gre.grid,
                    local.mask.numpy() > 0,
                    {"chi": channel("chi", chi.chi_ppm.numpy())},
                    field_ppm=local.field_ppm.numpy(),
                    total_ppm=total.field_ppm.numpy(),
                    brain=mask.voxels.numpy() > 0,
                    noise_ppm=noise.noise_ppm.numpy(),
                )
                nothing = np.zeros(gre.grid.shape, dtype=bool)
                around = Surroundings(maps.mask, nothing, nothing)
                lesions = replace(split(labels, gre.grid), remarks=())
                table = review(lesions, maps, around).table.set_index("label")
                for label, radius, value, moment in rows:
                    row = table.loc[int(label)]
                    right = row["class_focal"] == ("bleed" if value > 0 else "calcification")
                    ratios = [row[f"moment{by}_ppm_mm3"] / moment for by in ("", "_map", "_field")]
                    found.append((radius, right, *ratios))
            table = np.array(found, dtype=float)
            for low, high in ((1.0, 1.5), (1.5, 2.5), (2.5, 4.0)):
                part = table[(table[:, 0] >= low) & (table[:, 0] < high)]
                if not len(part):
                    continue
                name = f"{voxel[0]:g}×{voxel[2]:g} mm, {tesla:g} T, {low:g}–{high:g} mm"
                scores[name] = {
                    "n": len(part),
                    "right": 100 * part[:, 1].mean(),
                    "moment": np.nanmedian(part[:, 2]),
                    "within 15 %": 100 * np.mean(np.abs(part[:, 2] - 1) < 0.15),
                    "by map": np.nanmedian(part[:, 3]),
                    "by field": np.nanmedian(part[:, 4]),
                }
                said(name, scores[name])
    return scores


def speed(number: int) -> Scores:
    """Seconds for the table of many lesions in a 1 mm head of five maps."""
    rng = np.random.default_rng(0)
    grid = Grid.centred((164, 205, 150))
    x, y, z = np.meshgrid(*((np.arange(n) - (n - 1) / 2) / (0.45 * n) for n in grid.shape), indexing="ij")
    inside = x**2 + y**2 + z**2 < 1
    labels = np.zeros(grid.shape, dtype=int)
    middle = np.argwhere(x**2 + y**2 + z**2 < 0.8)
    for label in range(1, number + 1):
        c = middle[rng.integers(len(middle))]
        r = int(rng.integers(2, 6))
        labels[tuple(slice(i - r, i + r) for i in c)] = label
    values = {"chi": -0.012, "chi_para": 0.018, "chi_dia": 0.03, "r2star": 20.0}
    channels = {k: channel(k, v + rng.normal(0, 0.1 * abs(v), grid.shape)) for k, v in values.items()}
    field = rng.normal(0, 0.01, grid.shape).astype(np.float32)
    maps = ReviewMaps(grid, inside, channels, field_ppm=field, total_ppm=field, brain=inside)
    start, busy = time.perf_counter(), time.process_time()
    table = review(split(labels, grid), maps).table
    scores = {"lesions": len(table), "seconds": time.perf_counter() - start, "busy": time.process_time() - busy}
    said("speed", scores)
    return scores


def main() -> None:
    """Run one of the studies, and write its scores as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("scan", "kinds", "bleeds", "speed"))
    parser.add_argument("folders", nargs="*", type=Path, help="scan: DERIVATIVES TRUTH")
    parser.add_argument("--without", type=Path)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--snr", type=float, nargs="+", default=[30.0, 60.0, 120.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, help="another one is another anatomy")
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with torch.inference_mode():
        if args.study == "scan":
            if len(args.folders) != 2:
                parser.error("scan needs DERIVATIVES and TRUTH")
            scores = scan(args.folders[0], args.folders[1], args.without)
        elif args.study == "kinds":
            scores = kinds(args.each, args.snr, args.first_seed)
        else:
            scores = bleeds(args.seeds, args.first_seed) if args.study == "bleeds" else speed(args.number)
    if args.json:
        args.json.write_text(json.dumps(scores, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
