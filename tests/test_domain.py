"""Domains: what kind of image a model knows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import hyperstyle
from hyperstyle.cli import main
from hyperstyle.convert import read_generator
from hyperstyle.domain import DOMAINS, Domain
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.errors import ConfigError, InversionError
from hyperstyle.images import load_image, to_tensor
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.encoders.backbones import TrunkConfig
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig


def test_cars_lie_in_the_middle_rows_of_a_square() -> None:
    cars = DOMAINS["cars"]
    assert cars.content_size == (384, 512)
    image = torch.arange(512.0).view(1, 1, 512, 1).expand(1, 3, 512, 512)
    content = cars.content(image)
    assert content.shape == (1, 3, 384, 512)
    assert content[0, 0, [0, -1], 0].tolist() == [64, 447]
    assert cars.resize_to_input(content).shape == (1, 3, 192, 256)
    assert cars.resize_to_input(content)[0, 0, 0, 0] == 64.5  # the mean of two rows


def test_other_domains_use_the_whole_square() -> None:
    faces, image = DOMAINS["faces"], torch.randn(1, 3, 1024, 1024)
    assert faces.content(image) is image
    assert faces.content_size == (1024, 1024)
    pooled = faces.resize_to_input(image)
    torch.testing.assert_close(pooled[0, 0, 3, 5], image[0, 0, 12:16, 20:24].mean())
    assert faces.resize_to_input(pooled) is pooled


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


@pytest.fixture(scope="module")
def plates() -> HyperStyleInverter:
    """A domain of odd shape: images of 128 x 96 (w x h) in a generator of 128 px, seen at 64 x 48."""
    torch.manual_seed(0)
    domain = Domain("plates", 128, input_size=(48, 64), content_rows=(16, 112), description="Number plates.")
    config = GeneratorConfig(128, (8, 8, 8, 8, 8, 8), latent_width=8, mapping_layers=2)
    trunk = TrunkConfig((8, 8), (1, 1), stem_kernel=3, stem_stride=2, first_stride=2, norm="group")
    hypernetwork = Hypernetwork(HypernetworkConfig(config, ("b16.conv1",), (48, 64), trunk, "compact", 8))
    for parameter in hypernetwork.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    encoder = WEncoder(WEncoderConfig(12, 8, (48, 64), trunk))
    edits = {"dirt": DirectionEdit(torch.randn(8), EditInfo("dirt"))}
    return HyperStyleInverter(Generator(config), encoder, hypernetwork, domain=domain, edits=edits, steps=2)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of 160 x 120 that is stored lying on its side, as cameras do."""
    upright = Image.linear_gradient("L").resize((160, 120)).convert("RGB")
    upright.paste((200, 30, 30), (10, 20, 90, 50))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it back by 90 degrees clockwise to see it upright
    path = tmp_path / "plate.png"
    turned.save(path, exif=exif)
    return path


def test_an_image_gets_the_shape_of_its_domain_upright_and_as_a_whole(plates: HyperStyleInverter, photo: Path) -> None:
    for align in ("auto", False):
        inversion = plates.invert(photo, align=align)
        assert inversion.crop is not None
        upright = load_image(photo)
        assert upright.size == (160, 120)
        expected = to_tensor(upright.resize((64, 48), Image.Resampling.BILINEAR))
        assert torch.equal(inversion.crop, expected[None])
        assert inversion.sources[0].placement is None
        assert inversion.sources[0].note == "used as it is"
    tall = plates.invert(upright.resize((50, 200)))  # the shape of the photo is not kept, as in the published code
    assert tall.crop is not None
    assert tall.crop.shape == (1, 3, 48, 64)


def test_a_domain_of_ones_own_works_from_end_to_end(plates: HyperStyleInverter, photo: Path, tmp_path: Path) -> None:
    inversion = plates.invert([photo, photo])
    assert inversion.tensor.shape == (2, 3, 96, 128)
    assert inversion[0].image.size == (128, 96)
    assert not torch.equal(inversion.tensor, inversion.initial.tensor)
    full = plates.model.generator(inversion.w, inversion.offsets)
    torch.testing.assert_close(inversion.tensor, full[:, :, 16:112], atol=2e-5, rtol=0)
    metrics = inversion.metrics()
    assert inversion.crop is not None
    assert metrics["l2"] == pytest.approx(
        (plates.model.domain.as_network_input(full) - inversion.crop).square().mean((1, 2, 3)).tolist(), rel=1e-4
    )
    assert all(0 <= value <= 1 for value in metrics["ms_ssim"])

    plates.save_pretrained(tmp_path / "plates")
    again = HyperStyleInverter.from_pretrained(tmp_path / "plates", device="cpu")
    assert again.model.domain == plates.model.domain
    edited = inversion[0].edit("dirt", 2)
    edited.save(tmp_path / "plate.safetensors")
    loaded = Inversion.load(tmp_path / "plate.safetensors", again)
    assert torch.equal(loaded.tensor, edited.tensor)
    assert torch.equal(loaded.edit("dirt", -1).tensor, edited.edit("dirt", -1).tensor)
    with pytest.raises(InversionError, match="was not cut out of a photo"):
        loaded.paste_back(photo)

    loaded.export(tmp_path / "exported.pt")
    exported = read_generator(tmp_path / "exported.pt")
    image = again.model.domain.content(exported(loaded.w))
    torch.testing.assert_close(image, loaded.tensor, atol=5e-5, rtol=0)


def test_the_command_line_takes_a_domain_of_ones_own(
    plates: HyperStyleInverter, photo: Path, in_tmp_path: Path
) -> None:
    plates.save_pretrained("plates")
    assert main(["invert", str(photo), "--model", "plates", "--device", "cpu", "--out", "out", "--quiet"]) == 0
    with Image.open("out/plate.png") as reconstruction, Image.open("out/plate_sheet.png") as grid:
        assert reconstruction.size == (128, 96)
        assert grid.width > 3 * 128 > 2 * grid.height
    arguments = ["--model", "plates", "--device", "cpu", "--edit", "dirt=-1:1:3", "--out", "strip.png"]
    assert main(["edit", "out/plate.safetensors", *arguments]) == 0


def test_landmarks_are_refused_where_images_are_not_aligned(plates: HyperStyleInverter, photo: Path) -> None:
    with pytest.raises(ConfigError, match="'plates' images are not aligned by them"):
        plates.invert(photo, landmarks=[[1, 2]] * 5)


def test_what_comes_with_the_library_is_for_models_of_avatars_only(
    plates: HyperStyleInverter, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [name for name, domain in DOMAINS.items() if domain.is_rendered] == ["avatars"]
    plates.save_pretrained("plates")
    for command, said in (
        (["demo", "--out", "shown"], "this model's domain is 'plates'"),
        (["evaluate", "reconstruction", "--optimized", "0"], "no images of the domain 'plates' come with the library"),
    ):
        assert main([*command, "--model", "plates", "--device", "cpu"]) == 2
        assert said in capsys.readouterr().err


def test_no_code_asks_for_the_name_of_a_domain() -> None:
    package = Path(hyperstyle.__file__).parent
    asking = []
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and any(
                isinstance(part, ast.Constant) and part.value in DOMAINS for part in ast.walk(node)
            ):
                asking.append(f"{file.name}:{node.lineno}")
    assert asking == []


def test_images_are_averaged_down_or_read_at_points() -> None:
    image = torch.rand(1, 3, 64, 64)
    average, point = (Domain("d", 64, (16, 16), sampling=s).as_network_input(image) for s in ("average", "point"))
    torch.testing.assert_close(average[..., 0, 0], image[..., :4, :4].mean((2, 3)))
    torch.testing.assert_close(point[..., 0, 0], image[..., 1:3, 1:3].mean((2, 3)))
