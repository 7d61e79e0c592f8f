"""Small networks, and their files in published layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hyperstyle.networks.encoders.backbones import Backbone, TrunkConfig
from hyperstyle.networks.encoders.pyramid import (
    PyramidEncoder,
    PyramidEncoderConfig,
    RestyleEncoder,
    RestyleEncoderConfig,
)
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig

State = dict[str, Tensor]

RESNET = TrunkConfig((4, 6, 8, 12), (1, 2, 1, 1), stem_kernel=7, stem_stride=2, first_stride=1)
IRSE = TrunkConfig((4, 6, 8, 12), (1, 1, 2, 1), stem_kernel=3, stem_stride=1, first_stride=2)
TUNED = "0,2,3,5,6,8,9,11,12,14,15,17,18,20,21,23,24"


def _shaken(module: nn.Module) -> nn.Module:
    """The module in eval mode, none of whose tensors is as it was initialized."""
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            tensor.fill_(7)
        elif "running_var" in name:
            tensor.uniform_(0.5, 1.5)
        elif not name.endswith(".kernel"):
            tensor.add_(torch.randn_like(tensor) * 0.1)
    return module.eval().requires_grad_(False)


class OfficialFiles:
    """Writes files in the layouts of the official code, and keeps the networks they contain."""

    def __init__(self, folder: Path, size: int = 32, latent_width: int = 16) -> None:
        self.folder = folder
        config = GeneratorConfig(size, (16, 16, 16, 8, 6)[: len(bin(size)) - 4], latent_width, mapping_layers=2)
        self.generator: Generator = _shaken(Generator(config))  # type: ignore[assignment]
        self.opts: dict[str, Any] = {"dataset_type": "ffhq_hypernet", "output_size": size, "device": "cuda:0"}

    @property
    def config(self) -> GeneratorConfig:
        return self.generator.config

    def save(self, name: str, content: Any) -> Path:
        torch.save(content, self.folder / name)
        return self.folder / name

    def decoder(self) -> tuple[State, Tensor]:
        """The tensors of the generator, and its mean code."""
        state = dict(self.generator.state_dict())
        return state, state.pop("latent_avg")

    def hypernetwork(self, layers: str = TUNED, heads: Any = "shared", input_size: Any = (256, 256)) -> Hypernetwork:
        count = len(self.generator.layers)
        layer_indexes = [int(n) for n in layers.split(",") if int(n) < count] if layers else list(range(count))
        config = HypernetworkConfig(self.config, tuple(layer_indexes), input_size, RESNET, heads, 16)  # type: ignore[arg-type]
        network: Hypernetwork = _shaken(Hypernetwork(config))  # type: ignore[assignment]
        return network

    def hyperstyle_content(self, network: Hypernetwork, layers: str = TUNED, **opts: Any) -> dict[str, Any]:
        """As the official trainer saves it; the shared tensors are repeated in every block that uses them."""
        state = {f"hypernet.{name}": tensor for name, tensor in network.state_dict().items()}
        for index, head in network.refinement_blocks.items():
            for name in ("w1", "b1", "w2", "b2") if hasattr(head, "linear") else ():
                shared = state[f"hypernet.shared_weight_hypernet.{name}"]
                state[f"hypernet.refinement_blocks.{index}.hypernet.{name}"] = shared
        decoder, mean = self.decoder()
        kind = "SharedWeightsHyperNetResNet" + ("Separable" if network.config.heads == "separable" else "")
        return {
            "state_dict": {**state, **{f"decoder.{name}": tensor for name, tensor in decoder.items()}},
            "latent_avg": mean.expand(self.config.rows, -1).clone(),
            "opts": {**self.opts, "encoder_type": kind, "layers_to_tune": layers, "n_iters_per_batch": 3, **opts},
            "global_step": 0,
        }

    def hyperstyle(self, name: str = "hyperstyle.pt") -> tuple[Path, Hypernetwork]:
        network = self.hypernetwork()
        return self.save(name, self.hyperstyle_content(network)), network

    def encoder_content(self, encoder: nn.Module, kind: str, *, with_decoder: bool = True) -> dict[str, Any]:
        state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
        mean = state.pop("encoder.latent_avg")
        if with_decoder:
            state |= {f"decoder.{name}": tensor for name, tensor in self.decoder()[0].items()}
        opts = {**self.opts, "dataset_type": "ffhq_encode", "encoder_type": kind}
        return {"state_dict": state, "latent_avg": mean, "opts": opts}

    def w_encoder(
        self, name: str = "w_encoder.pt", *, with_decoder: bool = True, backbone: Backbone = "irse"
    ) -> tuple[Path, WEncoder]:
        width, trunk = self.config.latent_width, IRSE if backbone == "irse" else RESNET
        config = WEncoderConfig(self.config.rows, width, (256, 256), trunk, backbone=backbone)
        network: WEncoder = _shaken(WEncoder(config))  # type: ignore[assignment]
        network.latent_avg[:] = torch.randn(width)
        return self.save(name, self.encoder_content(network, "WEncoder", with_decoder=with_decoder)), network

    def restyle(
        self, kind: str = "ProgressiveBackboneEncoder", name: str = "restyle.pt"
    ) -> tuple[Path, RestyleEncoder]:
        resnet = kind.startswith("ResNet")
        config = RestyleEncoderConfig(
            self.config.rows,
            self.config.latent_width,
            (256, 256),
            "resnet" if resnet else "irse",
            RESNET if resnet else IRSE,
            "Progressive" in kind,
        )
        network: RestyleEncoder = _shaken(RestyleEncoder(config))  # type: ignore[assignment]
        network.latent_avg[:] = torch.randn(self.config.latent_width)
        return self.save("restyle.pt", self.encoder_content(network, kind)), network

    def pyramid(
        self, kind: str = "Encoder4Editing", name: str = "pyramid.pt", **numbers: Any
    ) -> tuple[Path, PyramidEncoder]:
        trunk = RESNET if numbers.get("backbone") == "resnet" else IRSE
        numbers = {"rows": self.config.rows, "latent_width": self.config.latent_width, "trunk": trunk, **numbers}
        config = PyramidEncoderConfig(**numbers, progressive=kind == "Encoder4Editing")
        network: PyramidEncoder = _shaken(PyramidEncoder(config))  # type: ignore[assignment]
        network.latent_avg[:] = torch.randn_like(network.latent_avg)  # another for every row
        return self.save(name, self.encoder_content(network, kind)), network

    def bare(self, name: str = "generator.pt", **more: Any) -> Path:
        state, mean = self.decoder()
        return self.save(name, {"g_ema": state, "latent_avg": mean, **more})


@pytest.fixture
def official(tmp_path: Path) -> OfficialFiles:
    """Files of a generator of 32 px with codes of 16."""
    return OfficialFiles(tmp_path)


@pytest.fixture
def official_at(tmp_path: Path) -> Callable[..., OfficialFiles]:
    """Files of a generator of another size or latent width."""
    return lambda **numbers: OfficialFiles(tmp_path, **numbers)


@pytest.fixture
def assert_same() -> Callable[[nn.Module, nn.Module], None]:
    """Asserts that two networks have the same numbers and the same tensors, bit for bit."""

    def check(loaded: nn.Module, expected: nn.Module) -> None:
        assert loaded.config == expected.config
        loaded_state, expected_state = loaded.state_dict(), expected.state_dict()
        assert set(loaded_state) == set(expected_state)
        assert [name for name in loaded_state if not torch.equal(loaded_state[name], expected_state[name])] == []
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())

    return check
