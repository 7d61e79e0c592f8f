"""The value that inverting gives: codes and weight offsets of images, what is made of them, and its files."""

from hyperstyle.inversion.inversion import Inversion, Refinement

__all__ = ["Inversion", "Refinement"]
