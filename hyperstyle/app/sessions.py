"""What each visitor has open, bounded in number and in memory: those that were not used for longest are dropped."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import PurePath
from threading import Lock

from PIL import Image

from hyperstyle.align.prepare import Prepared
from hyperstyle.errors import InversionError
from hyperstyle.inversion.inversion import Inversion

MAX_HISTORY = 8
"""Inversions that a session keeps to go back to."""


@dataclass(frozen=True, eq=False)
class Session:
    """One photo and what was made of it; immutable, so that an action in progress never sees half a change.

    Attributes:
        name: of the photo's file.
        photo: upright, as `load_photo` gives it; None after an inversion file was opened without a photo.
        faces: what the photo has to invert: a crop for each face, or one for the whole image.
        face: which of them was inverted.
        history: the inversion of the photo, then what was kept or dragged since; the last one is edited. () before.
        warnings: what the library said about the inversion.
        painted: where the visitor lets the face change, of the reconstruction's size, white where it may; None if
            nothing was painted.
    """

    name: str
    photo: Image.Image | None = None
    faces: tuple[Prepared, ...] = ()
    face: int = 0
    history: tuple[Inversion, ...] = ()
    warnings: tuple[str, ...] = ()
    painted: Image.Image | None = None

    @property
    def inversion(self) -> Inversion:
        """What the sliders start from. Raises InversionError before anything was inverted."""
        if not self.history:
            raise InversionError("There is no face to edit yet: load a photo or an inversion file first.")
        return self.history[-1]

    @property
    def stem(self) -> str:
        """The name of the photo without its suffix, for names of downloads: letters, digits, ".", "-" and "_".

        It has at most 80 bytes of UTF-8: file systems count bytes, and more follows it in the name of a download.
        """
        name = re.sub(r"[^\w.-]+", "_", PurePath(self.name).stem).strip("._")
        return name.encode(errors="ignore")[:80].decode(errors="ignore") or "photo"

    @property
    def nbytes(self) -> int:
        """Memory that it holds, in bytes: pixels, crops and the tensors of its inversions, each counted once."""
        tensors = [face.crop for face in self.faces]
        for inversion in self.history:
            tensors += inversion.state.tensors
        held = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}
        pixels = 0 if self.photo is None else self.photo.width * self.photo.height * 4  # Pillow stores RGB in 4 bytes
        return pixels + sum(held.values())


class Sessions:
    """Sessions by key, at most `max_count` and `max_bytes` of them; safe to use from several threads.

    The newest one is held even where it alone is above `max_bytes`.
    """

    def __init__(self, max_count: int = 32, max_bytes: int = 2 << 30) -> None:
        self.max_count, self.max_bytes = max_count, max_bytes
        self._sessions: OrderedDict[str, tuple[Session, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def has_face(self, key: str) -> bool:
        """Whether there is a session of this key with a face to edit."""
        with self._lock:
            return key in self._sessions and bool(self._sessions[key][0].history)

    def get(self, key: str) -> Session:
        """The session of this key, which is the most recently used one then.

        Raises:
            InversionError: there is none: nothing was loaded yet, or it was dropped.
        """
        with self._lock:
            if key not in self._sessions:
                raise InversionError(
                    "There is no photo here, or it was not used for so long that the server let it go. Load one."
                )
            self._sessions.move_to_end(key)
            return self._sessions[key][0]

    def put(self, key: str, session: Session) -> None:
        """Holds a session, in place of an earlier one of this key, and drops others while there are too many."""
        nbytes = session.nbytes
        with self._lock:
            self._sessions[key] = session, nbytes
            self._sessions.move_to_end(key)
            while len(self._sessions) > 1 and (len(self._sessions) > self.max_count or self.nbytes > self.max_bytes):
                self._sessions.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forgets the session of this key, if there is one."""
        with self._lock:
            self._sessions.pop(key, None)

    @property
    def nbytes(self) -> int:
        """Memory of all of them, in bytes."""
        return sum(nbytes for _, nbytes in self._sessions.values())
