"""Editing clips: follows one face, smooths its landmarks, shares offsets between frames, pastes every frame back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from operator import add
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperstyle.align import paste_back as paste
from hyperstyle.align.smoothing import LONGEST_GAP, drop_dissimilar, follow_face, smooth
from hyperstyle.errors import AlignmentError, ConfigError, EditError, ImageError, LandmarkError, NoFaceError
from hyperstyle.images import ImageSource, load_image, to_images
from hyperstyle.inversion.editing import find_edit
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inversion.synthesis import DEFAULT_BATCH_SIZE
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.hypernetworks.codes import OffsetCodes

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how many frames are done, and how many there are (None where that is not known)."""

Track = Sequence[npt.ArrayLike | None]
LandmarkedFrame = tuple[Image.Image, npt.ArrayLike | None]

_SHARED_OFFSET_FRAMES = 8  # frames whose offsets are averaged for the whole clip


def track_face(
    inverter: HyperStyleInverter,
    frames: Iterable[ImageSource],
    *,
    face: Literal["largest", "center"] | int = "largest",
    on_progress: Progress | None = None,
) -> list[npt.NDArray[np.float64] | None]:
    """The landmarks of one face in every frame, by the inverter's aligner and as it gives them: see `follow_face`.

    Raises:
        AlignmentError: the inverter has no aligner. NoFaceError: no frame shows a face.
        ConfigError: there are no frames. ImageError: a frame cannot be read, or has another size.
    """
    if inverter.aligner is None:
        raise AlignmentError(
            "the frames need to be cut out around the face, and this inverter has no aligner that finds it. Pass one, "
            "or landmarks=... for every frame; for frames that already are aligned crops, align=False."
        )
    size: tuple[int, int] | None = None

    def images() -> Iterator[Image.Image]:
        nonlocal size
        for number, frame in enumerate(frames):
            image = load_image(frame)
            if size is not None and image.size != size:
                raise ImageError(
                    f"Frame {number} is {image.width} x {image.height} px and those before it {size[0]} x "
                    f"{size[1]}: a face is followed through frames of one size. Edit frames of other sizes apart."
                )
            size = image.size
            yield image

    count = len(frames) if isinstance(frames, Sized) else None

    def show(done: int) -> None:
        if on_progress is not None:
            on_progress("finding the face", done, count)

    track = follow_face(inverter.aligner, images(), face=face, on_frame=show)
    if size is None:
        raise ConfigError("there are no frames: expected at least one.")
    if all(points is None for points in track):
        raise NoFaceError(
            f"no face found in any of {len(track)} frames of {size[0]}x{size[1]} px. Use a clip with a larger, upright "
            "face, pass landmarks, or align=False where the frames already are aligned crops."
        )
    return track


def steady_track(
    frames: Iterable[ImageSource], track: Track, *, width: float = 3.0, paste_back: bool = True
) -> list[npt.NDArray[np.float64] | None]:
    """The track of `track_face`, smoothed and its gaps filled, as `edit_frames` takes it.

    Args:
        frames: the clip.
        track: the landmarks as detected; see `align.smoothing`.
        width: of the filter; see `smooth`.
        paste_back: fill only short gaps, and of these only frames that look like those around them (`drop_dissimilar`);
            False fills every gap, as every frame has a crop then.

    Raises:
        ConfigError, LandmarkError: see `smooth`. ImageError: a frame cannot be read.
    """
    if not paste_back:
        return smooth(track, width=width, longest_gap=None)
    smoothed = smooth(track, width=width, longest_gap=LONGEST_GAP)
    return drop_dissimilar(smoothed, track, (load_image(frame) for frame in frames))


def edit_frames(
    inverter: HyperStyleInverter,
    frames: Iterable[ImageSource],
    edits: Mapping[str, float],
    *,
    offsets: Literal["clip", "frame"] = "clip",
    paste_back: bool = True,
    landmarks: Track | None = None,
    face: Literal["largest", "center"] | int = "largest",
    align: bool = True,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Image.Image]:
    """Edits a clip, frame by frame; a few frames are in memory at a time.

    The frames are iterated over up to four times: to find the face, to compare filled gaps, for the offsets of the
    clip, and for the edit. The landmarks found are smoothed with the defaults of `steady_track`.

    Args:
        inverter: the model, and the aligner that finds the face.
        frames: a list, or anything that can be iterated over several times (`frames.open_frames`); of one shot
            and one size.
        edits: name -> strength, the same in all frames.
        offsets: "clip" takes the mean of the weight offsets (paper, Eq. 6) of a few frames spread over the clip for
            all of it, so that only the code w follows the movement; "frame" predicts them for every frame anew.
        paste_back: give whole frames with the change of the edit added to them; False gives the edited crops.
        landmarks: a track, one entry for each frame, taken as it is; None finds the face. Frames without landmarks
            stay as they are.
        face: which face, where several are found: see `follow_face`.
        align: False takes every frame as an aligned crop, as domains without aligner always do. Needs
            paste_back=False.
        steps: steps of the hypernetwork; None is the model's own number.
        on_progress: see `Progress`.

    Returns:
        An iterator over as many images as there are frames. Nothing is computed before the first is requested.

    Raises:
        ConfigError, EditError: wrong arguments, at once. The rest comes while iterating.
        ImageError, AlignmentError: a frame that cannot be read or cropped; see `track_face` too.
        LandmarkError: a track of another length than the clip, or frames without landmarks with paste_back=False.
    """
    if iter(frames) is frames:
        raise ConfigError(
            "the frames are an iterator, which can be read only once, and they are read several times. Pass "
            "a list, or what hyperstyle.images.frames.open_frames gives."
        )
    if offsets not in ("clip", "frame"):
        raise ConfigError(f"offsets={offsets!r}: expected 'clip' or 'frame'.")
    if not edits:
        raise EditError("no edit was given. Name one, as in {'age': 2}.")
    for name in edits:
        find_edit(inverter.model, name)
    align = align and inverter.model.domain.aligner == "face"
    if not align and (paste_back or landmarks is not None):
        raise ConfigError(
            "frames that are not cut out around a face have nothing to be pasted back into, and no use for landmarks. "
            "Leave both out: paste_back=False, landmarks=None."
        )

    clip = _Clip(inverter, frames, edits, offsets, paste_back, landmarks, face, align, steps, on_progress)
    return clip.edited_frames()


@dataclass(frozen=True, eq=False)
class _Clip:
    """The arguments of `edit_frames`."""

    inverter: HyperStyleInverter
    frames: Iterable[ImageSource]
    edits: Mapping[str, float]
    offsets: Literal["clip", "frame"]
    paste_back: bool
    landmarks: Track | None
    face: Literal["largest", "center"] | int
    align: bool
    steps: int | None
    on_progress: Progress | None

    def edited_frames(self) -> Iterator[Image.Image]:
        """See `edit_frames`."""
        track: Track
        if self.landmarks is not None:
            track = self.landmarks
        elif self.align:
            detected = track_face(self.inverter, self.frames, face=self.face, on_progress=self.on_progress)
            track = steady_track(self.frames, detected, paste_back=self.paste_back)
        else:
            track = [None] * sum(1 for _ in self.frames)
        if not track:
            raise ConfigError("there are no frames: expected at least one.")
        missing = [number for number, points in enumerate(track) if points is None]
        if self.align and missing and not self.paste_back:
            raise LandmarkError(
                f"{len(missing)} of {len(track)} frames have no landmarks, the first is frame {missing[0]}: crops need "
                "them in every frame. align.smoothing.smooth(track, longest_gap=None) fills every gap."
            )
        shared = self._shared_offsets(track) if self.offsets == "clip" else None
        done = 0
        pairs = _with_landmarks(self.frames, track)
        while batch := list(islice(pairs, DEFAULT_BATCH_SIZE)):
            edited = self._edit([pair for pair in batch if self._is_edited(pair[1])], shared)
            for image, points in batch:
                yield next(edited) if self._is_edited(points) else image
            done += len(batch)
            if self.on_progress is not None:
                self.on_progress("editing", done, len(track))

    def _is_edited(self, points: npt.ArrayLike | None) -> bool:
        """Whether a frame with these landmarks is edited, or stays as it is."""
        return points is not None or not self.align

    def _shared_offsets(self, track: Track) -> OffsetCodes | None:
        """[1,...] the mean of the offsets of frames spread evenly over those that are edited.

        Exact for every kind of head: the sum of codes stands for the sum of their offsets (Eq. 6), times one number.
        """
        usable = [number for number, points in enumerate(track) if self._is_edited(points)]
        if not usable:
            return None
        count = min(_SHARED_OFFSET_FRAMES, len(usable))
        chosen = {usable[int(place)] for place in np.linspace(0, len(usable) - 1, count).round()}
        pairs = islice(_with_landmarks(self.frames, track), max(chosen) + 1)
        inversion = self._invert([pair for number, pair in enumerate(pairs) if number in chosen], self.steps)
        codes = [frame.offset_codes for frame in inversion if frame.offset_codes is not None]
        return reduce(add, codes) * (1 / len(codes)) if codes else None

    def _edit(self, pairs: Sequence[LandmarkedFrame], shared: OffsetCodes | None) -> Iterator[Image.Image]:
        """The results of a few frames, all of which are edited."""
        if not pairs:
            return
        inversion = self._invert(pairs, self.steps if shared is None else 0)
        if shared is not None:
            codes = shared.apply(lambda t: t.expand(len(pairs), *t.shape[1:]))  # [1,...] -> [B,...]
            inversion = replace(inversion, offset_codes=codes, stored_metrics={})
        edited = inversion
        for name, strength in self.edits.items():
            edited = edited.edit(name, strength)
        if not self.paste_back:
            yield from to_images(edited.tensor)
            return
        for (image, _), crop, reference, source in zip(
            pairs, edited.tensor, inversion.tensor, inversion.sources, strict=True
        ):
            assert source.placement is not None  # paste_back goes with align
            yield paste(image, crop, source.placement.footprint, reference=reference, mode="difference")

    def _invert(self, pairs: Sequence[LandmarkedFrame], steps: int | None) -> Inversion:
        landmarks = [points for _, points in pairs] if self.align else None
        return self.inverter.invert([image for image, _ in pairs], align=self.align, landmarks=landmarks, steps=steps)


def _with_landmarks(frames: Iterable[ImageSource], track: Track) -> Iterator[LandmarkedFrame]:
    """Every frame with its landmarks. Raises LandmarkError where their numbers differ."""
    done = 0
    for frame in frames:
        if done == len(track):
            raise LandmarkError(f"the clip goes on after the {done} frames for which there are landmarks, or None.")
        yield load_image(frame), track[done]
        done += 1
    if done < len(track):
        raise LandmarkError(f"the clip has {done} frames, and there are landmarks, or None, for {len(track)}.")
