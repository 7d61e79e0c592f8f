"""Portraits rendered from named factors, with their landmarks and masks."""
