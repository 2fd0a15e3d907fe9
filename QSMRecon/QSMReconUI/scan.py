"""Which volumes of the scene make up the scan.

What a volume is, and its echo times, are attributes of its node: they are saved with the scene, follow the volume when
identifiers change, and vanish with it. Known values come from the file's sidecar, DICOM tags, or the volume's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

from QSMReconLib.errors import InputError
from QSMReconLib.io.scan import Finding
from QSMReconLib.io.sidecars import check_echo_times, read_json, split_name, stem

PART = "QSMRecon.Part"
ECHO_TIMES = "QSMRecon.EchoTimesMs"
RESULT = "QSMRecon.Map"
BASE = "magnitude"
"""What `RESULT` says of an image that was loaded to look at maps on, not to be reconstructed."""

SHORT = 8
"""How many characters a table can spare for what all names begin with."""

PARTS = {
    "": "–",
    "magnitude": "magnitude",
    "phase": "phase",
    "real": "real",
    "imag": "imaginary",
    "spin_echo": "spin echo",
}
"""What a volume can be to a scan, and how that is called."""

_TAGS = {"EchoTime": "0018,0081", "MagneticFieldStrength": "0018,0087", "ImageType": "0008,0008", "GE": "0043,102f"}
_IMAGE_TYPES = {"M": "magnitude", "MAGNITUDE": "magnitude", "P": "phase", "PHASE": "phase", "PHASE MAP": "phase"}
_IMAGE_TYPES |= {"R": "real", "REAL": "real", "I": "imag", "IMAGINARY": "imag"}
_BIDS_PARTS = {"mag": "magnitude", "phase": "phase", "real": "real", "imag": "imag"}
_WORDS = (
    ("spin_echo", r"mese|spin.?echo"),
    ("phase", r"phase|pha|ph"),
    ("real", r"real"),
    ("imag", r"imag(inary)?"),
    ("magnitude", r"magnitude|mag|gre|megre|e\d+"),
)
_TRAILING = r"[\W_]+(echo|part|mag|magnitude|phase|real|imag|e|te|m|p)?[\W_]*\d*$"


@dataclass(frozen=True)
class Echo:
    """One row of the scan: a volume or sequence of the scene, a file or a DICOM image, what it is, and its echo times
    (one for each of its `count` volumes)."""

    source: Any
    name: str
    part: str
    echo_times_s: tuple[float, ...] = ()
    count: int = 1

    @property
    def in_scene(self) -> bool:
        """Whether it is a node, not a file."""
        return hasattr(self.source, "GetID")

    @property
    def key(self) -> str:
        """What tells it from other rows."""
        return str(self.source.GetID() if self.in_scene else self.source.name)


@dataclass(frozen=True)
class Guess:
    """What a volume seems to be; None or empty where nothing tells."""

    part: str = ""
    echo_times_s: tuple[float, ...] = ()
    field_strength_t: float | None = None


def candidates(scene: Any) -> list[Any]:
    """The volumes and sequences of the scene that could be part of a scan, in the scene's order."""
    shown_by_browsers = _proxies(scene)
    found = []
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        if node.IsA("vtkMRMLSequenceNode"):
            usable = node.GetDataNodeClassName() == "vtkMRMLScalarVolumeNode"
        else:
            usable = node.IsA("vtkMRMLScalarVolumeNode") and not node.IsA("vtkMRMLLabelMapVolumeNode")
            usable = usable and node.GetImageData() is not None and node.GetID() not in shown_by_browsers
        if usable and node.GetAttribute(RESULT) is None and not node.GetHideFromEditors():
            found.append(node)
    return found


def rows(scene: Any) -> list[Echo]:
    """Every candidate, with what it was said to be."""
    found = []
    for node in candidates(scene):
        part = node.GetAttribute(PART) or ""
        times = echo_times(node.GetAttribute(ECHO_TIMES) or "")
        found.append(Echo(node, node.GetName(), part if part in PARTS else "", times, len(volumes_of(node))))
    return found


def chosen(found: Iterable[Echo]) -> list[Echo]:
    """Those that are part of the scan, by part and then by echo time."""
    order = list(PARTS)
    return sorted(
        (echo for echo in found if echo.part), key=lambda echo: (order.index(echo.part), echo.echo_times_s[:1])
    )


def assign(node: Any, part: str, echo_times_s: Sequence[float] | str) -> None:
    """Say what a volume is ("" for nothing) and its echo times, in seconds or as the text of milliseconds."""
    text = echo_times_s if isinstance(echo_times_s, str) else echo_times_text(echo_times_s)
    # An attribute that is not there is None: writing only what changes spares the scene its modified events.
    for name, value in ((PART, part), (ECHO_TIMES, text)):
        if (node.GetAttribute(name) or "") != value:
            node.SetAttribute(name, value or None)


def echo_times_text(times_s: Sequence[float]) -> str:
    """Echo times as people write them, in ms."""
    return " ".join(f"{time * 1000:.6g}" for time in times_s)


def volumes_of(node: Any) -> list[Any]:
    """The scalar volumes of a volume (itself) or a sequence (its items, in order)."""
    if node.IsA("vtkMRMLSequenceNode"):
        return [node.GetNthDataNode(index) for index in range(node.GetNumberOfDataNodes())]
    return [node]


def ijk_to_ras(volume: Any) -> tuple[tuple[float, ...], ...]:
    """The affine of a volume, RAS mm from voxel indices."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return tuple(tuple(matrix.GetElement(row, column) for column in range(4)) for row in range(4))


def problems(scan: Sequence[Echo], field_strength_t: float) -> Iterator[Finding]:
    """What stands in the way of a reconstruction, as sentences; more is found by the library's own examination."""
    by_part = {part: [echo for echo in scan if echo.part == part] for part in PARTS if part}
    counts = {part: sum(echo.count for echo in found) for part, found in by_part.items()}
    if not scan:
        yield Finding("error", "No volume is chosen: say which are magnitude and phase, or load a scan first.")
        return
    if counts["phase"] and counts["real"]:
        yield Finding("error", "Choose magnitude and phase, or real and imaginary, not both.")
    for one, other in (("magnitude", "phase"), ("real", "imag")):
        if counts[one] != counts[other]:
            numbers = f"{counts[one]} {PARTS[one]} and {counts[other]} {PARTS[other]} volumes"
            yield Finding("error", f"There are {numbers}: choose as many of each.")
    if not any(counts[part] for part in ("magnitude", "phase", "real", "imag")):
        yield Finding("error", "There is no gradient echo: choose magnitude and phase, or real and imaginary.")
    yield from _echo_time_problems(by_part)
    yield from _place_problems(scan)
    if not field_strength_t > 0:
        yield Finding("error", "The field strength is not known: enter it in tesla.")


def guess(node: Any) -> Guess:
    """What a volume or sequence seems to be, from its sidecar, its DICOM tags, or its name."""
    known = _known(node)
    strength = known.get("MagneticFieldStrength")
    part = part_by_words(node.GetName() or "", known.get("ImageType") or ())
    return Guess(part, metadata_times(known), None if strength is None else float(strength))


def find_echoes(scene: Any) -> float | None:
    """Assign every volume that is clearly part of a multi-echo scan; returns the field strength that they state, if
    any. Nothing is assigned where one part lacks its partner: a lone T1 is not a scan."""
    guesses = [(node, guess(node)) for node in candidates(scene)]
    wanted = complete_parts({found.part for _, found in guesses})
    strength = None
    for node, found in guesses:
        if found.part in wanted:
            assign(node, found.part, found.echo_times_s or node.GetAttribute(ECHO_TIMES) or "")
            strength = strength or found.field_strength_t
    return strength


def complete_parts(parts: Iterable[str]) -> set[str]:
    """The parts that make a scan, of those there are: magnitude and phase before real and imaginary."""
    for pair in ({"magnitude", "phase"}, {"real", "imag"}):
        if pair <= set(parts):
            return pair | {"spin_echo"}
    return set()


def scan_name(names: Sequence[str]) -> str:
    """What to call a scan: its BIDS name, or what the names of its volumes have in common."""
    names = [bare_name(name) for name in names]
    if not names:
        return "scan"
    entities, _ = split_name(names[0])
    if "sub" in entities:
        return "_".join(f"{key}-{value}" for key, value in entities.items() if key not in ("echo", "part"))
    common = re.sub(_TRAILING, "", _common_start(names), flags=re.IGNORECASE)
    return common.strip(" _-:") or "scan"


def distinct(names: Sequence[str]) -> list[str]:
    """Names without the long beginning that all of them share, so that a narrow table shows where they differ."""
    shared = _common_start(names) if len(names) > 1 else ""
    cut = max(shared.rfind(separator) for separator in "_ ") + 1
    return [f"…{name[cut:]}" for name in names] if cut > SHORT else list(names)


def bare_name(name: str) -> str:
    """A volume's name without the extensions that loaders leave on it."""
    return re.sub(r"\.nii(\.gz)?$", "", name)


def part_by_words(name: str, image_type: Iterable[Any] = ()) -> str:
    """What a volume is, by its name and the sidecar's ImageType; "" where neither tells."""
    name = bare_name(name)
    entities, suffix = split_name(name)
    if suffix == "MESE":
        return "spin_echo"
    if entities.get("part") in _BIDS_PARTS:
        return _BIDS_PARTS[entities["part"]]
    for word in image_type:
        if str(word).upper() in _IMAGE_TYPES:
            return _IMAGE_TYPES[str(word).upper()]
    for part, words in _WORDS:
        if re.search(rf"(^|[^a-z])({words})([^a-z]|$)", name, flags=re.IGNORECASE):
            return part
    return ""


def echo_times(text: str) -> tuple[float, ...]:
    """Echo times in seconds from a text of milliseconds; empty if it is not numbers."""
    try:
        return tuple(float(word) / 1000 for word in re.split(r"[\s,;]+", text.strip()) if word)
    except ValueError:
        return ()


def metadata_times(known: Mapping[str, Any]) -> tuple[float, ...]:
    """The echo times that metadata states, in seconds. Milliseconds are against BIDS but happen, and no echo is later
    than a second; the table shows what was made of them."""
    stated = known.get("EchoTime")
    numbers = stated if isinstance(stated, list) else [] if stated is None else [stated]
    return tuple(float(time) / 1000 if float(time) > 1 else float(time) for time in numbers)


def _echo_time_problems(by_part: Mapping[str, list[Echo]]) -> Iterator[Finding]:
    times: dict[str, list[float]] = {}
    for part, found in by_part.items():
        for echo in found:
            if len(echo.echo_times_s) != echo.count:
                several = f"needs its {echo.count} echo times in ms, separated by spaces."
                what = "needs its echo time, in ms." if echo.count == 1 else several
                yield Finding("error", f"{echo.name} {what}")
                return
        times[part] = [time for echo in found for time in echo.echo_times_s]
        try:
            if times[part]:
                check_echo_times(times[part], f"the {PARTS[part]} volumes")
        except InputError as error:
            yield Finding("error", str(error))
            return
    for one, other in (("magnitude", "phase"), ("real", "imag")):
        if len(times[one]) == len(times[other]) and max(map(_apart, times[one], times[other]), default=0) > 1e-5:
            yield Finding("error", f"The echo times of {PARTS[one]} and {PARTS[other]} differ: correct the table.")


def _place_problems(scan: Sequence[Echo]) -> Iterator[Finding]:
    first: tuple[str, Any, list[float]] | None = None
    for echo in scan:
        if not echo.in_scene or echo.part == "spin_echo":
            continue  # Of files the library's examination says it; spin echoes are resampled.
        node = echo.source
        if node.IsA("vtkMRMLTransformableNode") and node.GetParentTransformNode() is not None:
            yield Finding("error", f"{echo.name} is under a transform: harden it, or take the volume out of it.")
            return
        for volume in volumes_of(node):
            if volume.GetImageData() is None:
                yield Finding("error", f"{echo.name} holds no image.")
                return
            affine = [value for row in ijk_to_ras(volume) for value in row]
            first = first or (echo.name, volume.GetImageData().GetDimensions(), affine)
            if volume.GetImageData().GetDimensions() != first[1] or max(map(_apart, affine, first[2])) > 1e-3:
                yield Finding("error", f"{echo.name} is on another grid than {first[0]}: all must be the same.")
                return


def _common_start(names: Sequence[str]) -> str:
    shortest = min(names, key=len)
    return next(
        (shortest[:end] for end in range(len(shortest), 0, -1) if all(n.startswith(shortest[:end]) for n in names)), ""
    )


def _apart(one: float, other: float) -> float:
    return abs(one - other)


def _known(node: Any) -> dict[str, Any]:
    """What the node's file or its DICOM instances say."""
    storage = node.GetStorageNode() if node.IsA("vtkMRMLStorableNode") else None
    file = Path(storage.GetFileName()) if storage is not None and storage.GetFileName() else None
    if file is not None:
        beside = file.with_name(f"{stem(file)}.json")
        try:
            if beside.is_file():
                return read_json(beside)
        except InputError:
            return {}
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not instances:
        return {}
    tags = {key: database.instanceValue(instances[0], tag) for key, tag in _TAGS.items()}
    known: dict[str, Any] = {"ImageType": re.split(r"[\\,]", tags["ImageType"] or "")}
    ge = {"0": "M", "1": "P", "2": "R", "3": "I"}.get((tags["GE"] or "").strip())
    if ge is not None:
        known["ImageType"] = [ge]
    if tags["EchoTime"]:
        known["EchoTime"] = float(tags["EchoTime"]) / 1000
    if tags["MagneticFieldStrength"]:
        known["MagneticFieldStrength"] = float(tags["MagneticFieldStrength"])
    return known


def _proxies(scene: Any) -> set[str]:
    """The volumes through which sequence browsers show one item of a sequence."""
    shown = set()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        nodes = vtk.vtkCollection()
        scene.GetNthNodeByClass(index, "vtkMRMLSequenceBrowserNode").GetAllProxyNodes(nodes)
        shown |= {nodes.GetItemAsObject(i).GetID() for i in range(nodes.GetNumberOfItems())}
    return shown
