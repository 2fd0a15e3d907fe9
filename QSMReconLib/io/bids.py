"""Finding the scans of a BIDS dataset, of one subject's folder or of one session's.

A scan is every gradient echo of one run: the files `…_MEGRE`, `…_GRE` or `…_T2starw` whose names differ only in `echo-`
and `part-` (mag, phase, real, imag; without part- the sidecar's ImageType decides). Spin echoes (`…_MESE`) of the same
session go with it; where there are none, a single one (`…_T2w`) whose sidecar has an EchoTime and no train of echoes:
a turbo spin echo says no R2. Folders called derivatives, sourcedata or code, and hidden ones, are passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError
from . import assemble
from .scan import NOTHING_GIVEN, Finding, Given, Scan, ScanFiles
from .sidecars import read_sidecar, split_name, stem

GRADIENT_ECHO = ("MEGRE", "GRE", "T2starw")
SPIN_ECHO, ONE_SPIN_ECHO = "MESE", "T2w"
PARTS = {"mag": "magnitude", "phase": "phase", "real": "real", "imag": "imag"}

_IMAGE = re.compile(rf"sub-.*_({'|'.join((*GRADIENT_ECHO, SPIN_ECHO, ONE_SPIN_ECHO))})\.nii(\.gz)?$")
_PASSED_OVER = ("derivatives", "sourcedata", "code")

EXAMPLE = "sub-1/anat/sub-1_echo-1_part-mag_MEGRE.nii.gz and sub-1_echo-1_part-phase_MEGRE.nii.gz"


@dataclass
class _Group:
    """The files of one run, by part and echo."""

    entities: dict[str, str]
    suffix: str
    parts: dict[str, dict[str, Path]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "_".join(f"{key}-{value}" for key, value in self.entities.items())

    @property
    def session(self) -> tuple[str, str]:
        return self.entities["sub"], self.entities.get("ses", "")

    @property
    def complete(self) -> bool:
        return {"magnitude", "phase"} <= self.parts.keys() or {"real", "imag"} <= self.parts.keys()

    def files(self, part: str) -> tuple[Path, ...]:
        """In the order of their echoes."""
        return tuple(path for _, path in sorted(self.parts.get(part, {}).items(), key=lambda item: _natural(item[0])))

    def any_file(self) -> Path:
        return next(iter(next(iter(self.parts.values())).values()))


def find_scans(folder: Path, participants: Sequence[str] = ()) -> list[ScanFiles]:
    """Every scan below `folder`, in the order of subjects, sessions and runs, of `participants` if any are named.

    Nothing but names and, where a part is not named, sidecars is read. A scan without phase is among them: loading it
    says what is wrong. Raises InputError if there is no scan, or none of a participant.
    """
    if not folder.is_dir():
        what = (
            "is a file: give its folder, or the files by --magnitude and --phase"
            if folder.exists()
            else "is not there: check its name"
        )
        raise InputError(f"{folder} {what}.")
    groups = _groups(folder)
    wanted = [label.removeprefix("sub-") for label in participants]
    subjects = sorted({group.entities["sub"] for group in groups}, key=_natural)
    for label in wanted:
        if label not in subjects:
            raise InputError(
                f"{folder} holds no scan of the participant {label!r}; it has {', '.join(subjects) or 'none'}."
            )
    found = []
    for session in sorted({group.session for group in groups}, key=lambda key: (_natural(key[0]), _natural(key[1]))):
        if not wanted or session[0] in wanted:
            found += _scans_of_session([group for group in groups if group.session == session])
    if not found:
        raise InputError(
            f"{folder} holds no gradient-echo scan: name the files as BIDS does ({EXAMPLE}), "
            "or give them by --magnitude and --phase."
        )
    return found


def holds_images(folder: Path) -> bool:
    """Whether any file below `folder` is named as an echo of a BIDS dataset is."""
    return next(_images(folder), None) is not None


def load_scan(files: ScanFiles, given: Given = NOTHING_GIVEN) -> Scan:
    """Read, check and repair one scan. Raises InputError with the first thing that stands in the way."""
    return assemble.load(files, given)


def _groups(folder: Path) -> list[_Group]:
    groups: dict[tuple[str, str], _Group] = {}
    for path in _images(folder):
        entities, suffix = split_name(stem(path))
        echo, part = entities.pop("echo", ""), entities.pop("part", "")
        group = groups.setdefault((str(entities), suffix), _Group(entities, suffix))
        part = PARTS.get(part) or ("magnitude" if suffix == ONE_SPIN_ECHO else _part_by_sidecar(path))
        group.parts.setdefault(part, {})[echo] = path
    return sorted(groups.values(), key=lambda group: _natural(group.name))


def _images(folder: Path) -> Iterator[Path]:
    """Sorted, so that of x.nii and x.nii.gz the latter is taken."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _PASSED_OVER and not name.startswith("."))
        for name in sorted(names):
            if _IMAGE.match(name):
                yield Path(here) / name


def _part_by_sidecar(path: Path) -> str:
    kinds = read_sidecar(path, _root_of(path)).values.get("ImageType")
    words = {str(word).upper() for word in kinds} if isinstance(kinds, list) else set()
    for part, names in (("phase", {"P", "PHASE"}), ("real", {"R", "REAL"}), ("imag", {"I", "IMAG", "IMAGINARY"})):
        if words & names:
            return part
    return "magnitude"


def _scans_of_session(groups: list[_Group]) -> list[ScanFiles]:
    spin_echoes = [group for group in groups if group.suffix == SPIN_ECHO]
    echoes = [group for group in groups if group.suffix in GRADIENT_ECHO]
    complete = {group.name for group in echoes if group.complete}
    scans: dict[str, ScanFiles] = {}
    aside = []
    if not spin_echoes and echoes:
        for group in (group for group in groups if group.suffix == ONE_SPIN_ECHO):
            why = _no_single_spin_echo(group.any_file())
            if why:
                text = (
                    f"{group.any_file()} was left aside, as it {why}: to use it all the same, give it by --spin-echo."
                )
                aside.append(Finding("found", text, group.any_file()))
            else:
                spin_echoes.append(group)
    for group in sorted(echoes, key=lambda group: GRADIENT_ECHO.index(group.suffix)):
        if group.name in scans or (complete and not group.complete and group.suffix == "T2starw"):
            text = f"{group.any_file()} was left aside: another gradient-echo scan of the session is used."
            aside.append(Finding("found", text, group.any_file()))
            continue
        scans[group.name] = _files_of(group, spin_echoes)
    first = next(iter(scans), None)
    if first is not None:
        scans[first] = replace(scans[first], findings=(*scans[first].findings, *aside))
    return sorted(scans.values(), key=lambda scan: _natural(scan.name))


def _no_single_spin_echo(path: Path) -> str:
    """Why a T2-weighted image does not say R2, by its sidecar; "" if it does."""
    try:
        sidecar = read_sidecar(path, _root_of(path))
        time, train = sidecar.numbers("EchoTime"), sidecar.numbers("EchoTrainLength")
    except InputError:
        return "has a sidecar that cannot be read"
    if time is None:
        return "has no EchoTime in its sidecar"
    return f"is a turbo spin echo (EchoTrainLength {train[0]:g})" if train and train[0] > 1 else ""


def _files_of(group: _Group, spin_echoes: list[_Group]) -> ScanFiles:
    findings: tuple[Finding, ...] = ()
    spin: tuple[Path, ...] = ()
    if spin_echoes:
        # The one that shares most entities (run, acquisition) with the gradient echoes; of equals the first.
        best = max(spin_echoes, key=lambda other: len(group.entities.items() & other.entities.items()))
        spin = best.files("magnitude")
        if len(spin_echoes) > 1:
            text = f"There are {len(spin_echoes)} spin-echo scans: {spin[0].name} goes with {group.name}."
            findings = (Finding("found", text, spin[0]),)
    subject, session = group.session
    return ScanFiles(
        name=group.name,
        subject=subject,
        session=session,
        spin_echo=spin,
        root=_root_of(group.any_file()),
        findings=findings,
        **{part: group.files(part) for part in PARTS.values()},
    )


def _root_of(path: Path) -> Path:
    """The dataset that an image belongs to: where its subject's folder lies, or its own folder."""
    for folder in path.absolute().parents:
        if folder.name.startswith("sub-"):
            return Path(os.path.normpath(path.parent / os.path.relpath(folder.parent, path.absolute().parent)))
    return path.parent


def _natural(label: str) -> list[tuple[int, int, str]]:
    """run-10 after run-9."""
    parts = re.split(r"(\d+)", label)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
