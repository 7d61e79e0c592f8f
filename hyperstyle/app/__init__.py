"""The web page of `hyperstyle app`: a photo, its inversion, and a slider for every edit.

`server` has the options and starts it, `page` lays it out, `handlers` answers its events and `endpoints` those of
programs; both call `actions`, which know no Gradio. `sessions` holds what each visitor has open, `words` has the texts.
"""

from __future__ import annotations

import os

# Gradio reports every start to two hosts unless this is set. Files of this room that import Gradio come after this one.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
