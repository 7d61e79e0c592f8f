"""What a user gives as a mask, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hyperstyle.domain import REGIONS
from hyperstyle.errors import ConfigError, HyperStyleError, ImageError
from hyperstyle.images.masks import check_not_empty, is_region, read_mask, rounded_mask

SIZE = (24, 32)
LEVELS = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
GRAY = Image.fromarray(LEVELS)


def png(image: Image.Image) -> bytes:
    memory = io.BytesIO()
    image.save(memory, "PNG")
    return memory.getvalue()


@pytest.mark.parametrize(
    "source",
    [
        GRAY,
        GRAY.convert("RGB"),
        png(GRAY),
        io.BytesIO(png(GRAY)),
        LEVELS,
        LEVELS[None],
        LEVELS[::-1].copy()[::-1],
        torch.from_numpy(LEVELS),
        LEVELS / 255,
        (LEVELS / 255).astype(np.float32),
        torch.from_numpy(LEVELS / 255)[None, None].requires_grad_(),
        torch.from_numpy(LEVELS / 255).expand(3, 1, *SIZE),
    ],
)
def test_an_image_an_array_and_a_tensor_are_the_same_mask(source: Any) -> None:
    mask = rounded_mask(read_mask(source, SIZE, 3))
    assert mask.dtype == torch.float32
    assert not mask.requires_grad
    assert mask.shape == (3, 1, *SIZE)
    assert torch.equal(mask[2, 0].mul(255).round().byte(), torch.from_numpy(LEVELS))


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint16", "float16", "float64", ">f4"])
def test_ones_and_zeros_of_any_type_are_taken(dtype: str) -> None:
    is_set = LEVELS > 100
    assert torch.equal(read_mask(is_set.astype(dtype), SIZE, 1)[0, 0] == 1, torch.from_numpy(is_set))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_ones_and_zeros_of_a_tensor_are_taken(dtype: torch.dtype) -> None:
    is_set = torch.from_numpy(LEVELS > 100)
    assert torch.equal(read_mask(is_set.to(dtype), SIZE, 1)[0, 0] == 1, is_set)


def test_a_file_is_read_and_each_image_may_have_a_mask_of_its_own(tmp_path: Path) -> None:
    GRAY.save(tmp_path / "mask.png")
    assert torch.equal(read_mask(tmp_path / "mask.png", SIZE, 1), read_mask(LEVELS, SIZE, 1))
    both = torch.stack([torch.zeros(1, *SIZE), torch.ones(1, *SIZE)])
    assert torch.equal(read_mask(both, SIZE, 2), both.double())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (GRAY.resize((64, 48)), "The mask is 64 x 48 px and the reconstruction 32 x 24 px: expected one of its size"),
        (LEVELS.T, "The mask is 24 x 32 px and the reconstruction 32 x 24 px"),
        (np.stack([LEVELS] * 3, axis=-1), "The mask is 3 x 32 px"),
        (LEVELS[None, None, None], r"has the shape \[1, 1, 1, 24, 32\]: expected \[24, 32\], or \[3, 1, 24, 32\]"),
        (torch.ones(2, 1, *SIZE), r"has the shape \[2, 1, 24, 32\]: expected \[24, 32\], or \[3, 1, 24, 32\]"),
        (LEVELS[0], r"has the shape \[32\]"),
        (np.zeros(()), r"has the shape \[\]"),
        (np.where(LEVELS > 9, np.nan, 0.5), "holds NaN or infinite values"),
        (np.full(SIZE, np.inf), "holds NaN or infinite values"),
        (LEVELS / 200, r"values from 0 to 1.275. Expected 0..1, or uint8 in 0..255"),
        (LEVELS.astype(np.int64), "values from 0 to 255"),
        (LEVELS / 255 - 0.1, "values from -0.1 to 0.9"),
        ((LEVELS > 100).astype(np.uint8), "uint8 with no value above 1.* Multiply it by 255, or make it bool"),
        (LEVELS.astype(complex), "The mask is complex128. Expected bool, uint8"),
        (torch.ones(SIZE, dtype=torch.complex64), "The mask is torch.complex64. Expected bool, uint8"),
        (LEVELS.astype(str), "The mask is <U.*Expected bool"),
        (torch.ones(SIZE).to_sparse(), "The mask is sparse"),
        (torch.ones(SIZE, device="meta"), "The mask has no numbers"),
        (b"no image", "in the given bytes"),
        ("nowhere.png", "There is no file"),
        (3, "An image cannot be made of a value of type int"),
    ],
)
def test_what_is_no_mask_of_the_image_is_refused(source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_mask(source, SIZE, 3)


def test_a_mask_that_lets_nothing_change_is_refused() -> None:
    check_not_empty(rounded_mask(torch.full((1, 1, *SIZE), 0.01)), "Paint.")
    with pytest.raises(ImageError, match=r"The mask is empty \(0 everywhere\): nothing could change"):
        check_not_empty(rounded_mask(torch.full((1, 1, *SIZE), 0.001)), "Paint.")
    with pytest.raises(ImageError, match="The mask of image 1 is empty"):
        check_not_empty(torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1).expand(2, 1, *SIZE), "Paint.")


def test_text_names_a_region_or_a_file(tmp_path: Path) -> None:
    assert all(is_region(region) for region in REGIONS)
    GRAY.save(tmp_path / "mask.png")
    assert not is_region(str(tmp_path / "mask.png"))
    assert not is_region(Path("mouth"))
    assert not is_region(LEVELS)
    with pytest.raises(ConfigError, match=r"the mask 'mouht' is neither .* nor a file. .*Did you mean 'mouth'"):
        is_region("mouht")
    with pytest.raises(HyperStyleError, match=r"neither a region of the face nor a file\. Available: brows, eyes"):
        is_region("mask.jpg")
