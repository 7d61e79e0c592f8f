"""A model, an inversion and what a training run holds, as version 0.1 wrote them. Made once, by that version:

git worktree add ../v0.1 3f0f69e && PYTHONPATH=../v0.1 python tests/golden/v0_1/make.py FOLDER
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from hyperstyle.networks.backbones import TrunkConfig
from hyperstyle.networks.generator import Generator, GeneratorConfig
from hyperstyle.networks.hypernetwork import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.traits import TraitNetwork, TraitNetworkConfig
from structure import structure

from hyperstyle import HyperStyleInverter
from hyperstyle.domain import Domain
from hyperstyle.edits import DirectionEdit, EditInfo
from hyperstyle.images import save_image, to_pil
from hyperstyle.networks.encoders import WEncoder, WEncoderConfig
from hyperstyle.training.engine import make_task, train
from hyperstyle.training.options import resolve

os.chdir(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(1)
trunk = TrunkConfig((8, 8), (1, 1), stem_kernel=3, stem_stride=1, first_stride=2, norm="group")
generator = Generator(GeneratorConfig(16, channels=(8, 8, 4), latent_width=8, mapping_layers=1))
hypernetwork = Hypernetwork(
    HypernetworkConfig(generator.config, ("b8.conv1", "b16.conv1"), (16, 16), trunk, heads="compact", code_width=4)
)
for parameter in hypernetwork.parameters():
    torch.nn.init.normal_(parameter, std=0.1)  # an untrained one changes nothing
inverter = HyperStyleInverter(
    generator,
    WEncoder(WEncoderConfig(generator.config.rows, 8, (16, 16), trunk)),
    hypernetwork,
    domain=Domain("plates", 16, (16, 16)),
    edits={"age": DirectionEdit(torch.randn(8), EditInfo("age", -3.0, 3.0, "years"))},
    judge=TraitNetwork(TraitNetworkConfig(("age", "smile"), trunk, 16, 8)),
    steps=2,
    info={"source": "random weights", "licence": "MIT"},
)
inverter.save_pretrained("model")
inverter = HyperStyleInverter.from_pretrained("model", device="cpu")
crop = torch.rand(2, 3, 16, 16) * 2 - 1
inversion = inverter.invert(list(crop)).edit("age", 2.0)
inversion.save("inversion.safetensors")
np.savez_compressed("expected.npz", image=inversion.tensor.numpy(), w=inversion.w.numpy())
Path("photos").mkdir()
for number, image in enumerate(torch.rand(4, 3, 16, 16) * 2 - 1):
    save_image(to_pil(image), f"photos/{number}.png")
options = resolve(
    "encoder",
    (),
    {
        "data.train": "photos",
        "data.test_share": 0.25,
        "loss.lpips": 0.0,
        "loss.identity": 0.0,
        "loss.adversarial": 0.0,
        "optim.batch": 2,
        "optim.steps": 4,
        "optim.rate": 1e-3,
        "optim.device": "cpu",
        "run.out": "run",
        "run.save_every": 2,
        "run.quiet": True,
        "run.tensorboard": False,
        "encoder.generator": "model",
    },
)
train(make_task(options), options)
content = torch.load("run/checkpoint-00000004.pt", weights_only=True)
Path("checkpoint.json").write_text(json.dumps(structure(content)) + "\n")
shutil.move("run/config.json", "run_config.json")
shutil.rmtree("run")
