"""The same mathematics as the generator and the hypernetwork, without gradients, faster on a CPU.

Two functions: `synthesize` for `Generator.synthesize`, `offsets` for `Hypernetwork.offsets`.
"""

from hyperstyle.networks.cpu.offsets import FastOffsets
from hyperstyle.networks.cpu.synthesis import synthesize
from hyperstyle.networks.cpu.workspace import Workspace

__all__ = ["Workspace", "offsets", "synthesize"]

offsets = FastOffsets.of
