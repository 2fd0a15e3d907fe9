"""A review from maps and lesions to a table: measured, classed, written with its dictionary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..io.derivatives import RESEARCH_USE, write_json
from .classification import OTHER, UNDECIDED, Contrast, Thresholds, classify, classify_focal, classify_para
from .columns import describe
from .decay import PRIOR_HZ, PRIOR_SD_HZ, SCATTER_HZ, Common, common_r2, from_decay
from .lesions import Lesions
from .maps import ReviewMaps
from .measureoptions import Measures
from .measures import Measured, measure
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
    common_r2: Common | None = None
    """Without spin echoes: the R2 that lesions are taken to have lost."""


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

    thresholds, measures = thresholds or Thresholds.with_options({}), measures or Measures.with_options({})
    around = surroundings or from_maps(maps, lesions.numbers > 0)
    measured = measure(lesions, maps, around, measures, progress)
    common = None
    if maps.r2prime_measured is False and {"chi_para", "chi_dia", "r2star"} <= set(maps.channels):
        common = common_r2([one.contrasts for one in measured], maps.field_strength_t)
    rows = []
    for one in measured:
        row = dict(one.row)
        row |= _classes(one, maps, thresholds, common, measures.confidence_z)
        if "chi" in one.contrasts or np.isfinite(row["moment_ppm_mm3"]):
            row["class_focal"], row["probability_focal"] = _focal(row, thresholds)
        rows.append(row)
    first = ["label", "segment", "volume_mm3", "x", "y", "z", "class_para", "class_dia", "class_focal"]
    table = pandas.DataFrame(rows)
    table = table[[c for c in first if c in table] + [c for c in table if c not in first]]
    remarks = [*lesions.remarks, *([around.remark] if around.remark else [])]
    away = [str(one.label) for one in measured if one.row["flags"] == "outside the mask"]
    if away:
        remarks.append(
            f"Lesion {', '.join(away)} lies outside the mask of the maps: at most its moment could be measured, from "
            "the field around it."
        )
    if common is not None:
        remarks.append(
            "R2′ was not measured: classes of χ_para and χ_dia rest on R2*, with lesions taken to differ in R2 by "
            f"{common.r2_hz:.1f} ± {common.sd_hz:.1f} Hz, from {common.lesions} lesions and a prior of "
            f"{PRIOR_HZ:g} ± {PRIOR_SD_HZ:g} Hz."
        )
    return Review(table, tuple(measured), lesions, maps, thresholds, measures, tuple(remarks), common)


def write_review(done: Review, path: Path, **provenance: Any) -> None:
    """Save the table as TSV, and beside it a JSON that describes its columns, thresholds and `provenance`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done.table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.5g")
    described: dict[str, Any] = {column: describe(column, done.measures.interval_percent) for column in done.table}
    described |= {
        "GeneratedBy": [{"Name": "QSMRecon", "Version": __version__}],
        "IntendedUse": RESEARCH_USE,
        "Classes": "Definitions of QSMRecon, not a published standard",
        "Thresholds": done.thresholds.to_json(),
        "Measures": asdict(done.measures),
        "Decay": None
        if done.common_r2 is None
        else asdict(done.common_r2) | {"prior_hz": PRIOR_HZ, "prior_sd_hz": PRIOR_SD_HZ, "scatter_hz": SCATTER_HZ},
        "Warnings": list(done.remarks),
    }
    write_json(path.with_suffix(".json"), described | provenance)


def _classes(
    one: Measured, maps: ReviewMaps, thresholds: Thresholds, common: Common | None, confidence_z: float
) -> dict[str, Any]:
    """The classes of χ_para and χ_dia with their probabilities, and the contrasts that they were made of."""
    para, dia = one.contrasts.get("chi_para"), one.contrasts.get("chi_dia")
    edge, found = one.edge, None
    if common is not None:
        found = from_decay(one.contrasts, common, maps.field_strength_t)
    if found is not None:
        if edge is not None and para is not None:
            # The lesion's rim errs by what the whole of it does.
            edge = Contrast(
                edge.value + found[0].value - para.value, float(np.hypot(edge.error, found[0].error)), edge.local_sd
            )
        para, dia = found
    row: dict[str, Any] = {}
    if para is not None:
        row["class_para"], row["probability_para"] = classify_para(para, one.rim, edge, thresholds)
    if dia is not None:
        row["class_dia"], row["probability_dia"] = classify(dia, thresholds)
    for name, contrast in (("chi_para", para), ("chi_dia", dia)):
        if contrast is not None:
            reach = confidence_z * contrast.error
            row[f"{name}_classed_ppb"] = contrast.value
            row[f"{name}_classed_low_ppb"] = contrast.value - reach
            row[f"{name}_classed_high_ppb"] = contrast.value + reach
    return row


def _focal(row: dict[str, Any], thresholds: Thresholds) -> tuple[str, float]:
    peaks = [abs(v) for v in (row.get("chi_peak_ppb", np.nan), row["chi_equivalent_ppb"]) if np.isfinite(v)]
    if not peaks or not np.isfinite(row["moment_ppm_mm3"]):
        return (UNDECIDED if "outside" in row["flags"] else OTHER), np.nan
    return classify_focal(
        max(peaks),
        row["moment_ppm_mm3"],
        row["moment_error_ppm_mm3"],
        row["elongation"],
        row["volume_mm3"],
        thresholds,
    )
