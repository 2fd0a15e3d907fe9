"""A review from maps and lesions to a table: measured, classed, written with its dictionary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..io.derivatives import RESEARCH_USE, write_json
from .classification import OTHER, UNDECIDED, Thresholds, classify, classify_focal, classify_para
from .lesions import Lesions
from .maps import CHANNELS, ReviewMaps
from .measures import Measured, Measures, describe, measure
from .readings import COMMENT, READINGS, computed
from .surroundings import Surroundings, from_maps

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Review:
    """A table with one row per lesion, and what its report needs."""

    table: pandas.DataFrame
    measured: tuple[Measured, ...]
    lesions: Lesions
    maps: ReviewMaps
    thresholds: Thresholds
    measures: Measures
    remarks: tuple[str, ...]


def review(
    lesions: Lesions,
    maps: ReviewMaps,
    surroundings: Surroundings | None = None,
    thresholds: Thresholds | None = None,
    measures: Measures | None = None,
    progress: Callable[[float], None] | None = None,
) -> Review:
    """Measure and class every lesion.

    Without `surroundings` normal tissue is told from the maps. Classes: `class_para` and `class_dia` where the maps of
    χ_para and χ_dia are there, `class_focal` where χ is.
    """
    import pandas

    thresholds, measures = thresholds or Thresholds(), measures or Measures()
    around = surroundings or from_maps(maps, lesions.numbers > 0)
    measured = measure(lesions, maps, around, measures, progress)
    rows = []
    for one in measured:
        row = dict(one.row)
        if "chi_para" in one.contrasts:
            row["class_para"], row["probability_para"] = classify_para(
                one.contrasts["chi_para"], one.rim, one.edge, thresholds
            )
        if "chi_dia" in one.contrasts:
            row["class_dia"], row["probability_dia"] = classify(one.contrasts["chi_dia"], thresholds)
        if "chi" in one.contrasts:
            row["class_focal"] = _focal(row, thresholds)
        rows.append(row)
    first = ["label", "segment", "volume_mm3", "x", "y", "z", "class_para", "class_dia", "class_focal"]
    table = pandas.DataFrame(rows)
    table = table[[c for c in first if c in table] + [c for c in table if c not in first]]
    remarks = [*lesions.remarks, *([around.remark] if around.remark else [])]
    away = [str(one.label) for one in measured if one.row["flags"] == "outside the mask"]
    if away:
        remarks.append(f"Lesion {', '.join(away)} lies outside the mask of the maps: nothing was measured there.")
    return Review(table, tuple(measured), lesions, maps, thresholds, measures, tuple(remarks))


def write_review(done: Review, path: Path, **provenance: Any) -> None:
    """Save the table as TSV, and beside it a JSON that describes its columns, thresholds and `provenance`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done.table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.5g")
    described: dict[str, Any] = {column: _column(column) for column in done.table}
    described |= {
        "GeneratedBy": [{"Name": "QSMRecon", "Version": __version__}],
        "IntendedUse": RESEARCH_USE,
        "Classes": "Definitions of QSMRecon, not a published standard",
        "Thresholds": done.thresholds.to_json(),
        "Measures": asdict(done.measures),
        "Warnings": list(done.remarks),
    }
    write_json(path.with_suffix(".json"), described | provenance)


def _focal(row: dict[str, Any], thresholds: Thresholds) -> str:
    if not np.isfinite(row["chi_peak_ppb"]):
        return UNDECIDED if "outside" in row["flags"] else OTHER
    return classify_focal(
        row["chi_peak_ppb"], row["moment_ppm_mm3"], row["moment_error_ppm_mm3"], row["elongation"], thresholds
    )


def _column(name: str) -> dict[str, Any]:
    known = describe()
    if name in known:
        text, unit = known[name]
        return {"Description": text} | ({"Units": unit} if unit else {})
    levels = {
        "class_para": ("χ_para against normal-appearing white matter", "hyper, iso, hypo, rim, undecided"),
        "class_dia": ("χ_dia against normal-appearing white matter", "hyper, iso, hypo, undecided"),
        "class_focal": ("What a focal lesion is", "bleed, calcification, vessel, other, undecided"),
    }
    if name in READINGS:
        text = f"What the reader says, beside {computed(name)}"
        return {"Description": text, "Levels": ", ".join(READINGS[name])}
    if name == COMMENT:
        return {"Description": "What the reader remarks"}
    if name in levels:
        return {"Description": levels[name][0], "Levels": levels[name][1]}
    if name.startswith("probability_"):
        return {"Description": f"Probability of class_{name.removeprefix('probability_')}"}
    # The longest name first: chi_para's columns begin with chi as well.
    which = next(key for key in sorted(CHANNELS, key=len, reverse=True) if name.startswith(f"{key}_"))
    title, unit, _, _ = CHANNELS[which]
    statistic = name.removeprefix(f"{which}_").rsplit("_", 1)[0]
    return {"Description": f"{title}: {_STATISTICS[statistic]}", "Units": unit}


_STATISTICS = {
    "mean": "mean over the lesion",
    "median": "median over the lesion",
    "sd": "standard deviation over the lesion",
    "p5": "5th percentile",
    "p95": "95th percentile",
    "normal": "median of the normal-appearing white matter around",
    "local_sd": "its standard deviation (1.48 times the median absolute deviation)",
    "contrast": "median of the lesion above that of its surroundings",
    "contrast_low": "lower end of the contrast's 90 % interval",
    "contrast_high": "upper end of the contrast's 90 % interval",
}
