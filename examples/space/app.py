"""The page of `hyperstyle app` as a Hugging Face Space, or in a container."""

from __future__ import annotations

import os

from hyperstyle.app.server import ServerOptions, serve
from hyperstyle.inverter import HyperStyleInverter

if __name__ == "__main__":
    options = ServerOptions(host="0.0.0.0", port=int(os.environ.get("PORT", "7860")), megapixels=16, upload_mb=16)
    serve(HyperStyleInverter.from_pretrained(os.environ.get("MODEL", "avatars")), options, print)
