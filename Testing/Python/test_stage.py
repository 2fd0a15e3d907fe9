"""A stage is declared once: options, contract and JSON all follow from the class."""

from __future__ import annotations

import subprocess
import sys

import pytest

from QSMReconLib.data import ChiMap, LocalField, Mask
from QSMReconLib.errors import InputError, OptionError
from QSMReconLib.inversion.tkd import Tkd
from QSMReconLib.runtime import Runtime
from QSMReconLib.stage import Stage, find_stage, option, stages


class Example(Stage):
    """An example of every kind of option."""

    number: float = option(0.5, "a number", unit="mm", ge=0, le=1)
    whole: int = option(3, "a whole number", ge=1)
    switch: bool = option(False, "a switch")
    word: str = option("one", "a word", choices=("one", "two"))
    many: tuple[float, ...] = option((1.0, 2.0), "numbers", ge=0)
    maybe: float | None = option(None, "a number or nothing", ge=0)

    def apply(self, local: LocalField, runtime: Runtime, mask: Mask | None = None) -> tuple[ChiMap, Mask]:
        raise NotImplementedError


def test_contract_comes_from_the_signature() -> None:
    assert Example.needs() == {"local": LocalField}
    assert Example.uses() == {"mask": Mask}
    assert Example.makes() == (ChiMap, Mask)


def test_options_take_objects_and_text() -> None:
    given = Example.with_options(
        {"number": "0.25", "whole": "4", "switch": "yes", "word": "two", "many": "3, 4 5", "maybe": "2"}
    )
    assert given == Example(number=0.25, whole=4, switch=True, word="two", many=(3.0, 4.0, 5.0), maybe=2.0)
    assert Example.with_options({"maybe": "auto"}).maybe is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"number": 2}, "example.number is 2, but must be 0 to 1 mm."),
        ({"number": "much"}, "example.number is 'much', but must be a number."),
        ({"number": float("nan")}, "must be a number"),
        ({"whole": 2.5}, "example.whole is 2.5, but must be a whole number."),
        ({"whole": 0}, "must be at least 1"),
        ({"switch": "perhaps"}, "must be true or false"),
        ({"switch": 1}, "must be true or false"),
        ({"word": "three"}, "choose one of one, two"),
        ({"many": "1 -1"}, "must be at least 0"),
        ({"whole": None}, "example.whole needs a value."),
        ({"nubmer": 0.2}, "example has no option 'nubmer'; it has number, whole, switch, word, many, maybe."),
    ],
)
def test_wrong_options_get_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionError) as raised:
        Example.with_options(options)
    assert sentence in str(raised.value)


def test_stages_are_frozen_and_found_by_name() -> None:
    with pytest.raises(AttributeError):
        Tkd().threshold = 0.3  # type: ignore[misc]
    assert find_stage("TKD") is Tkd
    with pytest.raises(InputError, match="There is no stage 'tdk'"):
        find_stage("tdk")
    assert "example" not in stages(), "only the library's own stages are listed"


def test_listing_the_stages_does_not_import_torch() -> None:
    code = "import sys; from QSMReconLib.stage import stages; stages(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
