"""The web page of `hyperstyle app`: a photo, its inversion, and a slider for every edit.

`server` has the options and starts it, `page` lays it out, `handlers` answers its events and `endpoints` those of
programs; both call `actions`, which know no Gradio. `sessions` holds what each visitor has open, `words` has the texts.
"""

from __future__ import annotations

import os

# Set before Gradio is imported, which files of this room do after this one. Unless told, it reports every start to two
# hosts and lets browsers keep what each visitor did, with the photos.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_RUN_HISTORY"] = "False"
