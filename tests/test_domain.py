"""Domains: what kind of picture a model knows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.errors import ConfigError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.backbones import TrunkConfig
from hyperstyle.networks.encoders import WEncoder, WEncoderConfig
from hyperstyle.networks.generator import Generator, GeneratorConfig
from hyperstyle.networks.hypernetwork import Hypernetwork, HypernetworkConfig


def test_cars_lie_in_the_middle_rows_of_a_square() -> None:
    cars = DOMAINS["cars"]
    assert cars.content_size == (384, 512)
    image = torch.arange(512.0).view(1, 1, 512, 1).expand(1, 3, 512, 512)
    content = cars.content(image)
    assert content.shape == (1, 3, 384, 512)
    assert content[0, 0, [0, -1], 0].tolist() == [64, 447]
    assert cars.to_input(content).shape == (1, 3, 192, 256)
    assert cars.to_input(content)[0, 0, 0, 0] == 64.5  # the mean of two rows


def test_other_domains_use_the_whole_square() -> None:
    faces, image = DOMAINS["faces"], torch.randn(1, 3, 1024, 1024)
    assert faces.content(image) is image
    assert faces.content_size == (1024, 1024)
    pooled = faces.to_input(image)
    torch.testing.assert_close(pooled[0, 0, 3, 5], image[0, 0, 12:16, 20:24].mean())
    assert faces.to_input(pooled) is pooled


def test_a_domain_scales_with_its_generator() -> None:
    cars = DOMAINS["cars"].at_size(256)
    assert (cars.size, cars.content_rows, cars.input_size) == (256, (32, 224), (192, 256))
    assert DOMAINS["cars"].at_size(512) is DOMAINS["cars"]
    assert DOMAINS["faces"].at_size(256).content_rows is None


def test_the_known_domains_go_by_their_names() -> None:
    assert all(domain.name == name for name, domain in DOMAINS.items())
    assert all(domain.description.endswith(".") for domain in DOMAINS.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_rows": (100, 96)}, "do not lie in 0..128"),
        ({"content_rows": (0, 129)}, "do not lie in 0..128"),
        ({"content_rows": (16, 112), "aligner": "face"}, "square crops"),
        ({"input_size": (64,)}, "height, width"),
        ({"input_size": (0, 64)}, "height, width"),
        ({"size": 0}, "size=0"),
    ],
)
def test_a_domain_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Domain(**{"name": "mine", "size": 128, "input_size": (64, 64), **options})


def test_a_domain_of_ones_own_works_from_end_to_end() -> None:
    domain = Domain("plates", 128, input_size=(24, 32), content_rows=(16, 112))
    config = GeneratorConfig(128, (8, 8, 8, 8, 8, 8), latent_width=8, mapping_layers=2)
    trunk = TrunkConfig((8, 8), (1, 1), stem_kernel=3, stem_stride=2, first_stride=2, norm="group")
    hypernetwork = Hypernetwork(HypernetworkConfig(config, ("b16.conv1",), (24, 32), trunk, "compact", 8))
    for parameter in hypernetwork.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    inverter = HyperStyleInverter(
        Generator(config), WEncoder(WEncoderConfig(12, 8, (24, 32), trunk)), hypernetwork, domain=domain, steps=2
    )
    inversion = inverter.invert(Image.linear_gradient("L").resize((160, 120)))
    assert inversion.tensor.shape == (1, 3, 96, 128)
    assert inversion.image.size == (128, 96)
    assert inversion.crop is not None
    assert inversion.crop.shape == (1, 3, 24, 32)
    assert inversion.sources[0].placement is None
    assert not torch.equal(inversion.tensor, inversion.initial.tensor)
    whole = inverter.model.generator(inversion.w, inversion.offsets)
    torch.testing.assert_close(inversion.tensor, whole[:, :, 16:112], atol=2e-5, rtol=0)
