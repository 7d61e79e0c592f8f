"""The features of VGG16."""

from __future__ import annotations

import pytest
import torch

from hyperstyle.errors import ConfigError
from hyperstyle.networks.perception.vgg import Vgg16, Vgg16Config


def test_images_are_seen_blue_first_in_bytes_less_their_mean() -> None:
    network = Vgg16(Vgg16Config((3,), (1,)))
    network.features[0].weight.data = torch.eye(3)[:, :, None, None] * torch.ones(3, 3).where(
        torch.arange(9).view(3, 3) == 4, torch.zeros(1)
    )
    network.features[0].bias.data.zero_()
    red = torch.tensor([1.0, -1.0, 0.5])[None, :, None, None].expand(1, 3, 4, 4)
    seen = network(red)[0, :, 1, 1]
    torch.testing.assert_close(seen, torch.tensor([191.25 - 103.939, 0.0, 255 - 123.68]))


def test_the_published_numbers_end_after_the_third_convolution_of_the_fourth_block() -> None:
    with torch.device("meta"):
        network = Vgg16(Vgg16Config())
    places = [int(name.split(".")[1]) for name, _ in network.named_parameters() if name.endswith("weight")]
    assert places == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21]
    assert network.features(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 512, 8, 8)


def test_numbers_that_make_no_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="as many, positive"):
        Vgg16Config((4, 8), (1,))
