"""What `hyperstyle bench` measures: a model, its images, and the implementations that invert and edit them."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.align.prepare import prepare
from hyperstyle.domain import Domain
from hyperstyle.errors import ConfigError, QualityWarning
from hyperstyle.evaluation.figures import now
from hyperstyle.evaluation.loading import run_in_subprocess
from hyperstyle.inversion.state import InversionState
from hyperstyle.inversion.synthesis import render
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.io import hub
from hyperstyle.io.files import peak_memory
from hyperstyle.methods.hyperstyle import refine
from hyperstyle.networks import reference
from hyperstyle.networks.encoders.w_encoder import WEncoder, WEncoderConfig
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.runtime.device import pick_device

T = TypeVar("T")

SIZES = (256, 512, 1024)
"""Sides of the published faces generators in pixels."""

Implementation = Literal["fast", "plain", "networks"]
"""The library's own call ("fast"), the plain path of `networks.reference` ("plain"), and the library's networks without
reading and measuring images ("networks")."""

Parts = tuple[WEncoder, Generator, Hypernetwork]


@dataclass(frozen=True)
class Case:
    """A model to measure, and how; a value, so that a process of its own can build it too.

    Attributes:
        size: side in pixels of the published faces configuration with random weights; not used with `model`.
        model: bundled model, folder or Hub repository; None takes random weights.
        device: "auto", "cpu", "cuda", ...
        repeat: how often each thing is measured.
        threads: number of PyTorch's threads on the CPU; None leaves it as it is.
    """

    size: int = 1024
    model: str | None = None
    device: str = "cpu"
    repeat: int = 3
    threads: int | None = None

    def check(self) -> None:
        """Raises ConfigError for a size that no published generator has, a device that is not there and a number that
        cannot be, ModelNotFoundError for a model that is not there."""
        if self.model is not None:
            hub.resolve(self.model)
        elif self.size not in SIZES:
            raise ConfigError(f"a model of {self.size} px: expected 256, 512 or 1024, the published sizes.")
        pick_device(self.device)
        if self.repeat < 1 or (self.threads is not None and self.threads < 1):
            raise ConfigError(f"{self.repeat} repeats, {self.threads} threads: expected 1 or more.")

    @contextmanager
    def with_threads(self) -> Iterator[None]:
        """Sets the number of threads until the context ends. Raises ConfigError for more than there are processors."""
        before = torch.get_num_threads()
        if self.threads is not None and self.threads > (here := max(before, os.cpu_count() or 1)):
            raise ConfigError(f"{self.threads} threads: this machine has {here} processors.")
        torch.set_num_threads(self.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @property
    def weights(self) -> str:
        """In words, what the weights are: the name of the model, or that they are random."""
        return self.model or "random weights of the published faces configuration"

    def build(self, dtype: torch.dtype = torch.float32) -> HyperStyleInverter:
        """Loads the model, or makes the same random weights at every call, in this precision.

        Raises:
            ConfigError: a model without W encoder or hypernetwork. HyperStyleError: it cannot be loaded.
        """
        if self.model is not None:
            inverter = HyperStyleInverter.from_pretrained(self.model, device=self.device, dtype=dtype)
            parts_of(inverter)
            return inverter
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encoder, generator, hypernetwork = _published(self.size)
            _enliven(encoder, generator, hypernetwork)
        for network in (encoder, generator, hypernetwork):
            network.requires_grad_(False).to(pick_device(self.device), dtype)
        domain = Domain("random", generator.config.size, encoder.config.input_size)
        return HyperStyleInverter(generator, encoder, hypernetwork, domain=domain)


@dataclass(frozen=True)
class Workload:
    """What a run computes: the inversion of a batch, or, with `edits`, so many edits of one image that is inverted.

    Attributes:
        steps: number of refinement steps of an inversion.
        batch: number of images that are inverted together.
        edits: number of edited images; 0 is an inversion.
        together: whether the plain path inverts the images as one batch, or one by one.
    """

    steps: int = 5
    batch: int = 1
    edits: int = 0
    together: bool = True

    @property
    def images(self) -> int:
        """Number of images that a run returns."""
        return self.edits or self.batch


def parts_of(inverter: HyperStyleInverter) -> Parts:
    """Encoder, generator and hypernetwork. Raises ConfigError where the model lacks one."""
    model = inverter.model
    if model.encoder is None or model.hypernetwork is None or not isinstance(model.generator, Generator):
        raise ConfigError("this model has no W encoder or no hypernetwork: name one that has both, or no --model.")
    return model.encoder, model.generator, model.hypernetwork


def _crops(inverter: HyperStyleInverter, count: int) -> Tensor:
    """Smooth random images [count,3,h,w] in [-1,1], on the model's device, as `invert` sees them."""
    domain = inverter.model.domain
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0
    smooth = F.interpolate(coarse, size=domain.input_size, mode="bilinear")
    crops = [prepare(image, domain, aligner=None, align=False)[0].crop for image in smooth]
    return torch.stack(crops).to(inverter.model.device)


def build_run(implementation: Implementation, inverter: HyperStyleInverter, work: Workload) -> Callable[[], Tensor]:
    """The function to time: it computes the workload by this implementation and returns its images [N,3,H,W].

    Edits begin with what an inversion leaves: offset codes in the library, dense offsets in the plain path.
    """
    encoder, generator, hypernetwork = parts_of(inverter)
    model, to_input = inverter.model, inverter.model.domain.as_network_input
    crops = _crops(inverter, 1 if work.edits else work.batch)
    inputs = crops.to(model.dtype)

    if work.edits:
        with torch.no_grad():
            strength = torch.linspace(-1.0, 1.0, work.edits, device=inputs.device, dtype=inputs.dtype)
            w = encoder(inputs) + strength[:, None, None] * _direction(generator)
            if implementation == "plain":
                dense = reference.predict(hypernetwork, inputs, inputs)
            else:
                codes = hypernetwork(inputs, inputs).apply(lambda t: t.expand(work.edits, *t.shape[1:]))

    def fast() -> Tensor:
        if work.edits:
            return model.domain.content(render(model, InversionState(w, codes))).float()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", QualityWarning)  # such images are not what a model is made for
            return inverter.invert(
                list(crops.cpu()), method="hyperstyle", steps=work.steps, align=False, batch_size=len(crops)
            ).tensor

    @torch.no_grad()
    def plainly() -> Tensor:
        if work.edits:
            images = [reference.synthesize(generator, code[None], dense) for code in w]
        else:
            parts = (inputs,) if work.together else torch.split(inputs, 1)
            images = [
                reference.invert(encoder, generator, hypernetwork, to_input, part, work.steps)[2] for part in parts
            ]
        return model.domain.content(torch.cat(images)).float()

    @torch.no_grad()
    def networks_alone() -> Tensor:
        return refine(inputs, encoder(inputs), generator, hypernetwork, to_input, steps=work.steps)[1]

    return {"fast": fast, "plain": plainly, "networks": networks_alone}[implementation]


def time_call(function: Callable[[], T], device: torch.device) -> tuple[T, float, float]:
    """Calls a function and returns (its result, seconds of wall time, seconds of CPU time of this process).

    The wall time includes all that the function started on the device.
    """
    start, cpu = now(device), time.process_time()
    result = function()
    return result, now(device) - start, time.process_time() - cpu


def peak_in_subprocess(case: Case, implementation: Implementation | None, work: Workload) -> int | None:
    """Peak memory in bytes of a new process that builds the model and computes the workload once.

    It is that of the GPU if the model is on one, and None where the system does not tell. Without an implementation,
    the process only builds the model.

    Raises:
        HyperStyleError: the process was ended from outside, and what building and computing raise.
    """
    return run_in_subprocess(_peak, case, implementation, work)


def _peak(case: Case, implementation: Implementation | None, work: Workload) -> int | None:
    with case.with_threads():
        inverter = case.build()
        if implementation is not None:
            build_run(implementation, inverter, work)()
    if inverter.model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(inverter.model.device)
    return peak_memory()


def _direction(generator: Generator) -> Tensor:
    """A random direction [D] in W of length 4, as far as edits go."""
    width = generator.config.latent_width
    direction = torch.randn(width, generator=torch.Generator().manual_seed(2))
    return 4.0 * F.normalize(direction, dim=0).to(generator.latent_avg)


def _published(size: int) -> Parts:
    """The networks of the published faces configuration."""
    config = GeneratorConfig.official(size)
    return WEncoder(WEncoderConfig(config.rows)), Generator(config), Hypernetwork(HypernetworkConfig.official(size))


@torch.no_grad()
def _enliven(encoder: WEncoder, generator: Generator, hypernetwork: Hypernetwork) -> None:
    """Gives fresh weights what training gives: a usual code, noise, biases, and offsets that depend on the image."""
    encoder.latent_avg.copy_(generator.mapping(torch.randn(1, generator.config.latent_width)))
    for name, parameter in generator.named_parameters():
        if name.endswith(("noise.weight", "activate.bias")):
            parameter.normal_(std=0.1)
        elif "to_rgb" in name and name.endswith("conv.weight"):
            parameter.mul_(0.25)  # colors of the range of images
    for head in hypernetwork.refinement_blocks.children():
        last = [module for module in head.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)]
        last[-1].weight.mul_(16.0)  # codes of the size of one
