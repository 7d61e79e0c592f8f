"""The parts of a model as one value, its folder and its card."""

from hyperstyle.model.parts import HasModel, Model, fingerprint

__all__ = ["HasModel", "Model", "fingerprint"]
