"""Encoders: an image -> latent codes in W or W+."""

from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig

__all__ = ["WEncoder", "WEncoderConfig"]
