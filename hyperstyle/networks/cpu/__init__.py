"""The same mathematics as the generator and the hypernetwork, without gradients, faster on a CPU.

`synthesize` stands for `Generator.synthesize`, `maps_after` for its `until`, `offsets` for `Hypernetwork.offsets`.
`applies_to` says where the first two can be used. No memory is kept
between calls, but within `reuse_memory`.
"""

from hyperstyle.networks.cpu.offsets import offsets
from hyperstyle.networks.cpu.synthesis import applies_to, maps_after, synthesize
from hyperstyle.networks.cpu.workspace import reuse_memory

__all__ = ["applies_to", "maps_after", "offsets", "reuse_memory", "synthesize"]
