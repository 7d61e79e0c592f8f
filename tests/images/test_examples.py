from __future__ import annotations

import numpy as np
import pytest

import hyperstyle
from hyperstyle.errors import ConfigError


def test_there_are_five_photos_each_of_somebody_else() -> None:
    photos = [hyperstyle.example_photo(number) for number in range(5)]
    assert {(photo.mode, photo.size) for photo in photos} == {("RGB", (640, 800))}
    assert len({photo.tobytes() for photo in photos}) == 5
    assert hyperstyle.example_photo().tobytes() == photos[0].tobytes()


def test_what_is_done_to_a_photo_stays_with_the_caller() -> None:
    photo = hyperstyle.example_photo(1)
    photo.paste((0, 0, 0), (0, 0, 640, 800))
    assert np.asarray(hyperstyle.example_photo(1)).any()


@pytest.mark.parametrize("number", [-1, 5, 0.5, "me"])
def test_another_number_is_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=r"no example photo .*: expected 0 to 4"):
        hyperstyle.example_photo(number)
