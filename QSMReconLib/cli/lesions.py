"""`qsmrecon lesions`: a table, and a report, of every lesion on the maps of one subject."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..runtime import Runtime
from .console import reporting, say, settings, table

if TYPE_CHECKING:
    from ..review.classification import Thresholds
    from ..review.measureoptions import Measures
    from ..review.proposals import Proposals

CHANNELS = {"chi": "χ in ppm", "chi_para": "χ_para in ppm", "chi_dia": "χ_dia in ppm", "r2star": "R2* in Hz"}
SHOWN = ("label", "volume_mm3", "x", "y", "z", "class_para", "class_dia", "class_focal")


def add_to(commands: Any) -> None:
    """Add the command."""
    added = commands.add_parser(
        "lesions",
        help="measure and classify lesions on a subject's maps",
        description="Measure and classify every lesion of a label map; without one, candidates for bleeds and "
        "calcifications are proposed. The classes are ours, not from a paper; for research use only.",
    )
    added.add_argument(
        "derivatives", metavar="DERIVATIVES", nargs="?", type=Path, help="a subject's folder of derivatives"
    )
    added.add_argument(
        "--lesions",
        type=Path,
        action="append",
        metavar="F",
        help="a label map, whose connected parts count apart, or Slicer's .seg.nrrd; given again, each is a segment",
    )
    added.add_argument(
        "--seeds", type=Path, metavar="F", help="instead: points to grow lesions from, a TSV with x, y, z in RAS mm"
    )
    for name, what in CHANNELS.items():
        added.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="F", help=what)
    added.add_argument("--magnitude", type=Path, metavar="F", help="for the pictures; default: the scan's")
    added.add_argument("--local-field", type=Path, metavar="F", help="ppm; tells how much χ explains, and moments")
    added.add_argument("--total-field", type=Path, metavar="F", help="ppm; tells the moments of strong sources best")
    added.add_argument("--field-noise", type=Path, metavar="F", help="ppm; where the field cannot be trusted")
    added.add_argument("--swi", type=Path, metavar="F", help="where bleeds are dark, for proposals")
    added.add_argument(
        "--spin-echoes",
        choices=("yes", "no"),
        help="whether χ_para and χ_dia rest on a measured R2′ or on R2* alone; default: as the maps' sidecars say",
    )
    added.add_argument("--mask", type=Path, metavar="F", help="the brain mask")
    added.add_argument("--segmentation", type=Path, metavar="F", help="tissue labels; default: told from the maps")
    added.add_argument("-o", "--output", type=Path, required=True, metavar="TABLE.tsv")
    added.add_argument("--report", type=Path, metavar="R.html", help="also write a report with a page per lesion")
    added.add_argument(
        "--readings",
        type=Path,
        metavar="F",
        help="a reader's own classes, a TSV with label, reader_para, reader_dia, reader_focal, reader_comment",
    )
    added.add_argument("--numbered", type=Path, metavar="F", help="also write the label map with the table's numbers")
    added.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="change a threshold")
    added.add_argument("--options", action=_ListOptions, help="list all thresholds, with defaults and ranges, and end")
    added.add_argument("--progress", choices=("bar", "json", "none"), default="bar")
    added.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    added.set_defaults(command=command)


class _ListOptions(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from .lists import show_options

        for rules in _rules():
            say(f"\n{(rules.__doc__ or '').strip()}")
            show_options(rules)
        parser.exit()


def _rules() -> tuple[type[Thresholds], type[Measures], type[Proposals]]:
    from ..review.classification import Thresholds
    from ..review.measureoptions import Measures
    from ..review.proposals import Proposals

    return Thresholds, Measures, Proposals


def _chosen(given: Mapping[str, str]) -> tuple[Thresholds, Measures, Proposals]:
    """The rules with what was set of them. Raises OptionError for a name that none of them has."""
    rules = _rules()
    names = [[declared.name for declared in one.options()] for one in rules]
    every = [name for known in names for name in known]
    for name in given:
        if name not in every:
            raise OptionError(f"lesions has no option {name!r}; it has {', '.join(every)}.")
    thresholds, measures, proposals = rules
    parts = [{name: value for name, value in given.items() if name in known} for known in names]
    return thresholds.with_options(parts[0]), measures.with_options(parts[1]), proposals.with_options(parts[2])


def command(args: argparse.Namespace) -> int:
    """Review, write, and show the classes."""
    import pandas as pd

    from ..review.files import review_files

    thresholds, measures, proposals = _chosen(settings(args.set))
    with reporting(args.progress, ["lesions"]) as report:
        done = review_files(
            args.output,
            args.lesions,
            args.derivatives,
            {name: path for name in CHANNELS if (path := getattr(args, name)) is not None},
            mask=args.mask,
            magnitude=args.magnitude,
            field=args.local_field,
            total_field=args.total_field,
            field_noise=args.field_noise,
            segmentation=args.segmentation,
            seeds=args.seeds,
            swi=args.swi,
            spin_echoes=None if args.spin_echoes is None else args.spin_echoes == "yes",
            report=args.report,
            readings=args.readings,
            numbered=args.numbered,
            thresholds=thresholds,
            measures=measures,
            proposals=proposals,
            overwrite=args.overwrite,
            progress=Runtime(report=report, stage="lesions").progress,
        )
    if args.progress != "json":
        written = pd.read_csv(args.output, sep="\t", keep_default_na=False)
        shown = [name for name in SHOWN if name in written]
        table("", shown, written[shown].to_numpy().tolist())
        for remark in done.remarks:
            say(f"  · {remark}")
        for path in filter(None, (args.output, args.report)):
            say(f"Written to {path}.")
    return 0
