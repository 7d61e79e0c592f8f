"""Synthesis by fused convolutions gives what the modules of the generator give, row band by row band."""

from __future__ import annotations

import contextlib
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperstyle.errors import ConfigError
from hyperstyle.networks import cpu, reference
from hyperstyle.networks.cpu import blocks, synthesis
from hyperstyle.networks.cpu.fuse import SharedConv, share_weight
from hyperstyle.networks.cpu.workspace import Workspace, current_workspace
from hyperstyle.networks.hypernetworks.codes import LazyOffsets, OffsetCodes
from hyperstyle.networks.hypernetworks.hyperstyle import Hypernetwork, HypernetworkConfig
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.networks.stylegan2.ops import upsample

CONFIG = GeneratorConfig(64, (16, 12, 8, 8, 4), latent_width=16, mapping_layers=1)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def generator(request: pytest.FixtureRequest) -> Generator:
    """With noise, biases and filters that are not those of a new one."""
    generator = Generator(CONFIG)
    for name, value in [*generator.named_parameters(), *generator.named_buffers()]:
        if name.endswith(("bias", "noise.weight", "kernel")):
            value.data.add_(0.2 * torch.randn_like(value))
    return generator.eval().requires_grad_(False).to(request.param)


def codes_and_offsets(generator: Generator, batch: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Codes [B,L,D], and offsets of all forms: of each tap, of each pair of channels, of all images."""
    dtype = generator.latent_avg.dtype
    shapes = {
        "b4.conv1": (batch, 16, 16, 3, 3),
        "b8.conv0": (batch, 12, 16, 1, 1),
        "b16.torgb": (1, 3, 8, 1, 1),
        "b32.conv1": (8, 8, 3, 3),
        "b64.conv0": (batch, 4, 8, 3, 3),
        "b64.conv1": (batch, 4, 4, 3, 3),
    }
    offsets = {name: 0.3 * torch.randn(shape, dtype=dtype) for name, shape in shapes.items()}
    return torch.randn(batch, generator.config.rows, 16, dtype=dtype), offsets


def fused(generator: Generator, w: Tensor, offsets: Any = None, **options: Any) -> Tensor:
    """G(w) by `networks.cpu`."""
    return cpu.synthesize(generator, generator.styles(w), offsets, **options)


def modules(generator: Generator, w: Tensor, offsets: Any = None, **options: Any) -> Tensor:
    """G(w) by the modules of the generator."""
    images: Tensor = generator(w, offsets, **options)
    return images


def close(actual: Tensor, expected: Tensor) -> None:
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-11}[expected.dtype]
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * max(1.0, float(expected.std())))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("rows", [2, 6, 10, 14, 64])
def test_it_draws_what_the_plain_path_draws_in_strips_of_any_height(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, batch: int, rows: int
) -> None:
    w, offsets = codes_and_offsets(generator, batch)
    monkeypatch.setattr(blocks, "_BAND_BYTES", rows * 64 * 4 * generator.latent_avg.element_size())
    images = fused(generator, w, offsets)
    close(images, reference.synthesize(generator, w, {n: t if t.ndim == 5 else t[None] for n, t in offsets.items()}))


@pytest.mark.parametrize("noise", ["none", "random", "maps"])
def test_noise_and_residuals_are_those_of_the_other_forms(generator: Generator, noise: str) -> None:
    w, offsets = codes_and_offsets(generator, 2)
    residuals = {name: 0.1 * torch.randn(2, *generator.weight(name).shape).to(w) for name in ("b8.conv0", "b32.conv1")}
    options: dict[str, Any] = {"noise": noise}
    if noise == "maps":
        sizes = [s.resolution for s in generator.layers if not s.torgb]
        options["noise"] = [torch.randn(2, 1, size, size).to(w) for size in sizes]
    images = []
    for form in (fused, modules):
        random = torch.Generator().manual_seed(3)
        images.append(form(generator, w, offsets, residuals=residuals, random=random, **options))
    close(*images)


def test_no_map_is_larger_than_a_strip_but_those_that_the_next_resolution_needs(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(convolve: Any) -> Any:
        def watching(x: Tensor, *rest: Any, **options: Any) -> Tensor:
            y: Tensor = convolve(x, *rest, **options)
            seen.append((y.shape[1], x.shape[2], options.get("stride")))
            return y

        return watching

    for name in ("conv2d", "conv_transpose2d"):
        monkeypatch.setattr(F, name, watched(getattr(F, name)))
    monkeypatch.setattr(blocks, "_BAND_BYTES", 8 * 64 * 4 * generator.latent_avg.element_size())
    w, offsets = codes_and_offsets(generator, 1)
    fused(generator, w, offsets)
    last = [(height, stride) for channels, height, stride in seen if channels == CONFIG.channels[-1]]  # of 64 px
    # upsampled, filtered without and, but for the first, with rows of the strip before, convolved
    assert len(last) == 4 * 64 // 8 - 1
    assert max(height for height, _ in last) <= 8 + 3  # a strip, and the rows around it for the filter
    assert sum(height for height, stride in last if stride == 2) == 32  # each row is upsampled once


def test_half_precision_is_near_and_its_colors_are_not_rounded() -> None:
    generator = Generator(CONFIG).eval().requires_grad_(False)
    w, offsets = codes_and_offsets(generator, 1)
    exact = fused(generator, w, offsets)
    half = fused(generator.to(torch.bfloat16), w.bfloat16(), {name: t.bfloat16() for name, t in offsets.items()})
    assert half.dtype == torch.float32
    assert (half - exact).square().mean().sqrt() < 0.05 * exact.std()


def test_offsets_that_are_made_when_asked_for_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = Generator(CONFIG).eval().requires_grad_(False)
    config = HypernetworkConfig(CONFIG, ("b8.conv0", "b16.conv1"), input_size=(64, 64), heads="compact", code_width=8)
    network = Hypernetwork(config).eval()
    nn.init.normal_(network.head(network.layers[0]).output.weight)  # type: ignore[union-attr, arg-type]
    codes = OffsetCodes({name: torch.randn(2, 8) for name in config.layers}, {}, torch.ones(2, 1))
    asked: list[tuple[str, int]] = []
    get = LazyOffsets.__getitem__
    monkeypatch.setattr(
        LazyOffsets,
        "__getitem__",
        lambda self, name: asked.append((name, len(self.codes))) or get(self, name),  # type: ignore[func-returns-value]
    )
    w = torch.randn(2, CONFIG.rows, 16)
    with torch.no_grad():
        images = fused(generator, w, LazyOffsets(network, codes))
        assert asked == [("b8.conv0", 1), ("b16.conv1", 1)] * 2
        close(images, generator(w, dict(LazyOffsets(network, codes)), modulation="weights"))


def test_an_offset_of_every_tap_and_a_residual_of_pairs_go_together_either_way() -> None:
    generator = Generator(CONFIG).eval().requires_grad_(False).double()
    w = torch.randn(1, CONFIG.rows, 16, dtype=torch.float64)
    for layer in ("b16.conv1", "b32.conv0"):
        every, pairs = (0.3 * torch.randn(1, 8, 8, k, k, dtype=torch.float64) for k in (3, 1))
        for offset, residual in ((every, pairs), (pairs, every)):
            changes: dict[str, Any] = {"offsets": {layer: offset}, "residuals": {layer: residual}}
            close(*(form(generator, w, **changes) for form in (fused, modules)))  # type: ignore[arg-type]


def test_images_do_not_see_what_was_fused_for_others() -> None:
    generator = Generator(CONFIG).eval().requires_grad_(False)
    w, offsets = codes_and_offsets(generator, 3)
    each = {name: t if t.ndim == 5 and len(t) == 3 else t.expand(3, *t.shape[-4:]) for name, t in offsets.items()}
    batch_of_three = fused(generator, w, each)
    separate = [fused(generator, w[i : i + 1], {n: t[i : i + 1] for n, t in each.items()}) for i in (2, 0, 1)]
    close(batch_of_three[[2, 0, 1]], torch.cat(separate))


def test_images_stay_as_they_are_when_others_are_synthesized_in_the_same_memory(generator: Generator) -> None:
    w, offsets = codes_and_offsets(generator, 2)
    with cpu.reuse_memory():
        images = [fused(generator, w[:1]), fused(generator, w, offsets)]
        before = [image.clone() for image in images]
        fused(generator, w.flip(0), offsets)
    assert all(torch.equal(a, b) for a, b in zip(images, before, strict=True))
    assert torch.equal(images[1], fused(generator, w, offsets))


def test_memory_serves_generators_of_other_sizes_and_types() -> None:
    for config, dtype in ((CONFIG, torch.float32), (GeneratorConfig(16, (24, 8, 8), 16, 1), torch.float64)):
        generator = Generator(config).eval().requires_grad_(False).to(dtype)
        w = torch.randn(1, config.rows, 16, dtype=dtype)
        expected = fused(generator, w)
        with cpu.reuse_memory():  # larger, then smaller, and wider numbers
            fused(Generator(CONFIG).eval().requires_grad_(False), torch.randn(1, CONFIG.rows, 16))
            assert torch.equal(fused(generator, w), expected)


def test_weights_are_packed_once_for_several_images() -> None:
    generator = Generator(CONFIG).eval().requires_grad_(False)
    convs = {spec.name: generator.conv(spec).weight for spec in generator.layers}
    keeping, passing = Workspace(keep_weights=True), Workspace(keep_weights=False)
    first = {name: keeping.packed_weight(name, weight) for name, weight in convs.items()}
    for name, weight in convs.items():
        packed = first[name]
        assert keeping.packed_weight(name, weight).data_ptr() == packed.data_ptr()
        assert torch.equal(packed.view(len(packed), *weight.shape[3:], -1).permute(3, 0, 1, 2), weight[0])
        packed.zero_()
        assert not keeping.packed_weight(name, weight).any()  # not written again
        assert torch.equal(passing.packed_weight(name, weight).flatten().sort()[0], weight.flatten().sort()[0])


def test_packed_weights_follow_their_parameters() -> None:
    generator = Generator(CONFIG).eval().requires_grad_(False)
    w, offsets = codes_and_offsets(generator, 1)
    with cpu.reuse_memory():
        for change in (1.1, 0.9):
            for parameter in generator.parameters():
                parameter.mul_(change)  # in place
            close(fused(generator, w, offsets), modules(generator, w, offsets))
        other = generator.with_parameters({"conv1.conv.weight": 2 * generator.conv1.conv.weight})
        for each in (other, generator, other):
            close(fused(each, w, offsets), modules(each, w, offsets))
        with torch.inference_mode():
            made_there = Generator(CONFIG).eval()
            for _ in range(2):
                made_there.conv1.conv.weight.mul_(1.5)
                close(fused(made_there, w, offsets), modules(made_there, w, offsets))


def test_memory_is_shared_within_the_context_and_freed_at_its_end() -> None:
    like = torch.zeros(1)
    separate = [current_workspace(keep_weights=False) for _ in range(2)]
    assert separate[0] is not separate[1]
    with contextlib.suppress(KeyboardInterrupt), cpu.reuse_memory():
        workspace = current_workspace(keep_weights=False)
        address = workspace.buffer("maps", like, (8,)).data_ptr()
        with cpu.reuse_memory():  # within another it changes nothing
            assert current_workspace(keep_weights=False) is workspace
        assert current_workspace(keep_weights=True) is workspace
        assert workspace.buffer("maps", like, (4,)).data_ptr() == address
        with ThreadPoolExecutor(1) as pool:  # threads do not write into each other's maps
            assert pool.submit(current_workspace, keep_weights=False).result() is not workspace
        raise KeyboardInterrupt
    assert current_workspace(keep_weights=False) is not workspace
    freed = weakref.ref(workspace)
    del workspace
    assert freed() is None


def test_memory_that_was_made_in_inference_mode_serves_outside_of_it() -> None:
    generator = Generator(CONFIG).eval()
    w, offsets = codes_and_offsets(generator, 1)
    with cpu.reuse_memory():
        with torch.inference_mode():
            inside = fused(generator, w, offsets)
        with torch.no_grad():
            assert torch.equal(fused(generator, w, offsets), inside)
        with torch.inference_mode():
            assert torch.equal(fused(generator, w, offsets), inside)


@pytest.mark.parametrize("noise", ["const", "none"])
def test_images_without_changes_share_the_weights_of_layers_with_small_maps(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, noise: Any
) -> None:
    w, _ = codes_and_offsets(generator, 3)
    shared, fuse = [], synthesis.fuse

    def watched(*arguments: Any) -> Any:
        if isinstance(arguments[-1], SharedConv):
            shared.append(tuple(arguments[-1].squares.shape))
        return fuse(*arguments)

    monkeypatch.setattr(synthesis, "fuse", watched)
    images = fused(generator, w, noise=noise)
    close(images, generator(w, noise=noise, modulation="weights"))
    assert shared == [(16, 16), (16, 12), (12, 12)] * 3  # 4 and 8 px
    shared.clear()
    fused(generator, w[:1])  # one image shares with nobody
    fused(generator, w, {"b4.conv1": torch.zeros(3, 16, 16, 1, 1).to(w)})
    assert not shared


def test_half_precision_shares_no_weights() -> None:
    generator = Generator(CONFIG)
    small, large = (generator.conv(generator.layer(name)) for name in ("b8.conv1", "b16.conv1"))
    assert share_weight(small) is not None
    assert share_weight(large) is None
    assert share_weight(small.bfloat16()) is None


@pytest.mark.parametrize("size", [(2, 3), (5, 4), (1, 1)])
def test_colors_are_doubled_as_by_zeros_and_a_filter(size: tuple[int, int]) -> None:
    image, kernel = torch.randn(2, 3, *size, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    torch.testing.assert_close(blocks.upsample2x(image, kernel), upsample(image, kernel))


@pytest.mark.parametrize(
    "shape", [(), (3,), (3, 3), (8, 1, 1), (8, 8, 1, 3), (8, 8, 3, 1), (2, 8, 1, 3, 1), (1, 8, 3, 3)]
)
def test_changes_of_any_shape_that_broadcasts_are_those_of_the_other_forms(shape: tuple[int, ...]) -> None:
    generator = Generator(CONFIG).eval().requires_grad_(False).double()
    w = torch.randn(2, CONFIG.rows, 16, dtype=torch.float64)
    for layer in ("b16.conv1", "b32.conv0"):  # one that keeps the size and one that doubles it, both of 8 channels
        change = {layer: 0.3 * torch.randn(shape, dtype=torch.float64)}
        for kind in ("offsets", "residuals"):
            close(*(form(generator, w, **{kind: change}) for form in (fused, modules)))  # type: ignore[arg-type]


def test_changes_and_styles_of_another_number_of_images_are_refused() -> None:
    generator = Generator(CONFIG).eval().requires_grad_(False)
    w = torch.randn(2, CONFIG.rows, 16)
    for count in (3, 5):
        for kind in ("offsets", "residuals"):
            wrong = {"b8.conv0": torch.zeros(count, 12, 16, 3, 3)}
            with pytest.raises(ConfigError, match=rf"\({count}, 12, 16, 3, 3\)"):
                fused(generator, w, **{kind: wrong})  # type: ignore[arg-type]
    styles = generator.styles(w)
    with pytest.raises(ConfigError, match=r"styles of 1 image\(s\) in b8.conv0, of 2 in b4.conv1"):
        cpu.synthesize(generator, {**styles, "b8.conv0": styles["b8.conv0"][:1]})
    assert fused(generator, w[:0]).shape == (0, 3, 64, 64)
