"""Names of files that promise another kind of content are refused by every writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from hyperstyle.cli import main
from hyperstyle.edits import DirectionEdit, EditInfo, StyleClip, save_edit
from hyperstyle.errors import CheckpointError, HyperStyleError, InversionError
from hyperstyle.images.formats import IMAGE_SUFFIXES
from hyperstyle.images.frames import CLIP_SUFFIXES
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io.file_kind import check_suffix


@pytest.fixture(scope="module")
def inversion(tiny_inverter: HyperStyleInverter) -> Inversion:
    return tiny_inverter.invert(torch.rand(3, 32, 32), align=False)


@pytest.mark.parametrize("name", ["me.png", "me.JPG", "me.heic", "me.mp4", "me.json", "me.npy", "me.txt"])
def test_an_inversion_does_not_replace_an_image_and_the_way_to_save_one_is_said(
    inversion: Inversion, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(InversionError, match=r"name of an? .*inversion\.image\.save"):
        inversion.save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["me.safetensors", "me.pt", "me", "me.v2", "me.inversion"])
def test_other_names_stay_allowed(
    inversion: Inversion, tiny_inverter: HyperStyleInverter, tmp_path: Path, name: str
) -> None:
    inversion.save(tmp_path / name)
    assert torch.equal(Inversion.load(tmp_path / name, tiny_inverter).tensor, inversion.tensor)


def test_so_it_is_with_everything_that_has_one_format(
    inversion: Inversion, tiny_inverter: HyperStyleInverter, tmp_path: Path
) -> None:
    effects: dict[str, Tensor] = {"b4.conv1": torch.rand(4, 3)}
    clip = StyleClip(effects, {"b4.conv1": torch.rand(4)})
    edit = DirectionEdit(torch.rand(16), EditInfo("up"))
    writers: dict[str, Callable[[Path], None]] = {
        "a.png": lambda path: inversion.export(path),
        "a.safetensors": lambda path: inversion.export(path),  # where the inversion may be saved
        "b.png": lambda path: inversion.export(path, "official"),
        "c.webp": lambda path: inversion.export(path, "offsets"),
        "c.pt": lambda path: inversion.export(path, "offsets"),
        "d.png": lambda path: tiny_inverter.save_pretrained(path),
        "e.mp4": lambda path: clip.save(path),
        "f.gif": lambda path: save_edit(edit, path),
    }
    for name, write in writers.items():
        with pytest.raises(HyperStyleError, match=rf"'.*{name}', the name of an? "):
            write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_be_called_as_a_file_of_weights_is(tmp_path: Path) -> None:
    check_suffix("faces.pt", advice="")
    check_suffix("faces.safetensors", advice="")
    with pytest.raises(CheckpointError, match=r"a folder to 'faces\.png', the name of an image file\. Rename it"):
        check_suffix("faces.png", advice="Rename it.", error=CheckpointError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "reconstruction", "--json", "out.png"], "a JSON file to 'out.png', the name of an image file"),
        (["evaluate", "editing", "--json", "out.webp"], "a JSON file to 'out.webp'"),
        (["bench", "--json", "out.safetensors"], "a JSON file to 'out.safetensors'"),
        (["fit", "sefa", "--out", "made", "--plot", "out.json"], "an image file to 'out.json'"),
        (["fit", "interfacegan", "--out", "made", "--save-table", "t.csv"], "a NumPy file to 't.csv'"),
        (["export", "--out", "generator.png"], "a PyTorch file to 'generator.png'"),
    ],
)
def test_commands_say_it_before_the_work(
    arguments: list[str], message: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_every_image_that_is_read_or_written_and_every_clip_has_its_suffix_among_the_refused() -> None:
    Image.init()
    written = [suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE]
    documents = {".pdf", ".eps", ".ps"}
    for suffix in (
        {*written, *IMAGE_SUFFIXES, *CLIP_SUFFIXES} - documents - {".h5", ".hdf", ".bufr", ".grib", ".wmf", ".emf"}
    ):
        with pytest.raises(CheckpointError, match=r"name of an? (image|video) file"):
            check_suffix(f"me{suffix}", "safetensors", advice="", error=CheckpointError)
    with pytest.raises(CheckpointError, match="name of an image file"):
        check_suffix("folder/me.png/", "PyTorch", advice="", error=CheckpointError)
