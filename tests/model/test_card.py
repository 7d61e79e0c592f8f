"""The card says what a model records, and never more."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hyperstyle.edits import DirectionEdit
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.model.card import model_card
from hyperstyle.model.parts import Model


@pytest.fixture
def model(tiny_inverter: HyperStyleInverter) -> Model:
    return tiny_inverter.model


def with_info(model: Model, **info: Any) -> Model:
    return dataclasses.replace(model, info=info)


def head(card: str) -> dict[str, Any]:
    values: dict[str, Any] = ModelCard(card).data.to_dict()
    return values


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n\n")[1].split("\n\n## ")[0]


def test_the_head_is_what_the_hub_reads(model: Model) -> None:
    card = model_card(model, "org/tiny")
    assert card.startswith("---\n")
    values = head(card)
    assert values["license"] == "mit"
    assert values["library_name"] == "hyperstyle"
    assert values["pipeline_tag"] == "image-to-image"
    assert {"hyperstyle", "stylegan2", "avatars"} <= set(values["tags"])


def test_a_name_of_a_domain_cannot_break_the_head(model: Model) -> None:
    odd = dataclasses.replace(model, domain=dataclasses.replace(model.domain, name='no: "way\n---'))
    assert 'no: "way\n---' in head(model_card(odd, "org/tiny"))["tags"]


def test_parts_edits_and_sizes_are_those_of_the_model(model: Model, tiny_inverter: HyperStyleInverter) -> None:
    card, facts = model_card(model, "org/tiny"), tiny_inverter.describe()
    for name, count in facts["parameters"].items():
        assert f"| {name} | {count:,} | {facts['sha256'][name]} |" in section(card, "Parts")
    for name, edit in facts["edits"].items():
        assert f"| {name} | {edit['low']:g} to {edit['high']:g} | {edit['unit']} |" in section(card, "Edits")
    for value in ("32 x 32 px", "b8.conv1, b16.conv1, b32.conv0", "| steps of the hypernetwork | 2 |"):
        assert value in section(card, "What it is")


def test_hashes_that_are_given_go_before_those_the_model_was_read_with(model: Model) -> None:
    card = model_card(model, "org/tiny", sha256={"generator": "f" * 64})
    assert "f" * 64 in card
    assert model.info["sha256"]["generator"] not in card


def test_the_lines_of_python_fit_the_model(model: Model) -> None:
    use = section(model_card(model, "org/tiny"), "Use")
    assert 'HyperStyleInverter.from_pretrained("org/tiny")' in use
    assert '.invert("me.jpg").edit("age", 3)' in use
    compile(use.removeprefix("```python\n").removesuffix("```"), "card", "exec")
    without = model_card(dataclasses.replace(model, edits={}), "org/tiny")
    assert ".edit(" not in without
    assert "## Edits" not in without
    bare = model_card(dataclasses.replace(model.with_parts(encoder=None, hypernetwork=None), edits={}), "org/tiny")
    assert 'invert("me.jpg")' not in bare
    assert "inverter.model.generator" in bare
    assert "tuned layers" not in bare


@pytest.mark.parametrize(
    ("licence", "identifier", "sentence"),
    [
        (None, "unknown", "**No licence is recorded for these weights.**"),
        ("  ", "unknown", "**No licence is recorded for these weights.**"),
        ("MIT", "mit", "MIT. It allows use, changes and passing on, commercial use included"),
        ("Apache 2.0", "apache-2.0", "commercial use included"),
        ("CC-BY-NC-4.0", "cc-by-nc-4.0", "**It excludes commercial use**"),
        ("code MIT, weights non-commercial", "other", "**It excludes commercial use**"),
        ("ask me", "other", "ask me. Read it before you use the weights"),
    ],
)
def test_a_licence_is_named_with_what_follows_from_it(
    licence: str | None, identifier: str, sentence: str, model: Model
) -> None:
    card = model_card(with_info(model, licence=licence), "org/tiny")
    assert head(card)["license"] == identifier
    assert sentence in section(card, "Licence")
    assert ("commercial use included" in card) == (identifier in ("mit", "apache-2.0"))


def test_numbers_and_notes_stand_on_the_card_where_they_are_recorded_and_as_they_are(model: Model) -> None:
    card = model_card(with_info(model, source="a | b\nc", results={"l2": 0.01234567, "on": [3, 4]}, notes=""), "org/t")
    assert section(card, "On record").splitlines()[2:] == [
        "| source | a \\| b c |",
        "| results.l2 | 0.01234567 |",
        "| results.on | 3, 4 |",
    ]
    assert "## On record" not in model_card(with_info(model), "org/t")


def test_an_edit_with_odd_words_stays_in_its_row(model: Model) -> None:
    edit = model.edits["age"]
    assert isinstance(edit, DirectionEdit)
    odd = dataclasses.replace(edit, info=dataclasses.replace(edit.info, unit="a|b\nc"))
    card = model_card(dataclasses.replace(model, edits={"age": odd}), "org/t")
    assert "| age | -3 to 3 | a\\|b c |" in card
