"""Any image to a tensor and back: orientation, color modes, sizes. No other file knows pixel ranges.

Inside the library an image is a float32 tensor [B, 3, H, W] in [-1, 1], RGB; outside it is a `PIL.Image`.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Union

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.errors import ConfigError, ImageError, QualityWarning, warn
from hyperstyle.images.color_modes import as_photo, flatten, quiet, turn_of
from hyperstyle.images.formats import MAX_PIXELS, check_opened, open_image
from hyperstyle.io.limits import oddity

if TYPE_CHECKING:  # who only lists or writes images does not wait for torch
    from torch import Tensor


class BinaryFile(Protocol):
    """An object that is open for reading bytes: a file, `io.BytesIO`, the upload object of a web framework."""

    def read(self, size: int = -1, /) -> bytes:
        """The next `size` bytes; with -1 all that are left."""


ImageSource = Union[
    str, os.PathLike[str], bytes, bytearray, memoryview, BinaryFile, Image.Image, npt.NDArray[Any], "Tensor"
]
"""What `load_image` takes."""

MIN_SIDE = 16
"""Shorter side of the smallest image that `load_image` takes, in pixels."""

EXAMPLES = 5
"""How many portraits come with the library."""

_PHOTOS = Path(__file__).parents[1] / "avatars" / "photos"
_OVERSHOOT = 10.0  # network outputs leave [-1, 1] by a little; values beyond this are of another range
_MULTI_FRAME_FORMATS = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")  # further frames or pages are images like the first


def load_image(source: ImageSource) -> Image.Image:
    """Read any image as a new, plain RGB image in its upright position, without metadata.

    Grays, palettes, CMYK and YCbCr become RGB; transparency is laid over white; grays of 16 bits are scaled
    to 8. Files are read in the formats of `images.FORMATS`, which are decoded without starting other programs, and as
    HEIC, what iPhones write, where pi-heif is installed (the extra "heic").

    Args:
        source: a path; the content of an image file as bytes, bytearray or memoryview; a file that is open in binary
            mode, which is read from its position to its end and, where it can seek, set back to that position; a PIL
            image; a uint8 array [H, W, 3], [H, W, 4] or [H, W]; or a floating-point tensor [3, H, W] or [1, 3, H, W] in
            [-1, 1], whose values outside are clipped, since networks overshoot.

    Raises:
        ImageError: the image cannot be read or used: no such file, not an image, of a format that is not read, cut
            off, below `MIN_SIDE` pixels on a side, above `MAX_PIXELS`, not finite, of a wrong shape or type.
        MissingDependencyError: HEIC without pi-heif, or AVIF with a Pillow before 11.3.

    Warns:
        QualityWarning: an animation or a TIFF file of several pages, of which the first is taken; a tensor without a
            value below 0, which is probably in [0, 1].
    """
    with _decoded(source) as image:
        return flatten(image, copy=image is source, turn=turn_of(image))


def view_image(source: ImageSource) -> Image.Image:
    """`load_image` for reading only: the pixels may be those of the PIL image that was given."""
    with _decoded(source) as image:
        return flatten(image, copy=False, turn=turn_of(image))


def load_photo(source: ImageSource) -> Image.Image:
    """`load_image` for a photo of which a part is edited: alpha channel, ICC profile and EXIF data are kept.

    RGB, or RGBA where the image is transparent in places, upright; see `color_modes.as_photo`. Flattened, it is what
    `load_image` gives. Arguments, errors and warnings are the same.
    """
    with _decoded(source) as image:
        return as_photo(image, copy=image is source)


def example_photo(number: int = 0) -> Image.Image:
    """A portrait of 640 x 800 px (RGB), the head tilted and off center, with details such as jewellery or a hat.

    The portraits are rendered, framed like photos and not yet cropped, for first trials.

    Args:
        number: of the portrait, 0 to 4.

    Raises:
        ConfigError: there is no portrait of this number.
    """
    if number not in range(EXAMPLES):
        raise ConfigError(f"there is no example photo {number!r}: expected 0 to {EXAMPLES - 1}.")
    return load_image(_PHOTOS / f"{int(number)}.png")


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as a float32 tensor [3, H, W] in [-1, 1]; other modes are flattened as by `load_image`.

    The order of operations is that of the published networks' input, so the values agree to the last bit.
    """
    import torch

    pixels = torch.from_numpy(np.array(image if image.mode == "RGB" else flatten(image)))  # [H,W,3]
    return pixels.permute(2, 0, 1).contiguous().float().div(255).sub(0.5).div(0.5)


def to_pil(tensor: Tensor) -> Image.Image:
    """A tensor [3, H, W] in [-1, 1] as an RGB image; values outside are clipped.

    Values are rounded to the nearest of the 256 levels, which makes `to_pil(to_tensor(image))` exact. The
    official code truncates instead: its saved images are half a level darker on average.

    Raises:
        ImageError: a wrong shape or type, or values that are not finite.
    """
    if tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.is_floating_point():
        raise ImageError(
            f"Expected a float tensor [3, H, W] in [-1, 1], got {tensor.dtype} {list(tensor.shape)}. "
            "For a batch [B, 3, H, W] use to_images."
        )
    levels = to_levels(tensor).round().byte()
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def to_levels(tensor: Tensor) -> Tensor:
    """Values in [-1, 1] (clipped to it), of any shape, as float32 on the CPU in 0..255, not rounded.

    Raises:
        ImageError: values that are not finite.
    """
    values = tensor.detach().cpu().float()
    finite = values.isfinite()
    if not bool(finite.all()):
        raise ImageError(
            f"{int((~finite).sum())} of the {values.numel()} values of a tensor {list(tensor.shape)} are not "
            "finite (NaN or infinite). Expected [-1, 1]: check what it was computed from."
        )
    return values.clamp(-1, 1).add(1).mul(127.5)


def to_images(tensor: Tensor) -> list[Image.Image]:
    """A batch [B, 3, H, W] in [-1, 1] as a list of B RGB images; see `to_pil`."""
    if tensor.ndim != 4:
        raise ImageError(
            f"Expected a batch [B, 3, H, W], got a tensor {list(tensor.shape)}. "
            "For a single image [3, H, W] use to_pil."
        )
    return [to_pil(image) for image in tensor]


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image at `size` = (height, width), bilinear with antialiasing; itself where it has that size."""
    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling.BILINEAR)


def reduce_to(image: Image.Image, longest: int) -> Image.Image:
    """The image with its longer side at `longest` pixels; itself where that is no longer."""
    scale = min(longest / max(image.size), 1.0)
    return resize(image, (max(round(image.height * scale), 1), max(round(image.width * scale), 1)))


@contextmanager
def _decoded(source: ImageSource) -> Iterator[Image.Image]:
    """The source as an open, decoded PIL image of any mode and orientation, of a size within the limits.

    An ImageError that is raised within is given the name of the source; at the end, further frames are warned of.
    """
    image, name = _opened(source)
    with nullcontext() if image is source else image:  # an image that the caller opened stays open
        _check_size(*image.size, name)
        try:
            with quiet():
                image.load()
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{name} is too large for a file of its format: {error} Reduce or cut it first."
            ) from error
        except Exception as error:  # of any class: decoders raise all kinds of errors on damaged data
            raise ImageError(
                f"{name} is damaged or cut off and cannot be decoded ({error}). Get a whole copy of the file."
            ) from error
        is_first = image.tell() == 0  # a later one was chosen by the caller
        try:
            yield image
        except ImageError as error:
            raise ImageError(f"{name} cannot be used. {error}") from error
        if is_first and (more := _further_frames(image)):
            warn(f"{name} has {more}; the first is taken.", QualityWarning)


def _check_size(width: int, height: int, name: str) -> None:
    """Raises ImageError for an image outside the limits; before it is decoded or copied."""
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels; expected at least {MIN_SIDE} on each side. Use a larger image."
        )
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height:,} pixels; expected at most {MAX_PIXELS:,}. "
            "Reduce or cut it first."
        )


def _opened(source: ImageSource) -> tuple[Image.Image, str]:
    """The source as a PIL image that may not be decoded yet, and its name as the subject of messages."""
    if isinstance(source, str | os.PathLike):
        path = os.path.expanduser(os.fspath(source))
        if not os.path.exists(path):
            check_name = f"Check the name; paths start from {os.getcwd()!r}."
            advice = "Download it first." if "://" in path else check_name
            raise ImageError(f"There is no file {path!r}; expected an image. {advice}")
        if os.path.isdir(path):
            raise ImageError(f"{path!r} is a folder; expected an image. Name one of the files in it.")
        name = f"The image {path!r}"
        return open_image(path, name), name
    if isinstance(source, bytes | bytearray | memoryview):
        name = "The image in the given bytes"
        return open_image(bytes(source), name), name
    if isinstance(source, Image.Image):
        filename = getattr(source, "filename", "")
        name = f"The image {filename!r}" if filename else "The given PIL image"
        check_opened(source, name)
        return source, name
    if isinstance(source, np.ndarray):
        return _from_array(source), "The given array"
    if "torch" in sys.modules and isinstance(source, sys.modules["torch"].Tensor):
        return _from_tensor(source), "The given tensor"
    if hasattr(source, "read"):
        name = "The image in the given file"
        return open_image(_remaining_bytes(source), name), name
    raise ImageError(
        f"An image cannot be made of a value of type {type(source).__name__}. Give a path, the bytes of an image file "
        "or one that is open in binary mode, a PIL image, a uint8 array [H, W, 3] or a float tensor [3, H, W] in "
        "[-1, 1]."
    )


def _remaining_bytes(file: BinaryFile) -> bytes:
    """The rest of an open file, whose position is set back afterwards where it can seek."""
    try:
        place = file.tell() if hasattr(file, "seek") and hasattr(file, "tell") else None
        content: Any = file.read()
        if inspect.isawaitable(content):
            if inspect.iscoroutine(content):
                content.close()  # else Python warns that it was never awaited
            raise ImageError(
                f"The given {type(file).__name__} is read asynchronously. Give the file in it (`upload.file`) or its "
                "bytes (`await upload.read()`)."
            )
        if place is not None:
            file.seek(place)  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:  # closed, not readable, or undecodable text
        raise ImageError(
            f"The given file cannot be read: {error}. Give one that is open in binary mode ('rb')."
        ) from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise ImageError(
            f"The read() of the given file gives {type(content).__name__} in place of bytes. Open it in binary mode "
            "('rb')."
        )
    if not content:
        raise ImageError("The given file has no bytes left. Where it was read before, call its seek(0) first.")
    return bytes(content)


def _further_frames(image: Image.Image) -> str:
    """How many frames or pages the image has, in words, where there are several. Its decoded pixels may change."""
    if image.format not in _MULTI_FRAME_FORMATS:
        return ""
    try:
        with quiet():
            count = int(getattr(image, "n_frames", 1))
    except Exception:  # of any class: the file is closed, or damaged behind the first frame, which was read
        return ""
    return "" if count < 2 else f"{count} pages" if image.format == "TIFF" else f"{count} frames"


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    expected = "Expected uint8 [H, W, 3], [H, W, 4] or [H, W] with values 0..255."
    if array.dtype != np.uint8:
        advice = (
            "Scale it to 0..255 and round: (255 * array).round().astype('uint8') where it is in [0, 1]."
            if np.issubdtype(array.dtype, np.floating)
            else "Scale it to 0..255 and use .astype('uint8')."
        )
        raise ImageError(f"The given array is {array.dtype} {list(array.shape)}. {expected} {advice}")
    if (array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4))) or array.size == 0:
        first = array.ndim == 3 and array.shape[0] in (3, 4)
        advice = "Use .transpose(1, 2, 0): its channels come first." if first else "Give a single image."
        raise ImageError(f"The given array has shape {list(array.shape)}. {expected} {advice}")
    _check_size(array.shape[1], array.shape[0], "The given array")  # its strides may be 0: only the copy is large
    return Image.fromarray(np.ascontiguousarray(array))


def _from_tensor(tensor: Tensor) -> Image.Image:
    expected = "Expected a float tensor [3, H, W] or [1, 3, H, W] with values in [-1, 1], RGB."
    if kind := oddity(tensor):
        raise ImageError(f"The given tensor {kind}. {expected}")
    tensor = tensor.detach()
    single = tensor[0] if tensor.ndim == 4 and tensor.shape[0] == 1 else tensor
    if single.ndim != 3 or single.shape[0] != 3:
        advice = "Give a batch image by image." if tensor.ndim == 4 else "Put the three channels first."
        raise ImageError(f"The given tensor has shape {list(tensor.shape)}. {expected} {advice}")
    if not single.is_floating_point():
        raise ImageError(f"The given tensor is {tensor.dtype}. {expected} From 0..255: x.float() / 127.5 - 1.")
    if single.numel() == 0:
        raise ImageError(f"The given tensor has shape {list(tensor.shape)}, without a value. {expected}")
    _check_size(single.shape[2], single.shape[1], "The given tensor")  # an expanded one takes no memory yet
    single = single.float() if single.element_size() == 1 else single  # PyTorch computes little with float8
    low, high = float(single.min()), float(single.max())
    if max(-low, high) > _OVERSHOOT:  # NaN is not, and to_pil reports it
        advice = "From 0..255: x / 127.5 - 1." if low >= 0 else "Scale it first."
        raise ImageError(f"The given tensor has values from {low:.4g} to {high:.4g}. {expected} {advice}")
    if low >= 0:
        warn(
            f"The given tensor has values from {low:.4g} to {high:.4g}, none below 0, and [-1, 1] is expected: if it "
            "is in [0, 1], as torchvision's ToTensor makes it, give x * 2 - 1.",
            QualityWarning,
        )
    return to_pil(single)
