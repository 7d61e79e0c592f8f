"""The same mathematics as the generator and the hypernetwork, without gradients, faster on a CPU.

Two functions: `synthesize` for `Generator.synthesize`, `offsets` for `Hypernetwork.offsets`. `applies_to` says where
the first one can be used. No memory is kept between calls, but within `reuse_memory`.
"""

from hyperstyle.networks.cpu.offsets import offsets
from hyperstyle.networks.cpu.synthesis import applies_to, synthesize
from hyperstyle.networks.cpu.workspace import reuse_memory

__all__ = ["applies_to", "offsets", "reuse_memory", "synthesize"]
