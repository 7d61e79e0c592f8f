"""StyleFeatureEditor from its files to images, against recordings of the official code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hyperstyle.convert import convert
from hyperstyle.edits import Edit, channel_edit, load_edit
from hyperstyle.images import to_tensor
from hyperstyle.inversion.features import Features
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.state import GeneratorOverrides
from hyperstyle.inversion.synthesis import own_maps, styles_of
from hyperstyle.inverter import HyperStyleInverter

if TYPE_CHECKING:
    from conftest import CheckpointMaker
    from parity.conftest import Parity

pytestmark = [pytest.mark.reference, pytest.mark.slow]

LAYER = "b64.conv1"
STRENGTHS = {"age": 2.5, "boundary": 6.0, "ganspace": 12.0, "stylespace": -7.0}  # the official powers of age are halved

# part of a name -> tolerance, as recommended with the recordings
_RULES = (
    ("_u8", 1.0),
    ("e4e_image", 2e-4),  # also of their statistics: e4e's codes, up to 11, round by 3e-5, which shifts the means
    ("delta_stats", 5e-4),
    ("_stats", 1e-4),
    ("loss_", 1e-4),
    ("e4e_feat", 2e-4),
    ("w_e4e", 1e-4),
    ("delta", 1e-4),
    ("_feat", 1e-4),
    ("target", 1e-4),
    ("made", 1e-4),
    ("mask64", 1e-6),
    ("pooled_vector", 1e-4),
    ("w_x_e", 5e-5),
    ("w_raw", 2e-5),
    ("w_code", 2e-5),
    ("w_edited", 2e-5),
    ("", 5e-5),  # images
)


def compare(parity: Parity, recording: str, reference_dir: Path, arrays: dict[str, Any]) -> None:
    """Checks all arrays of a recording; numbers whose tolerance is relative are divided by what it refers to first."""
    golden = recorded(reference_dir, recording)
    assert set(arrays) == set(golden) - {"input_u8", "x256_sum4"}
    for name, value in arrays.items():
        allowed = next(tolerance for part, tolerance in _RULES if part in name)
        actual, expected = np.asarray(torch.as_tensor(value).detach()), golden[name].astype(np.float64)
        label = name
        if "_stats" in name or "loss_" in name:  # a mean may be near zero: never less than a tenth of the row's largest
            size = np.abs(expected)
            size = np.maximum(size, size.max(-1, keepdims=True) / 10) if size.ndim > 1 else size
            actual, expected = actual / np.maximum(size, 1e-2), expected / np.maximum(size, 1e-2)
            label = f"{name}, relative"
        parity.check(recording, label, actual, expected, allowed=allowed)


def feature(name: str, maps: Tensor) -> dict[str, Any]:
    """Maps [512,64,64] as they are recorded."""
    x = maps.double().flatten(1)
    places = (torch.arange(4093) * maps.numel()) // 4093
    return {
        f"{name}_pool8": F.avg_pool2d(maps, 8),
        f"{name}_stats": torch.stack([x.mean(1), x.std(1, unbiased=False), x.norm(dim=1)], 1),
        f"{name}_strided": maps.flatten()[places],
        f"{name}_window8": maps[:64, 28:36, 28:36],
    }


def image(name: str, pixels: Tensor, pooled: int, crop: int) -> dict[str, Any]:
    """An image [3,1024,1024] as it is recorded."""
    x, part = pixels.double().flatten(1), slice(512 - crop // 2, 512 + crop // 2)
    window = pixels[:, part, part]
    return {
        f"{name}_pooled": F.adaptive_avg_pool2d(pixels, pooled),
        f"{name}_crop{crop}": window,
        f"{name}_crop{crop}_u8": (((window + 1) / 2).clamp(0, 1) * 255).byte().permute(1, 2, 0),
        f"{name}_stats": torch.stack([x.mean(1), x.std(1, unbiased=False), x.norm(dim=1)]),
    }


@pytest.fixture(scope="module")
def inverter(
    checkpoint_maker: CheckpointMaker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HyperStyleInverter]:
    """The model of the official files: 1.9 GB on disk, gone at the end."""
    folder = tmp_path_factory.mktemp("sfe")
    script = checkpoint_maker.script("sfe")
    torch.save(script.build(checkpoint_maker.manifest("sfe", "sfe_editor_1024"), 0), folder / "sfe_editor_light.pt")
    checkpoint_maker.script("hyperinverter").make(
        checkpoint_maker.manifest("baselines", "e4e_faces_1024"), 0, folder / "e4e.pt"
    )
    checkpoint_maker.write("stylegan2_1024", folder / "stylegan2.pt")
    files = {"encoder": folder / "e4e.pt", "generator": folder / "stylegan2.pt"}
    done = convert(folder / "sfe_editor_light.pt", folder / "model", **files)  # type: ignore[arg-type]
    assert (done.consumed["sfe_inverter"], done.consumed["feature_editor"]) == (609, 92)
    for file in folder.glob("*.pt"):
        file.unlink()
    yield HyperStyleInverter.from_pretrained(folder / "model", device="cpu")
    for file in (folder / "model").rglob("model.safetensors"):
        file.unlink()


@pytest.fixture(scope="module")
def photo(reference_dir: Path) -> Path:
    return reference_dir / "photos_256" / "face_5cbd8851.png"


Golden = dict[str, npt.NDArray[Any]]


def recorded(reference_dir: Path, name: str) -> Golden:
    with np.load(reference_dir / "sfe" / "golden" / f"{name}_seed0.npz") as file:
        return dict(file)


def enlarged(golden: Golden) -> Tensor:
    """The photo [1,3,1024,1024] that the official code sees."""
    return to_tensor(Image.fromarray(golden["input_u8"]).resize((1024, 1024), Image.Resampling.BILINEAR))[None]


@pytest.fixture(scope="module")
def inversion(inverter: HyperStyleInverter, photo: Path) -> Inversion:
    return inverter.invert(photo, method="sfe", align=False)


def features_of(inversion: Inversion) -> Features:
    features = inversion.overrides.features
    assert features is not None
    return features


def parts(inversion: Inversion) -> tuple[Tensor, Tensor, Tensor]:
    """The generator's maps for the guide before and after edits, and the edited features, of the first image."""
    guide, model = features_of(inversion).guide, inversion.model
    assert guide is not None
    assert model.feature_editor is not None
    generator = model.generator
    before = own_maps(generator, generator.styles(guide.before), LAYER)
    edited = replace(inversion, w=guide.w, style_offsets=guide.style_offsets, overrides=GeneratorOverrides())
    now = own_maps(generator, styles_of(model, edited.state), LAYER)
    with torch.no_grad():
        return before[0], now[0], model.feature_editor(features_of(inversion).maps.maps, before - now)[0]


@torch.no_grad()
def test_the_first_phase(inverter: HyperStyleInverter, photo: Path, reference_dir: Path, parity: Parity) -> None:
    golden = recorded(reference_dir, "sfe_inverter")
    inversion, model = inverter.invert(photo, method="sfe-inverter", align=False), inverter.model
    network, generator, crop = model.sfe_inverter, model.generator, inversion.crop
    assert network is not None
    assert crop is not None
    torch.testing.assert_close(
        crop[0].permute(1, 2, 0), torch.from_numpy(golden["x256_sum4"].astype(np.float32)) / 510 - 1, atol=1e-6, rtol=0
    )
    pooled: list[Tensor] = []
    hook = network.fs_backbone.styles[0].register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    w, predicted = network(crop)
    hook.remove()
    features, own = features_of(inversion), own_maps(generator, generator.styles(w), LAYER)
    blended = replace(features.maps, blend=torch.tensor([[0.75, 0.25]]))
    early = replace(inversion, overrides=GeneratorOverrides(features=Features(blended)))
    x = enlarged(golden)
    small = F.adaptive_avg_pool2d(torch.cat([inversion.tensor, inversion.initial.tensor]), 256)
    arrays = {
        "pooled_vector": pooled[0].reshape(960, 3, 3),
        "w_raw": (w - network.latent_avg)[0],
        "w_code": inversion.w[0],
        **feature("predicted_feat", predicted[0]),
        **feature("w_feat", own[0]),
        **feature("fused_feat", features.maps.maps[0]),
        **image("image", inversion.tensor[0], 256, 128),
        **image("w_image", inversion.initial.tensor[0], 64, 64),
        **image("image_step2500", early.tensor[0], 64, 64),
        "loss_l2": F.mse_loss(small, F.adaptive_avg_pool2d(x, 256).expand(2, -1, -1, -1)),
        "loss_feat_rec": F.mse_loss(features.maps.maps, own),
    }
    compare(parity, "sfe_inverter", reference_dir, arrays)


def test_the_inversion(inversion: Inversion, reference_dir: Path, parity: Parity) -> None:
    guide, e4e = features_of(inversion).guide, inversion.model.e4e
    assert guide is not None
    assert e4e is not None
    arrays = {
        "w_code": inversion.w[0],
        "w_e4e_raw": (guide.before - inversion.model.generator.latent_avg)[0],
        "w_e4e": guide.before[0],
        **feature("fused_feat", features_of(inversion).maps.maps[0]),
        **feature("inverted_feat", parts(inversion)[2]),
        **image("image", inversion.tensor[0], 256, 128),
    }
    compare(parity, "sfe_inversion", reference_dir, arrays)


def test_an_edit(inversion: Inversion, reference_dir: Path, parity: Parity) -> None:
    edited = inversion.edit(published(reference_dir, "age", inversion), STRENGTHS["age"])
    guide = features_of(edited).guide
    assert guide is not None
    before, now, maps = parts(edited)
    e4e = [Inversion(inversion.model, w).tensor[0] for w in (guide.before, guide.w)]
    arrays = {
        "w_code": inversion.w[0],
        "w_e4e": guide.before[0],
        "w_edited": edited.w[0],
        "w_e4e_edited": guide.w[0],
        **feature("delta", before - now),
        **feature("edited_feat", maps),
        **image("image", edited.tensor[0], 256, 128),
        **feature("e4e_feat", before),
        **feature("e4e_feat_edited", now),
        **image("e4e_image", e4e[0], 64, 64),
        **image("e4e_image_edited", e4e[1], 64, 64),
    }
    compare(parity, "sfe_edit_age", reference_dir, arrays)


@torch.no_grad()
def test_an_edit_with_a_mask(inversion: Inversion, reference_dir: Path, parity: Parity) -> None:
    """The official mask is 1 where the image stays as it is; ours where it is edited."""
    y, x = np.mgrid[:1024, :1024]
    protected = np.clip((3 * y + x) // 8 - 128, 0, 255).astype(np.uint8)
    edit, editor = published(reference_dir, "age", inversion), inversion.model.feature_editor
    edited = inversion.edit(edit, STRENGTHS["age"], mask=255 - protected)
    assert editor is not None
    assert edited.mask is not None
    mask = F.interpolate(1 - edited.mask, (64, 64), mode="bilinear", align_corners=False)
    before, now, _ = parts(edited)
    delta = (before - now)[None] * (1 - mask)
    arrays = {
        "mask64": mask[0, 0],
        **feature("delta", delta[0]),
        **feature("edited_feat", editor(features_of(edited).maps.maps, delta)[0]),
        **image("image", edited.unmasked()[0], 256, 128),
    }
    compare(parity, "sfe_edit_age_mask", reference_dir, arrays)


def test_more_edits(inversion: Inversion, reference_dir: Path, parity: Parity) -> None:
    arrays: dict[str, Any] = {}
    for name in ("boundary", "ganspace", "stylespace"):
        edited = inversion.edit(published(reference_dir, name, inversion), STRENGTHS[name])
        before, now, maps = parts(edited)
        arrays |= feature(f"{name}_delta", before - now) | feature(f"{name}_edited_feat", maps)
        arrays |= image(f"{name}_image", edited.tensor[0], 128, 64)
        if name == "ganspace":
            guide = features_of(edited).guide
            assert guide is not None
            arrays |= {"ganspace_w_edited": edited.w[0], "ganspace_w_e4e_edited": guide.w[0]}
    both = inversion.edit(published(reference_dir, "rotation", inversion), [-1.5, 2.5])
    for i, edited in enumerate(both):
        before, now, _ = parts(edited)
        x = (before - now).double()
        arrays |= image(f"rotation{i}_image", both.tensor[i], 64, 64)
        arrays[f"rotation{i}_delta_stats"] = torch.stack([x.mean(), x.std(unbiased=False), x.norm()])
    compare(parity, "sfe_edit_more", reference_dir, arrays)


@torch.no_grad()
def test_the_forward_of_a_training_step(inversion: Inversion, reference_dir: Path, parity: Parity) -> None:
    model = inversion.model
    network, editor, generator = model.sfe_inverter, model.feature_editor, model.generator
    edited = inversion.edit(edit := published(reference_dir, "age", inversion), STRENGTHS["age"])
    guide = features_of(edited).guide
    assert network is not None
    assert editor is not None
    assert guide is not None
    x_e, y_e = (Inversion(model, w).tensor for w in (guide.before, guide.w))
    w, predicted = network(model.domain.as_network_input(x_e))
    fused = network.fuse(predicted, own_maps(generator, generator.styles(w), LAYER))
    before, now, _ = parts(edited)
    maps = editor(fused, (before - now)[None])
    replaced = replace(features_of(inversion).maps, maps=maps)
    overrides = GeneratorOverrides(features=Features(replaced))
    result = Inversion(model, edit(w, torch.tensor([STRENGTHS["age"]])), overrides=overrides).tensor

    def small(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, 256)

    x = enlarged(recorded(reference_dir, "sfe_inversion"))
    pairs = small(torch.cat([inversion.tensor, result])), small(torch.cat([x, y_e]))
    arrays = {
        "target": F.adaptive_avg_pool2d(small(y_e), 128)[0],
        "made": F.adaptive_avg_pool2d(small(result), 128)[0],
        "w_x_e_raw": (w - network.latent_avg)[0],
        **feature("fused_feat", fused[0]),
        **feature("delta", before - now),
        **feature("edited_feat", maps[0]),
        "loss_l2": F.mse_loss(*pairs),
    }
    compare(parity, "sfe_training_pair", reference_dir, arrays)


def published(reference_dir: Path, name: str, inversion: Inversion) -> Edit:
    folder = reference_dir / "editing" / "directions"
    if name == "boundary":
        return load_edit(folder / "wplus_boundary" / "Smiling_boundary.npy", width=512)
    if name == "ganspace":
        return load_edit(folder / "ganspace" / "ffhq_pca.pt", component=37, rows=(0, 5))
    if name == "stylespace":
        layers = inversion.model.generator.layers
        channels = [(3, 288), (2, 175), (3, 120), (2, 97)]
        return channel_edit(layers, channels, "glasses", step=3.0, torgb_counted=True)
    return load_edit(folder / "interfacegan" / f"{name}.pt", width=512)
