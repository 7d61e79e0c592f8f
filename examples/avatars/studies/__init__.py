"""Figures that need rendered photos whose truth is known: landmarks, paste-back, steadiness over a clip."""
