"""NVIDIA's generators: read from their pickles, converted and back, or refused with the reason."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperstyle.convert import convert, read_generator
from hyperstyle.convert.generators import find_generator
from hyperstyle.convert.nvidia import _rows, _unused_filters, generator_from_nvidia, load_nvidia
from hyperstyle.convert.sniff import sniff
from hyperstyle.errors import CheckpointError, ConfigError, WeightsError
from hyperstyle.inverter import HyperStyleInverter
from hyperstyle.networks.stylegan2.generator import Generator, GeneratorConfig
from hyperstyle.networks.stylegan2.ops import fir_kernel

if TYPE_CHECKING:
    from conftest import CheckpointMaker

State = dict[str, Tensor]
Write = Callable[..., Path]


def nvidia_state(generator: Generator) -> dict[str, Tensor]:
    """The tensors of a generator under NVIDIA's names and in their shapes, copied; `generator_from_nvidia` reversed."""
    ours = generator.state_dict()
    state = {name: fir_kernel(gain=1.0).to(generator.latent_avg) for name in sorted(_unused_filters(generator.config))}
    for row in _rows(generator):
        tensor = ours[row.ours]
        state[row.nvidia] = tensor.detach().reshape(tensor.shape[row.axes]) / row.gain
    return state


def build(size: int = 32, channels: tuple[int, ...] = (12, 8, 20, 6), layers: int = 3, rate: float = 0.01) -> Generator:
    """A generator in which all tensors differ and each changes the image."""
    config = GeneratorConfig(size, channels, latent_width=16, mapping_layers=layers, mapping_rate=rate)
    generator = Generator(config).eval()
    for name, parameter in generator.named_parameters():
        if "noise" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(generator.latent_avg)
    return generator.requires_grad_(False)


class _Persistent:
    """Pickles as NVIDIA's persistent classes do."""

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": name}
        self.meta["state"] = state

    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,))


def module_tree(state: State, rate: float, activation: str) -> _Persistent:
    """The tensors as nested network objects, with some plain attributes of NVIDIA's."""
    easy = sys.modules["dnnlib.util"].EasyDict
    children: dict[str, State] = {}
    parameters, buffers = OrderedDict(), OrderedDict()
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        if rest:
            children.setdefault(head, {})[rest] = tensor
        elif name in ("w_avg", "noise_const", "resample_filter"):
            buffers[name] = tensor
        else:
            parameters[name] = torch.nn.Parameter(tensor, requires_grad=False)
    attributes: dict[str, Any] = {
        "training": False,
        "_non_persistent_buffers_set": set(),
        "_init_args": (1, 2),
        "_init_kwargs": easy(w_dim=16, nested=easy()),
        "weight_gain": np.float64(0.5),
        "_parameters": parameters,
        "_buffers": buffers,
        "_modules": OrderedDict((name, module_tree(part, rate, activation)) for name, part in children.items()),
    }
    if "weight" in parameters:
        attributes |= {"activation": activation, "bias_gain": rate}
    return _Persistent("Generator" if "mapping" in children else "Layer", attributes)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a pickle as NVIDIA's code does; the modules it names exist only during the call."""

    def write(state: State, *, rate: float = 0.01, activation: str = "lrelu", key: str = "G_ema") -> Path:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
                patch.setitem(sys.modules, name, types.ModuleType(name))

            def _reconstruct_persistent_obj(meta: Any) -> None:
                raise AssertionError("never called")

            _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
            _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
            patch.setattr(
                sys.modules["torch_utils.persistence"],
                "_reconstruct_persistent_obj",
                _reconstruct_persistent_obj,
                raising=False,
            )
            easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
            patch.setattr(sys.modules["dnnlib.util"], "EasyDict", easy, raising=False)
            content = {"training_set_kwargs": easy(path="x"), key: module_tree(state, rate, activation), "D": None}
            path = tmp_path / "network.pkl"
            path.write_bytes(pickle.dumps(content, protocol=3))
        return path

    return write


def assert_equal(converted: Generator, expected: Generator) -> None:
    assert converted.config == expected.config
    converted_state, expected_state = converted.state_dict(), expected.state_dict()
    assert list(converted_state) == list(expected_state)
    assert [name for name in converted_state if not torch.equal(converted_state[name], expected_state[name])] == []


# ---- what is converted ----


@pytest.mark.parametrize(
    ("size", "channels", "layers", "rate"),
    [(16, (8, 8, 8), 1, 0.01), (32, (12, 8, 20, 6), 3, 0.01), (64, (4, 5, 6, 7, 8), 8, 1.0)],
)
def test_a_generator_survives_the_way_through_a_pickle_bit_for_bit(
    write: Write, size: int, channels: tuple[int, ...], layers: int, rate: float
) -> None:
    generator = build(size, channels, layers, rate)
    converted = load_nvidia(write(nvidia_state(generator), rate=rate))
    assert_equal(converted, generator)
    z = torch.randn(2, 16)
    assert torch.equal(converted(converted.mapping(z)), generator(generator.mapping(z)))
    assert not converted.training
    assert not any(parameter.requires_grad for parameter in converted.parameters())
    assert {parameter.device.type for parameter in converted.parameters()} == {"cpu"}


@pytest.mark.filterwarnings("ignore::hyperstyle.errors.ConversionWarning")
def test_a_pickle_becomes_a_model_folder(write: Write, tmp_path: Path) -> None:
    generator = build()
    path = write(nvidia_state(generator))
    assert_equal(read_generator(path), generator)
    done = convert(path, tmp_path / "m", domain="wild")
    assert (done.kind, done.consumed) == ("nvidia", {"generator": len(generator.state_dict())})
    model = HyperStyleInverter.from_pretrained(tmp_path / "m", device="cpu").model
    assert_equal(model.generator, generator)
    assert model.info["source"] == "network.pkl (StyleGAN2 generator in NVIDIA's pickle)"


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"G_ema": state}, lambda state: {"g_ema": state}])
def test_its_state_dict_in_a_pt_file_is_read(wrap: Callable[[State], Any], tmp_path: Path) -> None:
    generator = build()
    torch.save(wrap(nvidia_state(generator)), tmp_path / "ada.pt")
    source = sniff(tmp_path / "ada.pt")
    assert source.kind == "nvidia-state"
    converted = find_generator(source)
    assert_equal(converted.network, generator)
    (assumed,) = converted.computed
    assert assumed == "the learning-rate multiplier of the mapping network, 0.01: ada.pt does not say it"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mapping.embed.weight": torch.zeros(16, 10)}, "is a class-conditional generator with 10 class labels"),
        ({"synthesis.b4.torgb.weight": torch.zeros(1, 12, 1, 1)}, "is a generator of gray images"),
        ({"synthesis.b4.torgb.weight": torch.zeros(4, 12, 1, 1)}, "is a generator of RGBA images"),
    ],
)
def test_a_state_dict_of_another_kind_is_refused_by_what_it_is(changes: State, message: str, tmp_path: Path) -> None:
    torch.save({**nvidia_state(build()), **changes}, tmp_path / "ada.pt")
    with pytest.raises(WeightsError, match=rf"ada\.pt {message}"):
        read_generator(tmp_path / "ada.pt")


def test_a_generator_of_the_published_size_has_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        state = nvidia_state(Generator(GeneratorConfig.official(1024)))
    assert len(state) == 16 + 2 + 26 * 4 + 17 * 2 + 8 + 9 + 9
    for name, shape in {
        "mapping.fc7.weight": (512, 512),
        "mapping.w_avg": (512,),
        "synthesis.b4.const": (512, 4, 4),
        "synthesis.b4.conv1.noise_strength": (),
        "synthesis.b64.conv0.affine.weight": (512, 512),
        "synthesis.b128.conv0.weight": (256, 512, 3, 3),
        "synthesis.b1024.conv1.noise_const": (1024, 1024),
        "synthesis.b1024.torgb.weight": (3, 32, 1, 1),
        "synthesis.b1024.torgb.bias": (3,),
        "synthesis.b1024.conv0.resample_filter": (4, 4),
    }.items():
        assert tuple(state[name].shape) == shape, name


def test_filters_keep_their_own_values_and_nvidias_sum_to_one() -> None:
    state = nvidia_state(build())
    for name, tensor in state.items():
        if name.endswith("resample_filter"):
            assert float(tensor.sum()) == 1, name
    state["synthesis.b16.conv0.resample_filter"] = torch.rand(4, 4)
    state["synthesis.b16.resample_filter"] = torch.rand(4, 4)
    ours = generator_from_nvidia(state).state_dict()
    assert torch.equal(ours["convs.2.conv.blur.kernel"], 4 * state["synthesis.b16.conv0.resample_filter"])
    assert torch.equal(ours["to_rgbs.1.upsample.kernel"], 4 * state["synthesis.b16.resample_filter"])


def test_the_conversions_share_no_memory_with_what_they_convert() -> None:
    generator = build()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    state = nvidia_state(generator)
    copy = generator_from_nvidia(state)
    for tensor in state.values():
        tensor.zero_()
    for tensors in (generator.state_dict(), copy.state_dict()):
        assert [name for name in before if not torch.equal(before[name], tensors[name])] == []


def test_half_precision_becomes_float32() -> None:
    generator = generator_from_nvidia({name: tensor.half() for name, tensor in nvidia_state(build()).items()})
    assert {tensor.dtype for tensor in generator.state_dict().values()} == {torch.float32}


# ---- what is refused ----


@pytest.mark.parametrize(
    ("lost", "added", "message"),
    [
        (
            ["synthesis.b8.conv0.noise_const", "mapping.w_avg"],
            [],
            r"2 missing \(first 'mapping.w_avg', 'synthesis.b8.conv0.noise_const'\)",
        ),
        (["synthesis.b16.conv1.resample_filter"], [], r"1 missing \('synthesis.b16.conv1.resample_filter'\)"),
        ([], ["synthesis.b8.skip.weight"], r"1 unexpected \('synthesis.b8.skip.weight'\)"),
        (["mapping.fc1.weight"], [], r"1 missing .*, 2 unexpected \(first 'mapping.fc2.weight', 'mapping.fc2.bias'\)"),
        (["synthesis.b32.conv1.weight"], ["mapping.fc9.bias"], "1 missing .* 1 unexpected"),
        ([], ["synthesis.b64.conv0.weight"], "missing .first 'synthesis.b64"),
    ],
)
def test_tensors_too_few_or_too_many_are_counted_and_named(lost: list[str], added: list[str], message: str) -> None:
    state = nvidia_state(build())
    for name in lost:
        del state[name]
    state |= {name: torch.zeros(3) for name in added}
    with pytest.raises(WeightsError, match=message):
        generator_from_nvidia(state)


@pytest.mark.parametrize("name", sorted(nvidia_state(Generator(GeneratorConfig(16, (8, 8, 8), 16, 1)))))
def test_every_tensor_is_needed_and_of_a_known_shape(name: str) -> None:
    state = nvidia_state(Generator(GeneratorConfig(16, (8, 8, 8), 16, 1)))
    tensor = state.pop(name)
    with pytest.raises(WeightsError, match="missing"):
        generator_from_nvidia(state)
    if name not in ("synthesis.b4.resample_filter", *(f"synthesis.b{r}.conv1.resample_filter" for r in (4, 8, 16))):
        with pytest.raises(WeightsError, match=r"of a wrong shape|channel\(s\)"):
            generator_from_nvidia({**state, name: torch.cat([tensor[None]] * 2)})
        with pytest.raises(WeightsError, match=f"'{name}' holds NaN"):
            generator_from_nvidia({**state, name: tensor * torch.nan})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mapping.embed.weight": torch.zeros(16, 10), "mapping.embed.bias": torch.zeros(16)}, "10 class labels"),
        ({"synthesis.b4.torgb.weight": torch.zeros(1, 12, 1, 1)}, r"1 channel\(s\): expected 3"),
        ({"synthesis.input.freqs": torch.zeros(8, 2)}, "a StyleGAN3 generator"),
    ],
)
def test_generators_of_another_kind_are_refused_with_the_reason(changes: State, message: str) -> None:
    with pytest.raises(WeightsError, match=f"^the state .*{message}"):
        generator_from_nvidia({**nvidia_state(build()), **changes})


def test_what_is_no_stylegan2_at_all_is_refused() -> None:
    for state in ({}, {"conv.weight": torch.zeros(3)}):
        with pytest.raises(WeightsError, match="no StyleGAN2 generator"):
            generator_from_nvidia(state)
    small = {name: tensor for name, tensor in nvidia_state(build()).items() if "b16" not in name and "b32" not in name}
    with pytest.raises(ConfigError, match="generator size 8"):
        generator_from_nvidia(small)


def test_a_pickle_whose_activation_or_rate_is_unknown_is_refused(write: Write) -> None:
    state = nvidia_state(build())
    with pytest.raises(WeightsError, match=r"network\.pkl: G_ema: mapping\.fc0 has the activation 'relu'"):
        load_nvidia(write(state, activation="relu"))
    with pytest.raises(WeightsError, match=r"bias gain of mapping\.fc0 is 0"):
        load_nvidia(write(state, rate=0))


def test_a_pickle_without_the_averaged_generator_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds entries 'training_set_kwargs', 'G', 'D': expected .*'G_ema'"):
        load_nvidia(write(nvidia_state(build()), key="G"))
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(CheckpointError, match="holds something of type list: expected a network"):
        load_nvidia(tmp_path / "list.pkl")


def test_messages_name_the_file(write: Write) -> None:
    state = nvidia_state(build())
    del state["mapping.w_avg"]
    with pytest.raises(WeightsError, match=r"network\.pkl: G_ema: tensors 1 missing"):
        load_nvidia(write(state))


# ---- the published code ----


@pytest.mark.reference
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("stylegan2_ada_64", marks=pytest.mark.slow),  # its images: tests/parity/test_nvidia.py
        "stylegan2_ada_small64",
    ],
)
def test_a_file_in_the_published_form_is_read_and_gives_the_recorded_images(
    checkpoint_maker: CheckpointMaker, tmp_path: Path, name: str
) -> None:
    folder = checkpoint_maker.reference / "baselines"
    maker, manifest = checkpoint_maker.script("hyperinverter"), checkpoint_maker.manifest("baselines", name)
    maker.make(manifest, 0, tmp_path / "network.pkl", "raise SystemExit")
    generator = load_nvidia(tmp_path / "network.pkl")

    names = json.loads((folder / "nvidia_to_rosinality.json").read_text(encoding="utf-8"))["generator_1024"]
    published = maker.build(manifest, 0, {"G_ema"})["G_ema"]
    ours, nvidia = generator.state_dict(), nvidia_state(generator)
    assert set(published) == set(nvidia)
    compared = 1
    assert torch.equal(ours["latent_avg"], published["mapping.w_avg"])
    for row in names:
        if row["nvidia"] in published and row["rosinality"] in ours:
            expected = published[row["nvidia"]] * (4 if row["op"] == "* 4" else 1)
            assert torch.equal(ours[row["rosinality"]], expected.reshape(ours[row["rosinality"]].shape)), row
            compared += 1
    assert compared == len(ours)

    if name == "stylegan2_ada_64":
        with np.load(folder / "golden" / "stylegan2_ada_64_seed0.npz") as file:
            golden = {key: torch.from_numpy(file[key]) for key in file.files}
        w = generator.mapping(golden["z"])
        for psi in (1.0, 0.7):
            truncated = torch.lerp(generator.latent_avg, w, psi)
            for output, key in ((truncated, "w"), (generator(truncated), "image")):
                expected = golden[f"{key}_psi{psi}"]
                assert float((output - expected).abs().max() / expected.abs().max()) <= 3e-6, f"{key} at psi {psi}"
