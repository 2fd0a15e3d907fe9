"""Pipelines check first, keep what was given, and say what they did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from QSMReconLib.data import Artifact, ChiMap, GreData, LocalField, Mask, R2Map, R2PrimeMap, R2StarMap, TotalField
from QSMReconLib.errors import Cancelled, InputError, OptionError
from QSMReconLib.fieldmap.romeo import Romeo
from QSMReconLib.inversion.tkd import Tkd
from QSMReconLib.pipeline import Pipeline, Step, load_pipeline, named_pipelines
from QSMReconLib.relaxometry.r2prime import R2Prime
from QSMReconLib.relaxometry.r2star import R2StarFit
from QSMReconLib.runtime import Runtime, pick_device
from QSMReconLib.separation.r2primefromr2star import R2PrimeFromR2Star

Head = dict[type[Artifact], Artifact]
ONE = Pipeline("one", (Step(Tkd(threshold=0.15)),), "Only TKD.")


def test_check_names_what_is_missing_and_for_whom() -> None:
    with pytest.raises(InputError) as raised:
        ONE.check([TotalField])
    assert str(raised.value) == (
        "The pipeline one cannot run: tkd needs a local field, which is neither given nor made by an earlier stage."
    )


def test_run_returns_everything_and_how_it_was_made(small_head: Head) -> None:
    given = {LocalField: small_head[LocalField]}
    result = ONE.run(given, Runtime())
    assert set(result.artifacts) == {LocalField, ChiMap}
    assert result.made_by == {ChiMap: "tkd"}
    assert result.records[0].stage == Tkd(threshold=0.15)
    assert result.records[0].seconds > 0


def test_what_is_given_is_not_computed_again(small_head: Head) -> None:
    result = ONE.run({kind: small_head[kind] for kind in (LocalField, ChiMap)}, Runtime())
    assert result.artifacts[ChiMap] is small_head[ChiMap]
    assert result.records[0].skipped
    assert result.records[0].notes == ("tkd was skipped: the susceptibility map was given.",)


def test_a_step_that_runs_if_possible_is_passed_over_with_a_note(small_head: Head) -> None:
    pipeline = Pipeline("maybe", (Step(Tkd(), if_possible=True),))
    result = pipeline.run({Mask: small_head[Mask]}, Runtime())
    assert result.records[0].notes == ("tkd was skipped: there is no local field.",)


def test_a_step_that_runs_if_missing_stands_in_for_an_earlier_one(small_head: Head) -> None:
    pipeline = Pipeline("either", (Step(R2Prime(), if_possible=True), Step(R2PrimeFromR2Star(), if_missing=True)))
    assert Pipeline.from_json(json.loads(json.dumps(pipeline.to_json()))) == pipeline
    echoes = pipeline.run({kind: small_head[kind] for kind in (R2StarMap, R2Map)}, Runtime())
    assert echoes.made_by == {R2PrimeMap: "r2prime"}
    assert echoes.records[1].notes == ("r2primefromr2star was skipped: the R2′ map is there.",)
    alone = pipeline.run({R2StarMap: small_head[R2StarMap]}, Runtime())
    assert alone.made_by == {R2PrimeMap: "r2primefromr2star"}
    assert "guessed" in alone.records[1].notes[0]


def with_echoes(head: Head, count: int) -> GreData:
    gre = head[GreData]
    assert isinstance(gre, GreData)
    return replace(
        gre,
        magnitude=gre.magnitude[:count],
        phase_rad=gre.phase_rad[:count],
        echo_times_s=gre.echo_times_s[:count],
    )


def test_two_echoes_give_a_map_without_r2star_and_say_so(small_head: Head) -> None:
    plan = named_pipelines()["classical"].plan({GreData: with_echoes(small_head, 2)})
    skipped = {step.stage.name: why for step, why in plan if why}
    assert "needs at least three echoes, and the scan has 2" in skipped["r2starfit"]
    assert "tv" not in skipped


def test_what_cannot_work_is_refused_before_any_work(small_head: Head) -> None:
    two = with_echoes(small_head, 2)
    with pytest.raises(InputError, match=r"clinical cannot run: r2starfit needs at least three echoes, .* has 2"):
        named_pipelines()["clinical"].check({GreData: two})
    chain = Pipeline("chain", (Step(R2StarFit(), if_possible=True), Step(R2PrimeFromR2Star())))
    with pytest.raises(InputError, match=r"needs a R2\* map, .* r2starfit was skipped: .* three echoes"):
        chain.check({GreData: two, Mask: small_head[Mask]})
    with pytest.raises(InputError, match=r"romeo\.template is 5, but the scan has 2 echoes"):
        Pipeline("late", (Step(Romeo(template=5)),)).check({GreData: two, Mask: small_head[Mask]})


def test_progress_reaches_the_listener_and_false_cancels(small_head: Head) -> None:
    said = []
    ONE.run({LocalField: small_head[LocalField]}, Runtime(report=lambda *event: said.append(event)))
    assert (said[0], said[-1]) == (("tkd", 0.0, ""), ("tkd", 1.0, ""))
    with pytest.raises(Cancelled, match="Cancelled during tkd"):
        ONE.run({LocalField: small_head[LocalField]}, Runtime(report=lambda *event: False))


def test_json_round_trips(tmp_path: Path) -> None:
    assert Pipeline.from_json(json.loads(json.dumps(ONE.to_json()))) == ONE
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(ONE.to_json()))
    assert load_pipeline(file) == ONE


def test_with_option_changes_one_option() -> None:
    assert ONE.with_option("tkd", "threshold", "0.3").steps[0].stage == Tkd(threshold=0.3)
    with pytest.raises(OptionError, match="has no stage 'tv'; it has tkd"):
        ONE.with_option("tv", "weight", 1)
    with pytest.raises(OptionError, match="tkd has no option 'weight'"):
        ONE.with_option("tkd", "weight", 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ("[]", 'A pipeline is an object with "name"'),
        ('{"stages": [3]}', "Each stage of a pipeline is an object"),
        ('{"stages": [{"stage": "tdk"}]}', "There is no stage 'tdk'"),
        ('{"stages": [{"stage": "tkd", "options": {"threshold": 9}}]}', "must be 0.01 to 0.66"),
    ],
)
def test_wrong_files_get_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(text)
    with pytest.raises(InputError, match=sentence):
        load_pipeline(file)


@pytest.mark.parametrize("name", named_pipelines())
def test_named_pipelines_can_run_on_a_scan(name: str) -> None:
    pipeline = named_pipelines()[name]
    assert pipeline.description
    pipeline.check([GreData])


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(InputError, match="There is no pipeline or file 'classicl'"):
        load_pipeline("classicl")


def test_devices_that_are_not_there_are_refused() -> None:
    assert pick_device("cpu") == "cpu"
    with pytest.raises(InputError, match="cannot be used here"):
        pick_device("cuda:99")
    with pytest.raises(InputError, match="cannot be used here"):
        pick_device("abacus")


def test_a_scan_beyond_3_tesla_falls_back_from_the_network_to_the_rule(small_head: Head) -> None:
    gre = small_head[GreData]
    assert isinstance(gre, GreData)
    for tesla, ran in ((3.0, "network"), (7.0, "two-slopes")):
        plan = named_pipelines()["clinical"].plan({GreData: replace(gre, field_strength_t=tesla)})
        stages = [step.stage for step, why in plan if not why]
        assert [stage.method for stage in stages if isinstance(stage, R2PrimeFromR2Star)] == [ran]
