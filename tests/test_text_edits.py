"""Edits described in words, from the call to the disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import pytest
import torch
from torch import Tensor

from hyperstyle import HyperStyleInverter, Inversion
from hyperstyle.edits import DirectionEdit, EditInfo, StyleClip
from hyperstyle.errors import CheckpointError, EditError, WeightsError
from hyperstyle.model.folder import write_model


class Hashed:
    """A stand-in for CLIP: texts become numbers that depend on nothing but the text."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.randn(12, generator=torch.Generator().manual_seed(crc32(t.encode()))) for t in texts])

    def encode_image(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)).repeat(1, 4)


@pytest.fixture
def worded(tiny_inverter: HyperStyleInverter) -> HyperStyleInverter:
    """The tiny model with random statistics of its channels."""
    m = tiny_inverter.model
    random = torch.Generator().manual_seed(5)
    convs = [spec for spec in m.generator.layers if not spec.torgb]
    effects = {s.name: torch.randn(s.channels_in, 12, generator=random) for s in convs}
    unit = {name: torch.nn.functional.normalize(e, dim=1) for name, e in effects.items()}
    spread = {s.name: torch.rand(s.channels_in, generator=random) + 0.5 for s in convs}
    text = StyleClip(unit, spread, Hashed(), ["a photo of {}", "{}"], m.generator_fingerprint)
    return HyperStyleInverter(m.generator, m.encoder, m.hypernetwork, domain=m.domain, edits=m.edits, text=text)


def noise_image(inverter: HyperStyleInverter) -> Tensor:
    size = inverter.model.domain.input_size
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_a_description_moves_the_image_and_chains_with_other_edits(worded: HyperStyleInverter) -> None:
    inversion = worded.invert(noise_image(worded), align=False)
    bearded = inversion.edit(text="a face with a beard", neutral="a face", strength=4, beta=0.1)
    assert torch.equal(bearded.w, inversion.w)
    assert bearded.style_offsets
    assert not torch.allclose(bearded.tensor, inversion.tensor)
    assert torch.equal(inversion.edit(text="a face with a beard", strength=0).tensor, inversion.tensor)
    fewer = inversion.edit(text="a face with a beard", neutral="a face", strength=4, beta=0.4)
    moved, less = (sum(int((c != 0).sum()) for c in i.style_offsets.values()) for i in (bearded, fewer))
    assert 0 < less < moved
    older = bearded.edit("age", 1)
    assert torch.equal(older.style_offsets["b4.conv1"], bearded.style_offsets["b4.conv1"])
    strip = inversion.edit(text="a face with a beard", strength=[-4, 0, 4], beta=0.1)
    assert len(strip) == 3


def test_words_that_belong_to_a_text_are_not_ignored_without_one(worded: HyperStyleInverter) -> None:
    inversion = worded.invert(noise_image(worded), align=False)
    for call in ({"neutral": "a face"}, {"beta": 0.2}):
        with pytest.raises(EditError, match="pass text="):
            inversion.edit("age", 1, **call)


def test_inversions_with_and_without_words_make_one_batch(worded: HyperStyleInverter) -> None:
    inversion = worded.invert(noise_image(worded), align=False)
    bearded = inversion.edit(text="a face with a beard", neutral="a face", strength=4, beta=0.1)
    both = Inversion.cat([inversion, bearded])
    torch.testing.assert_close(both.tensor[:1], inversion.tensor, atol=2e-5, rtol=0)
    torch.testing.assert_close(both.tensor[1:], bearded.tensor, atol=2e-5, rtol=0)


def test_the_statistics_are_part_of_a_model_folder(worded: HyperStyleInverter, tmp_path: Path) -> None:
    worded.save_pretrained(tmp_path / "model")
    loaded = HyperStyleInverter.from_pretrained(tmp_path / "model", device="cpu")
    assert isinstance(loaded.model.text, StyleClip)
    again = dataclasses.replace(loaded.model.text, encoder=Hashed())
    before = worded.model.text
    assert before is not None
    edits = [text("long hair", neutral="hair", beta=0.1) for text in (before, again)]
    x = worded.invert(noise_image(worded), align=False)
    assert torch.equal(x.edit(edits[0], 2).tensor, x.edit(edits[1], 2).tensor)
    weights = tmp_path / "model" / "styleclip" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(WeightsError, match="styleclip"):
        HyperStyleInverter.from_pretrained(tmp_path / "model", device="cpu")


def test_what_was_made_for_a_generator_goes_with_it_into_half_precision(
    worded: HyperStyleInverter, tmp_path: Path
) -> None:
    made_for = worded.model.generator_fingerprint
    up = DirectionEdit(torch.ones(16), EditInfo("up", model=made_for))
    foreign = DirectionEdit(torch.ones(16), EditInfo("foreign", model="0123456789abcdef"))
    m = dataclasses.replace(worded.model, edits={"up": up, "foreign": foreign})
    write_model(m, tmp_path / "half", dtype=torch.float16)
    loaded = HyperStyleInverter.from_pretrained(tmp_path / "half", device="cpu").model
    assert loaded.generator_fingerprint != made_for
    assert loaded.edits["up"].info.model == loaded.generator_fingerprint
    assert loaded.edits["foreign"].info.model == "0123456789abcdef"
    assert isinstance(loaded.text, StyleClip)
    assert loaded.text.model == loaded.generator_fingerprint


def test_without_open_clip_the_error_says_what_to_install(
    worded: HyperStyleInverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from hyperstyle.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert isinstance(worded.model.text, StyleClip)
    bare = dataclasses.replace(worded.model.text, encoder=None)
    with pytest.raises(MissingDependencyError, match="hyperstyle-inversion\\[clip\\]"):
        bare("long hair", neutral="hair", beta=0.1)


def test_what_has_no_form_on_disk_or_no_difference_is_refused(worded: HyperStyleInverter, tmp_path: Path) -> None:
    def words(target: str, *, neutral: str, beta: float) -> None:
        raise AssertionError

    m = worded.model
    other = HyperStyleInverter(m.generator, m.encoder, domain=m.domain, text=words)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="only StyleClip"):
        other.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(EditError, match="the same to the text encoder"):
        worded.invert(noise_image(worded), align=False).edit(text="a face", neutral="a face")
