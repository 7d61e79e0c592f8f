"""Images to train on: sources, sizes, modes, damage, splitting and batches."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hyperstyle.align.aligners import AutoDetector
from hyperstyle.align.mtcnn import MtcnnDetector
from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, ImageError, TrainingWarning
from hyperstyle.model.parts import Model
from hyperstyle.networks.stylegan2.generator import Generator
from hyperstyle.training.data import open_data
from hyperstyle.training.images import TrainingImages, open_images
from hyperstyle.training.options import DataOptions

SIZE = (32, 32)
FACE_IN_PLACE = 32 * np.array([(0.375, 0.475), (0.625, 0.475), (0.5, 0.6), (0.4, 0.725), (0.6, 0.725)]) - 0.5


def write_image(path: Path, level: int = 128, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), level, np.uint8)
    pixels[:, : size[0] // 2] //= 2  # the left half is darker
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images, each of a level of its own, in a folder with folders."""
    for k in range(7):
        write_image(tmp_path / "photos" / ("deep/er" if k % 2 else "") / f"{k}.png", 20 + 30 * k)
    return tmp_path / "photos"


@pytest.fixture
def base(generator: Generator) -> Model:
    """A model without an aligner."""
    return Model(generator, Domain("plates", 32, SIZE))


def levels(dataset: TrainingImages) -> dict[str, int]:
    """Name (the last part) -> level of the right half."""
    images = dataset.load(range(len(dataset)))
    assert len(images) == len(dataset)
    shown = ((images[:, 0, 0, -1] + 1) * 127.5).round().int().tolist()
    return {name.rpartition("/")[2]: level for name, level in zip(dataset.names, shown, strict=True)}


EXPECTED = {f"{k}.png": 20 + 30 * k for k in range(7)}


class TestSources:
    def test_a_folder_is_searched_to_its_depth_in_the_order_of_names(self, folder: Path) -> None:
        (folder / "notes.md").write_text("no image")
        (folder / "._0.png").write_text("what macOS leaves behind")
        dataset = open_images(folder, SIZE)
        assert dataset.names == ("0.png", "2.png", "4.png", "6.png", "deep/er/1.png", "deep/er/3.png", "deep/er/5.png")
        assert levels(dataset) == EXPECTED

    def test_a_folder_is_visited_once_whatever_links_lead_to_it(self, folder: Path, tmp_path: Path) -> None:
        write_image(tmp_path / "elsewhere" / "x.png")
        names = open_images(folder, SIZE).names
        for place, target in (("here", folder), ("deep/up", folder), ("deep/er/out", tmp_path / "elsewhere")):
            (folder / place).symlink_to(target, target_is_directory=True)
        (tmp_path / "elsewhere" / "back").symlink_to(folder, target_is_directory=True)
        assert open_images(folder, SIZE).names == tuple(sorted((*names, "deep/er/out/x.png")))

    def test_a_list_names_files_relative_to_it(self, folder: Path) -> None:
        lines = "# chosen\n4.png\n\ndeep/er/1.png\n4.png\n"
        (folder / "list.txt").write_text(lines, encoding="utf-8")
        dataset = open_images(folder / "list.txt", SIZE)
        assert dataset.names == ("4.png", "deep/er/1.png")
        assert levels(dataset) == {"4.png": 140, "1.png": 50}

    def test_a_zip_gives_the_names_of_the_folder(self, folder: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*.png"), reverse=True):
                archive.write(file, file.relative_to(folder).as_posix())
        dataset = open_images(tmp_path / "all.zip", SIZE, workers=3)
        assert dataset.names == open_images(folder, SIZE).names
        assert levels(dataset) == EXPECTED

    @pytest.mark.parametrize("source", ["shards", "shards/part-{00..01}.tar"])
    def test_tar_shards_are_read_by_folder_or_range(self, source: str, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "shards").mkdir()
        files = sorted(folder.rglob("*.png"))
        for k in range(2):
            with tarfile.open(tmp_path / "shards" / f"part-0{k}.tar", "w") as archive:
                for file in files[k::2]:
                    archive.add(file, file.name)
                archive.add(__file__, "0.json")  # what else WebDataset keeps of a sample
        dataset = open_images(tmp_path / source, SIZE)
        assert dataset.names[0] == "part-00.tar/0.png"
        assert levels(dataset) == EXPECTED

    def test_a_single_tar_is_a_source(self, folder: Path, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "one.tar", "w") as archive:
            archive.add(folder / "0.png", "000.png")
        assert open_images(tmp_path / "one.tar", SIZE).names == ("000.png",)

    def test_files_are_judged_by_what_they_hold_wherever_they_lie(self, folder: Path, tmp_path: Path) -> None:
        more = tmp_path / "more"
        shutil.copytree(folder, more)
        for name in ("5.jfif", "6", ".tmp-1/7.png", ".8.png"):
            (more / name).parent.mkdir(exist_ok=True)
            shutil.copy(folder / "4.png", more / name)
        for name, content in (("0.npy", b"\x93NUMPY"), ("0.txt", b"a face"), ("9.svg", b"<svg/>")):
            (more / name).write_bytes(content)
        files = sorted(file for file in more.rglob("*") if file.is_file())
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(more).as_posix())
        with tarfile.open(tmp_path / "all.tar", "w") as tar:
            for file in files:
                tar.add(file, file.relative_to(more).as_posix())
        expected = {*open_images(folder, SIZE).names, "5.jfif", "6"}
        for source in (more, tmp_path / "all.zip", tmp_path / "all.tar"):
            dataset = open_images(source, SIZE)
            assert set(dataset.names) == expected
            assert [name for name, why in dataset.failures.items() if why.startswith("is an SVG file")] == ["9.svg"]
            assert all(part.failures == dataset.failures for part in dataset.split(0.5))
            assert len(dataset.load(range(len(dataset)))) == len(dataset)

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"There is no image in '.*\(looked at names.*Give a source"):
            open_images(tmp_path, SIZE)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("gone", None, r"There is no '.*gone'; expected a folder of images"),
            ("gone.tar", None, r"There is no '.*gone.tar'"),
            ("part-{0..3}.tar", None, "4 of the 4 shards .* are not there"),
            ("part-{0..1000000000000}.tar", None, "stands for more than 1,000,000 shards"),
            ("a.tar.gz", b"x", "is one file; expected a folder"),
            ("a.zip", b"no archive", "Cannot read the archive"),
            ("a.tar", b"no archive" * 100, "Cannot read the shard .*not compressed"),
            ("a.txt", b"\xff\xfe\xff", "is no list"),
            ("b.txt", b"# nothing\n", "There is no image in"),
        ],
    )
    def test_what_is_no_source_is_refused_with_what_would_be(
        self, name: str, content: bytes | None, message: str, tmp_path: Path
    ) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=message):
            open_images(tmp_path / name, SIZE)


class TestPicturesOfAllKinds:
    def test_mixed_sizes_and_modes_come_out_alike(self, tmp_path: Path) -> None:
        for k, (mode, size) in enumerate(
            [("RGB", (64, 64)), ("L", (17, 40)), ("RGBA", (32, 32)), ("P", (50, 33)), ("1", (33, 50)), ("LA", (16, 16))]
        ):
            write_image(tmp_path / f"{k}.png", 255, size, mode)
        write_image(tmp_path / "7.jpg", 255, (300, 20), "CMYK")
        images = open_images(tmp_path, (24, 32)).load(range(7))
        assert images.shape == (7, 3, 24, 32)
        assert images.dtype == torch.float32
        assert images[..., -1].min() > 0.95

    def test_one_that_cannot_be_decoded_is_left_out_and_listed(self, folder: Path) -> None:
        data = (folder / "2.png").read_bytes()
        (folder / "2.png").write_bytes(data[: len(data) // 2])
        (folder / "4.png").write_text("no image")
        dataset = open_images(folder, SIZE, workers=2)
        assert len(dataset.load([0, 1, 2, 3])) == 2
        assert set(dataset.failures) == {"2.png", "4.png"}
        assert "is not an image" in dataset.failures["4.png"]

    def test_damaged_members_of_archives_are_listed_too(self, folder: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.writestr("bad.png", b"no image")
            archive.write(folder / "0.png", "good.png")
        dataset = open_images(tmp_path / "all.zip", SIZE)
        assert len(dataset.load([0, 1])) == 1
        assert "all.zip/bad.png" in dataset.failures["bad.png"]

    def test_only_bad_ones_give_an_empty_tensor_and_no_batch(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_text("no image")
        dataset = open_images(tmp_path, SIZE)
        assert dataset.load([0]).shape == (0, 3, 32, 32)
        with pytest.raises(ImageError, match=r"1 of 1 images cannot be read, the first of them 'a.png'"):
            dataset.batch(0, 2, 0)

    def test_squares_are_cut_to_their_content_and_others_taken_whole(self, tmp_path: Path) -> None:
        padded = np.zeros((64, 64, 3), np.uint8)
        padded[8:56] = 255
        Image.fromarray(padded).save(tmp_path / "a.png")
        Image.fromarray(padded[8:56]).save(tmp_path / "b.png")
        images = open_images(tmp_path, (24, 32), content=(64, 448)).load([0, 1])
        assert images.min() == 1

    def test_faces_are_cut_out_where_an_aligner_is_given(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", 200, (40, 30))
        write_image(tmp_path / "b.png", 200, (32, 32))
        write_image(tmp_path / "c.png", 200, (32, 32))
        dataset = open_images(tmp_path, SIZE, aligner=lambda image: [])
        with pytest.warns(TrainingWarning, match=r"^'b.png' is square and taken as an aligned crop, since no face"):
            assert len(dataset.load([0, 1])) == 1
        assert len(dataset.load([0, 1, 2])) == 2  # without a further warning, which would be an error here
        assert "no face found in 'a.png'" in dataset.failures["a.png"]
        assert dataset.unaligned == dict.fromkeys(("b.png", "c.png"), "no face was found in it")
        found = open_images(tmp_path, SIZE, aligner=lambda image: [FACE_IN_PLACE])
        assert len(found.load([1, 2])) == 2
        assert found.unaligned == {}


class TestSplitting:
    def names(self, count: int, tmp_path: Path) -> TrainingImages:
        lines = "\n".join(f"{k}.png" for k in range(count))
        (tmp_path / "list.txt").write_text(lines, encoding="utf-8")
        return open_images(tmp_path / "list.txt", SIZE)

    def test_every_image_is_in_one_part_and_the_share_is_kept(self, tmp_path: Path) -> None:
        dataset = self.names(1000, tmp_path)
        train, test = dataset.split(0.1)
        assert set(train.names) | set(test.names) == set(dataset.names)
        assert len(train) + len(test) == 1000
        assert 70 < len(test) < 130

    def test_more_images_leave_the_held_out_ones_held_out(self, tmp_path: Path) -> None:
        few = self.names(100, tmp_path).split(0.1)[1]
        many = self.names(300, tmp_path).split(0.1)[1]
        assert set(few.names) < set(many.names)

    @pytest.mark.parametrize(("count", "expected"), [(1, (1, 1)), (2, (1, 1)), (3, (2, 1))])
    def test_neither_part_of_a_few_images_is_empty(self, count: int, expected: tuple[int, int], tmp_path: Path) -> None:
        train, test = self.names(count, tmp_path).split(0.01)
        assert (len(train), len(test)) == expected

    def test_nothing_is_held_out_with_a_share_of_zero(self, tmp_path: Path) -> None:
        assert [len(part) for part in self.names(5, tmp_path).split(0)] == [5, 0]

    def test_held_out_images_of_their_own_replace_the_share(self, folder: Path, base: Model) -> None:
        data = open_data(DataOptions(str(folder), str(folder / "deep")), base)
        assert (len(data.images), len(data.held_out)) == (7, 3)

    def test_the_aligner_is_chosen_by_name(self, folder: Path, base: Model) -> None:
        faces = replace(base, domain=replace(base.domain, aligner="face"))
        for name, kind in (("auto", AutoDetector), ("mtcnn:weights", MtcnnDetector)):
            data = open_data(DataOptions(str(folder), align="auto", aligner=name), faces)
            assert isinstance(data.images._aligner, kind)
        for align, aligner, message in (
            ("auto", "none", "this domain has no aligner"),
            ("auto", "mtcn", "there is no aligner 'mtcn'"),
            ("no", "mtcnn", "data.aligner is 'mtcnn', and data.align is \"no\""),
        ):
            with pytest.raises(ConfigError, match=message):
                open_data(DataOptions(str(folder), align=align, aligner=aligner), faces)  # type: ignore[arg-type]

    def test_aligning_needs_an_aligner(self, folder: Path, base: Model) -> None:
        with pytest.raises(ConfigError, match=r'data.align is "auto", and this domain has no aligner'):
            open_data(DataOptions(str(folder), align="auto"), base)


class TestBatches:
    def test_a_batch_depends_on_seed_and_step_alone(self, folder: Path) -> None:
        straight = open_images(folder, SIZE, workers=3)
        expected = [straight.batch(step, 4, 5, 0.5) for step in range(6)]
        resumed = open_images(folder, SIZE)
        for step in (5, 2, 3):
            images, indices = resumed.batch(step, 4, 5, 0.5)
            assert images.equal(expected[step][0])
            assert indices == expected[step][1]
        assert [resumed.batch(step, 4, 6, 0.5)[1] for step in range(6)] != [indices for _, indices in expected]

    def test_every_image_comes_once_before_any_comes_again(self, folder: Path) -> None:
        dataset = open_images(folder, SIZE)
        seen = [index for step in range(7) for index in dataset.batch(step, 3, 0)[1]]
        for epoch in range(3):
            assert sorted(seen[7 * epoch : 7 * epoch + 7]) == list(range(7))
        assert seen[:7] != seen[7:14]

    def test_the_parts_of_a_batch_are_the_batch(self, folder: Path) -> None:
        dataset = open_images(folder, SIZE)
        images, indices = dataset.batch(3, 6, 1, 0.5)
        for k in range(3):
            part = dataset.batch(3, 6, 1, 0.5, part=(k, 3))
            assert part[0].equal(images[k::3])
            assert part[1] == indices[k::3]

    def test_some_images_are_mirrored(self, folder: Path) -> None:
        dataset = open_images(folder, SIZE)
        plain, mirrored = dataset.batch(0, 4, 0, 0.0), dataset.batch(0, 4, 0, 1.0)
        assert mirrored[1] == plain[1]
        assert mirrored[0].equal(plain[0].flip(-1))
        assert not mirrored[0].equal(plain[0])
        images = torch.cat([dataset.batch(step, 4, 0, 0.5)[0] for step in range(10)])
        assert 8 < (images[..., 0] > images[..., -1]).any((1, 2)).sum() < 32

    def test_a_bad_image_is_replaced_the_same_way_every_time(self, folder: Path) -> None:
        (folder / "4.png").write_text("no image")
        first, second = open_images(folder, SIZE), open_images(folder, SIZE, workers=2)
        second.load(range(7))  # knows what is bad before
        for step in range(5):
            (images, indices), other = first.batch(step, 4, 0), second.batch(step, 4, 0)
            assert indices == other[1]
            assert 2 not in indices
            assert images.equal(other[0])
        assert set(first.failures) == {"4.png"}
