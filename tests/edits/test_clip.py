"""CLIP through open_clip: preparation of images, the loss, and where weights come from."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperstyle.edits import clip
from hyperstyle.edits.clip import OpenClip, clip_loss, prepare_averaged, prepare_bicubic
from hyperstyle.edits.protocol import TextImageEncoder
from hyperstyle.errors import (
    CheckpointError,
    ConfigError,
    EditError,
    HubError,
    ImageError,
    MissingDependencyError,
    MissingFileError,
    WeightsError,
)
from hyperstyle.io.components import save_tensors

TINY = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def open_clip() -> ModuleType:
    return pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def tiny(open_clip: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of the model "tiny-for-tests", which open_clip then knows."""
    config = tmp_path_factory.mktemp("clip") / "tiny-for-tests.json"
    config.write_text(json.dumps(TINY), encoding="utf-8")
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    return dict(open_clip.CLIP(**TINY).state_dict())


@pytest.fixture
def tiny_file(tiny: dict[str, Tensor], tmp_path: Path) -> Path:
    save_tensors(tmp_path / "clip.safetensors", tiny)
    return tmp_path / "clip.safetensors"


def test_images_are_enlarged_by_repetition_and_averaged() -> None:
    images = torch.rand(2, 3, 96, 64) * 2 - 1
    repeated = images.repeat_interleave(7, 2).repeat_interleave(7, 3)
    torch.testing.assert_close(prepare_averaged(images), F.avg_pool2d(repeated, (3, 2)))
    torch.testing.assert_close(prepare_averaged(images, 50), F.adaptive_avg_pool2d(repeated, 50))


@pytest.mark.parametrize("shape", [(1, 16), (100, 33), (250, 500)])
def test_images_of_any_size_are_prepared_and_keep_their_mean(shape: tuple[int, int]) -> None:
    images = torch.full((1, 3, *shape), 0.25)
    torch.testing.assert_close(prepare_averaged(images), torch.full((1, 3, 224, 224), 0.25))
    assert prepare_bicubic(images, 64).shape == (1, 3, 64, 64)


def test_gradients_flow_through_both_preparations() -> None:
    for prepare in (prepare_averaged, prepare_bicubic):
        images = torch.rand(1, 3, 40, 40, requires_grad=True)
        prepare(images).sum().backward()
        assert images.grad is not None
        assert (images.grad != 0).all()


def test_the_bicubic_preparation_removes_the_color_statistics_of_training() -> None:
    mean, std = torch.tensor(clip._MEAN)[:, None, None], torch.tensor(clip._STD)[:, None, None]
    images = (mean + std * torch.tensor([-1.0, 0.0, 1.0])[:, None, None]).expand(1, 3, 224, 224) * 2 - 1
    expected = torch.tensor([-1.0, 0.0, 1.0])[:, None, None].expand(1, 3, 224, 224)
    torch.testing.assert_close(prepare_bicubic(images), expected)


@pytest.mark.parametrize("images", [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8).byte()])
def test_what_is_no_image_is_refused(images: Tensor) -> None:
    for prepare in (prepare_averaged, prepare_bicubic):
        with pytest.raises(ImageError, match=r"expected images \[B, 3, h, w\]"):
            prepare(images)


def test_the_loss_is_one_minus_the_cosine_whatever_the_lengths() -> None:
    images, texts = torch.randn(3, 8), torch.randn(1, 8)
    losses = clip_loss(images, texts)
    torch.testing.assert_close(clip_loss(images * 5, texts / 3), losses)
    torch.testing.assert_close(clip_loss(texts, texts), torch.zeros(1))
    torch.testing.assert_close(losses, 1 - (F.normalize(images) * F.normalize(texts)).sum(1))


def test_without_open_clip_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingDependencyError, match=r"hyperstyle-inversion\[clip\]"):
        OpenClip()


def test_the_smallest_model_of_open_clip_encodes_texts_and_images(open_clip: Any, tmp_path: Path) -> None:
    name = "ViT-S-32-alt"
    save_tensors(tmp_path / "clip.safetensors", open_clip.CLIP(**open_clip.get_model_config(name)).state_dict())
    encoder = OpenClip(tmp_path / "clip.safetensors", model=name)
    assert isinstance(encoder, TextImageEncoder)
    texts = encoder.encode_text(["a face", " a face\n", "a car"])
    assert texts.shape == (3, 256)
    torch.testing.assert_close(texts[0], texts[1])
    assert not torch.isclose(texts[0], texts[2]).all()
    images = torch.rand(2, 3, 48, 64, requires_grad=True)
    features = encoder.encode_image(images)
    assert features.shape == (2, 256)
    clip_loss(features, texts[:1]).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_the_preparation_is_the_one_asked_for(tiny_file: Path) -> None:
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    for name, prepare in (("averaged", prepare_averaged), ("bicubic", prepare_bicubic)):
        encoder = OpenClip(tiny_file, model="tiny-for-tests", preparation=name)  # type: ignore[arg-type]
        expected = encoder._network.encode_image(prepare(images, 64))
        torch.testing.assert_close(encoder.encode_image(images), expected)
    with pytest.raises(ConfigError, match="'averaged' or 'bicubic'"):
        OpenClip(tiny_file, model="tiny-for-tests", preparation="both")  # type: ignore[arg-type]


def test_weights_are_read_from_the_files_of_open_clip(
    tiny: dict[str, Tensor], tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = OpenClip(tiny_file, model="tiny-for-tests").encode_text(["a face"])
    torch.save(tiny, tmp_path / "plain.pt")
    torch.save({"state_dict": {f"module.{k}": v for k, v in tiny.items()}, "epoch": 3}, tmp_path / "trained.pt")
    torch.save({f"_orig_mod.{k}": v for k, v in tiny.items()}, tmp_path / "compiled.pt")
    for name in ("plain.pt", "trained.pt", "compiled.pt"):
        encoded = OpenClip(tmp_path / name, model="tiny-for-tests").encode_text(["a face"])
        assert torch.equal(encoded, expected)
    monkeypatch.setenv(clip.VARIABLE, str(tiny_file))
    assert torch.equal(OpenClip(model="tiny-for-tests").encode_text(["a face"]), expected)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # PyTorch's; OpenAI published its weights so
def test_a_program_is_read_only_if_it_is_the_published_file(
    open_clip: Any, tiny: dict[str, Tensor], tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = {name: tensor.half().float() for name, tensor in tiny.items()}  # the published file has half precision
    save_tensors(tiny_file, rounded)
    network = open_clip.CLIP(**TINY)
    network.load_state_dict(rounded)
    del network.attn_mask  # no buffer in OpenAI's program
    network.forward = lambda x: x
    path = tmp_path / "program.pt"
    torch.jit.save(torch.jit.trace(network, torch.zeros(1)), path)
    with pytest.raises(
        CheckpointError, match="TorchScript program and not OpenAI's published file, and it was not run"
    ):
        OpenClip(path, model="tiny-for-tests")
    monkeypatch.setattr(clip, "_needed", lambda *_: (clip.sha256(path), "program.pt"))
    expected = OpenClip(tiny_file, model="tiny-for-tests").encode_text(["a face"])
    torch.testing.assert_close(OpenClip(path, model="tiny-for-tests").encode_text(["a face"]), expected)


def test_weights_that_do_not_fit_are_refused(
    tiny: dict[str, Tensor], tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="not those of 'ViT-S-32-alt'"):
        OpenClip(tiny_file, model="ViT-S-32-alt")
    torch.save({"state_dict": [1, 2]}, tmp_path / "odd.pt")
    with pytest.raises(WeightsError, match="no plain tensors"):
        OpenClip(tmp_path / "odd.pt", model="tiny-for-tests")
    with pytest.raises(MissingFileError, match="given as the weights of CLIP"):
        OpenClip(tmp_path / "nowhere.pt")
    monkeypatch.setenv(clip.VARIABLE, str(tmp_path / "nowhere.pt"))
    with pytest.raises(MissingFileError, match=clip.VARIABLE):
        OpenClip()


def test_offline_the_error_names_the_file_and_its_hash(
    open_clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(clip.VARIABLE, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE.*ViT-B-32\.pt of OpenAI's CLIP \(sha256 40d365715913c9da"):
        OpenClip()


def test_a_model_that_cannot_be_used_is_refused(
    open_clip: Any, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(clip.VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=r"no model 'ViT-B-33'.*Did you mean"):
        OpenClip(model="ViT-B-33")
    with pytest.raises(ConfigError, match="OpenAI published none"):
        OpenClip(model="ViT-S-32-alt")
    with pytest.raises(ConfigError, match="not built like CLIP"):
        OpenClip(tiny_file, model="coca_base")


def test_texts_are_a_list(tiny_file: Path) -> None:
    encoder = OpenClip(tiny_file, model="tiny-for-tests")
    for texts in ("a face", []):
        with pytest.raises(EditError, match="expected a list"):
            encoder.encode_text(texts)


@pytest.mark.reference
@pytest.mark.parametrize("size", [256, 64])
def test_preparation_and_loss_equal_the_recording(reference_dir: Path, size: int) -> None:
    folder = reference_dir / "editing"
    spec = importlib.util.spec_from_file_location("detrand", folder / "detrand.py")
    assert spec is not None
    assert spec.loader is not None
    detrand = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(detrand)
    golden = np.load(folder / "golden" / "styleclip_other.npz")
    facts = json.loads((folder / "golden" / "styleclip_other.json").read_text(encoding="utf-8"))[f"clip_prep_{size}"]
    base = json.loads((folder / "golden" / "set.json").read_text(encoding="utf-8"))["seed_base"]

    prepared = prepare_averaged(torch.from_numpy(detrand.image(base + 70, size, size)))[0]
    for line, key in ((prepared[:, 100], "row100"), (prepared[:, :, 7], "col7")):
        torch.testing.assert_close(line, torch.from_numpy(golden[f"clip_prep_{size}_{key}"]), atol=4e-6, rtol=0)
    assert float(prepared.mean()) == pytest.approx(facts["mean"], abs=1e-6)
    assert float(prepared.std()) == pytest.approx(facts["std"], abs=1e-5)
    features = torch.tensor([[0.275, (1 - 0.275**2) ** 0.5]])  # a cosine of 0.275 with the text: CLIP's logit is 27.5
    loss = clip_loss(features, torch.tensor([[3.0, 0.0]]))
    assert float(loss) == pytest.approx(facts["loss_for_logit_27_5"], abs=1e-6)
