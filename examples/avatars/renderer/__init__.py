"""The bundled domain: portraits rendered from known factors, with their landmarks and masks."""
