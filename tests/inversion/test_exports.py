"""Inversions and generators as files for other programs."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.align.source import Provenance
from hyperstyle.convert.generators import read_generator
from hyperstyle.domain import Domain
from hyperstyle.errors import CheckpointError, ConfigError, HyperStyleError, InversionError
from hyperstyle.inversion.exports import baked_generator, official_stem, save_generator
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.npy_objects import load_named_arrays
from hyperstyle.io.torch_files import load_state
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

TUNED = ("b4.conv1", "b8.torgb", "b16.conv0", "b32.conv1", "b32.torgb")


@pytest.fixture(scope="module")
def inverter() -> HyperStyleInverter:
    """A model with heads as published: shared, per pair, and for colors; all of them random."""
    torch.manual_seed(1)
    trunk = TrunkConfig((8, 16), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
    config = GeneratorConfig(32, (16, 16, 16, 8), latent_width=16, mapping_layers=2)
    hypernetwork = Hypernetwork(HypernetworkConfig(config, TUNED, (32, 32), trunk, "shared", code_width=16))
    for parameter in hypernetwork.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    encoder = WEncoder(WEncoderConfig(config.rows, 16, (32, 32), trunk))
    domain = Domain("plates", 32, (32, 32), (4, 28))
    return HyperStyleInverter(Generator(config), encoder, hypernetwork, domain=domain, steps=2)


@pytest.fixture(scope="module")
def batch(inverter: HyperStyleInverter) -> Inversion:
    """Two images with files of their own."""
    crops = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    inversion = inverter.invert(list(crops))
    return replace(inversion, sources=(Provenance("photos/me.v2.jpg"), Provenance("C:\\photos\\friend.png")))


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=5e-5, rtol=0)


# ---- a generator ----


def test_the_offsets_are_in_the_weights_of_a_baked_generator(batch: Inversion) -> None:
    before = {name: tensor.clone() for name, tensor in batch.model.generator.state_dict().items()}
    for inversion in (batch[0], batch[1].mix(batch[0], [0])):
        baked = baked_generator(inversion)
        assert not torch.allclose(inversion.tensor, inversion.initial.tensor, atol=1e-2)
        same(inversion.model.domain.content(baked(inversion.w)), inversion.tensor)
        assert not baked.training
    for name, tensor in batch.model.generator.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_baked_generator_can_be_trained_on(batch: Inversion) -> None:
    baked = baked_generator(batch[0]).requires_grad_()
    baked(batch[0].w).sum().backward()
    assert baked.weight("b4.conv1").requires_grad


def test_an_exported_generator_makes_the_same_image_when_it_is_read_again(batch: Inversion, tmp_path: Path) -> None:
    batch[1].export(tmp_path / "g.pt")
    content = load_state(tmp_path / "g.pt")
    assert list(content) == ["latent_avg", "g_ema", "w"]
    assert torch.equal(content["w"], batch[1].w[0])
    loaded = read_generator(tmp_path / "g.pt")
    assert loaded.config == batch.model.generator.config
    same(batch.model.domain.content(loaded(content["w"][None])), batch[1].tensor)


def test_a_generator_alone_comes_back_bit_for_bit(batch: Inversion, tmp_path: Path) -> None:
    generator = batch.model.generator
    save_generator(generator, tmp_path / "g.pt")
    loaded = read_generator(tmp_path / "g.pt").state_dict()
    for name, tensor in generator.state_dict().items():
        assert torch.equal(loaded[name], tensor), name
    again = tmp_path / "again.pt"
    save_generator(generator, again)
    assert again.read_bytes() == (tmp_path / "g.pt").read_bytes()


def test_another_rate_of_the_mapping_network_is_written_into_its_weights(tmp_path: Path) -> None:
    generator = Generator(GeneratorConfig(16, (8, 8, 8), latent_width=8, mapping_layers=2, mapping_rate=1.0))
    save_generator(generator, tmp_path / "g.pt")
    loaded = read_generator(tmp_path / "g.pt")
    assert loaded.config.mapping_rate == 0.01
    z = torch.randn(3, 8)
    torch.testing.assert_close(loaded.mapping(z), generator.mapping(z), atol=1e-5, rtol=1e-5)


def test_only_the_tensors_of_the_generator_are_written_and_as_float32(tmp_path: Path) -> None:
    generator = Generator(GeneratorConfig(16, (8, 8, 8), latent_width=8, mapping_layers=1))
    large = torch.randn(1_000_000, dtype=torch.float64)
    generator.latent_avg = large[:8]  # as of a mapped file
    save_generator(generator.double(), tmp_path / "g.pt")
    assert (tmp_path / "g.pt").stat().st_size < 200_000
    assert {tensor.dtype for tensor in load_state(tmp_path / "g.pt")["g_ema"].values()} == {torch.float32}


@pytest.mark.reference
def test_a_full_size_generator_has_the_tensors_of_the_published_file(checkpoint_maker: Any) -> None:
    manifest = checkpoint_maker.manifest("hyperstyle", "stylegan2_1024")
    with torch.device("meta"):
        ours = Generator(GeneratorConfig.official(1024)).state_dict()
    assert {name: list(t.shape) for name, t in ours.items()} == {r["key"]: r["shape"] for r in manifest["tensors"]}


# ---- the official layout ----


def test_the_official_layout_is_that_of_the_published_script(batch: Inversion, tmp_path: Path) -> None:
    batch.export(tmp_path / "out", "official")
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.npy")) == [
        "out/latents.npy",
        "out/weight_deltas/friend.npy",
        "out/weight_deltas/me.npy",
    ]
    latents = np.load(tmp_path / "out" / "latents.npy", allow_pickle=True).item()
    assert list(latents) == ["me.v2.jpg", "friend.png"]
    for inversion, codes in zip(batch, latents.values(), strict=True):
        assert (codes.dtype, codes.shape) == (np.float32, (8, 16))
        np.testing.assert_array_equal(codes, inversion.w[0].numpy())
    layers = batch.model.generator.layers
    for inversion, stem in zip(batch, ("me", "friend"), strict=True):
        row = np.load(tmp_path / "out" / "weight_deltas" / f"{stem}.npy", allow_pickle=True)
        assert (row.shape, row.dtype) == ((len(layers),), object)
        for spec, delta in zip(layers, row, strict=True):
            if spec.name not in TUNED:
                assert delta is None
                continue
            shape = (spec.channels_out, spec.channels_in, spec.kernel, spec.kernel)
            assert (delta.dtype, delta.shape, delta.flags.c_contiguous) == (np.float32, shape, True)
            expected = inversion.offsets[spec.name].expand(1, *shape)[0]
            np.testing.assert_array_equal(delta, expected.numpy())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such names")
def test_an_image_whose_name_is_not_utf8_is_exported(batch: Inversion, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    replace(batch[0], sources=(Provenance(name),)).export(tmp_path, "official")
    assert list(np.load(tmp_path / "latents.npy", allow_pickle=True).item()) == [name]
    assert list(load_named_arrays(tmp_path / "latents.npy")) == [name]
    assert os.listdir(os.fsencode(tmp_path / "weight_deltas")) == [b"\xff.npy"]


def test_images_that_came_from_no_file_are_numbered(batch: Inversion, tmp_path: Path) -> None:
    replace(batch, sources=(Provenance("Tensor"), Provenance(".hidden.png"))).export(tmp_path / "a", "official")
    replace(batch, sources=()).export(tmp_path / "b", "official")
    for folder in ("a", "b"):
        assert list(np.load(tmp_path / folder / "latents.npy", allow_pickle=True).item()) == ["picture_1", "picture_2"]


def test_a_folder_collects_images_and_replaces_those_of_the_same_name(batch: Inversion, tmp_path: Path) -> None:
    batch[0].export(tmp_path, "official")
    batch[1].export(tmp_path, "official")
    changed = replace(batch[0], w=batch[0].w + 1)
    changed.export(tmp_path, "official")
    latents = np.load(tmp_path / "latents.npy", allow_pickle=True).item()
    assert list(latents) == ["me.v2.jpg", "friend.png"]
    np.testing.assert_array_equal(latents["me.v2.jpg"], changed.w[0].numpy())


@pytest.mark.parametrize("other", ["me.png", "here/ME.v3.jpg", "me.v2.jpg"])
def test_names_that_are_the_same_up_to_the_first_dot_are_refused(batch: Inversion, tmp_path: Path, other: str) -> None:
    clashing = replace(batch, sources=(batch.sources[0], Provenance(other)))
    with pytest.raises(InversionError, match=r"'me\.v2\.jpg' and '[\w.]+' would both be"):
        clashing.export(tmp_path, "official")
    assert list(tmp_path.iterdir()) == []
    if other == "me.png":
        batch[0].export(tmp_path, "official")
        with pytest.raises(InversionError, match="up to the first dot"):
            clashing[1].export(tmp_path, "official")


def test_a_folder_of_another_generator_or_a_damaged_one_is_refused(batch: Inversion, tmp_path: Path) -> None:
    np.save(tmp_path / "latents.npy", {"a.jpg": np.zeros((18, 512), np.float32)})  # type: ignore[arg-type]
    with pytest.raises(InversionError, match=r"shape \(18, 512\), these have \(8, 16\)"):
        batch.export(tmp_path, "official")
    (tmp_path / "latents.npy").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"is no \.npy file"):
        batch.export(tmp_path, "official")
    assert [path.name for path in tmp_path.iterdir()] == ["latents.npy"]


def test_the_stem_of_a_name_ends_at_its_first_dot() -> None:
    assert [official_stem(name) for name in ("me.jpg", "me.v2.jpg", "me", "../x/me.jpg")] == ["me", "me", "me", "me"]


# ---- dense offsets ----


def test_dense_offsets_and_codes_make_the_image_again(batch: Inversion, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    batch.export(tmp_path / "o.safetensors", "offsets")
    loaded = load_file(tmp_path / "o.safetensors")
    w = loaded.pop("w")
    assert set(loaded) == set(TUNED)
    same(batch.model.domain.content(batch.model.generator(w, loaded)), batch.tensor)


# ---- what cannot be ----


def test_what_a_form_cannot_hold_is_refused(batch: Inversion, tmp_path: Path) -> None:
    with pytest.raises(InversionError, match="batch of 2"):
        batch.export(tmp_path / "g.pt")
    with pytest.raises(ConfigError, match="form='pkl': expected 'generator', 'official' or 'offsets'"):
        batch.export(tmp_path / "g.pt", "pkl")  # type: ignore[arg-type]
    styled = replace(batch[0], style_offsets={"b8.conv0": torch.zeros(1, 16)})
    for form in ("generator", "official", "offsets"):
        with pytest.raises(InversionError, match=r"StyleSpace edits \(of b8\.conv0\)"):
            styled.export(tmp_path / "x", form)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(HyperStyleError, match="does not exist"):
        batch[0].export(tmp_path / "no" / "g.pt")


def test_an_edit_goes_into_the_codes_of_every_form(batch: Inversion, tmp_path: Path) -> None:
    moved = replace(batch[0], w=batch[0].w + 3)
    moved.export(tmp_path / "g.pt")
    assert torch.equal(load_state(tmp_path / "g.pt")["w"], moved.w[0])
