"""Who may import whom, and what may not stand in the package; see docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "hyperstyle"

# From the ground up. A room is a folder or a file of the package. A file imports from lower rows and from its own room.
LAYERS = (
    {"errors"},
    {"moved", "runtime"},
    {"io", "domain"},
    {"images", "networks"},
    {"align", "edits"},
    {"model", "metrics"},
    {"inversion"},
    {"methods"},
    {"inverter", "fitting", "convert"},
    {"training", "evaluation", "video", "bulk", "app"},
    {"cli", "__main__", "__init__"},
)
# The only imports within a row.
WITHIN_A_ROW = {
    ("__main__", "cli"),
    ("cli", "__init__"),
}
# The same inside `networks`.
NETWORKS = (
    {"stylegan2"},
    {"stylegan1", "encoders"},
    {"hypernetworks", "perception"},
    {"cpu"},
    {"reference"},
)
# None of these may be loaded by `import hyperstyle` alone.
HEAVY = (
    "PIL",
    "av",
    "dlib",
    "filelock",
    "fsspec",
    "gradio",
    "huggingface_hub",
    "jinja2",
    "lpips",
    "lz4",
    "numpy",
    "open_clip",
    "pyarrow",
    "ray",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "torchvision",
    "tqdm",
)
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
LONGEST = 400

Graph = dict[str, dict[str, int]]  # module -> imported module -> line


def module_name(file: Path, package: Path) -> str:
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(("hyperstyle", *(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)))


def read_package(package: Path) -> dict[str, ast.Module]:
    return {
        module_name(file, package): ast.parse(file.read_text(encoding="utf-8"), str(file))
        for file in sorted(package.rglob("*.py"))
    }


def import_graph(trees: dict[str, ast.Module]) -> Graph:
    """Every import of the package's own modules, at any depth and behind TYPE_CHECKING too.

    An import of a module that does not exist stands in the graph under the name that was written.
    """
    graph: Graph = {module: {} for module in trees}
    names = {"hyperstyle" if module == "hyperstyle.__init__" else module: module for module in trees}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}:{node.lineno} imports relatively; write the full name"
                # `from hyperstyle.networks import generator` names a module, `... import Generator` does not.
                full = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [name if name in names else str(node.module) for name in full]
            for target in targets:
                if target.split(".")[0] == "hyperstyle":
                    graph[module].setdefault(names.get(target, target), node.lineno)
    return graph


def room(module: str) -> str:
    return module.split(".")[1]


def layer(module: str) -> tuple[int, int]:
    """The row of its room, and inside `networks` the row of its folder there; `networks` itself is below these."""
    rows = [number for number, rooms in enumerate(LAYERS) if room(module) in rooms]
    assert rows, f"{module} is in no row of LAYERS: give {room(module)!r} its place in the house"
    inside = module.split(".")[2:3] if room(module) == "networks" else []
    below = [number for number, names in enumerate(NETWORKS) if inside and inside[0] in names]
    assert below or not inside, f"{module} is in no row of NETWORKS: give {inside[0]!r} its place in there"
    return rows[0], below[0] if below else -1


def forbidden_imports(graph: Graph) -> list[str]:
    wrong = []
    for module, targets in graph.items():
        for target, line in targets.items():
            depth = 3 if room(module) == room(target) == "networks" else 2
            same_room = module.split(".")[1:depth] == target.split(".")[1:depth]
            allowed = (room(module), room(target)) in WITHIN_A_ROW
            if not (same_room or allowed or layer(target) < layer(module)):
                wrong.append(f"{module}:{line} imports {target}")
    return wrong


def cycles(graph: Graph) -> list[list[str]]:
    """Strongly connected components of more than one module, and modules that import themselves (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in graph[module].keys() & graph.keys():
            if target not in index:
                visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            component = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(component) > 1 or module in graph[module]:
                components.append(sorted(component))

    for module in graph:
        if module not in index:
            visit(module)
    return components


def dotted(node: ast.expr) -> str:
    """`torch.load` of the expression torch.load; "" for anything but names and dots."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def loose_loads(module: str, tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        # `zip(a, b, strict=False)` says that the lengths may differ; no weights are loaded by it.
        if isinstance(node, ast.Call) and dotted(node.func) != "zip":
            for keyword in node.keywords:
                if keyword.arg == "strict" and ast.unparse(keyword.value) == "False":
                    yield node.lineno


def unpickling(module: str, tree: ast.Module) -> Iterator[int]:
    if module in {"hyperstyle.io.torch_files", "hyperstyle.io.pickle_reader"}:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            matches = any(alias.name.split(".")[0] in PICKLERS for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package, names = str(node.module).split(".")[0], {alias.name for alias in node.names}
            matches = package in PICKLERS or (package == "torch" and "load" in names)
        elif isinstance(node, ast.Attribute):
            matches = dotted(node) in {"torch.load", "torch.hub.load", "torch.jit.load"}
        elif isinstance(node, ast.Call):
            matches = any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords)
        else:
            continue
        if matches:
            yield node.lineno


def signal_handlers(module: str, tree: ast.Module) -> Iterator[int]:
    if room(module) == "cli":
        return
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if "signal" in names or (isinstance(node, ast.ImportFrom) and node.module == "signal"):
            yield node.lineno


def opened_images(module: str, tree: ast.Module) -> Iterator[int]:
    """Pillow starts other programs for some formats, unless it is given the list of formats to accept."""
    if module == "hyperstyle.images.formats":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            matches = ("open" in names and node.module == "PIL.Image") or "imread" in names
            matches = matches or node.module in ("torchvision.datasets", "torchvision.io")
        else:
            matches = isinstance(node, ast.Attribute) and dotted(node) in {"Image.open", "PIL.Image.open", "plt.imread"}
        if matches:
            yield node.lineno


def imports_of_examples(module: str, tree: ast.Module) -> Iterator[int]:
    """The package and its tests stand without the lab, which is not installed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            matches = any(alias.name.split(".")[0] == "examples" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            matches = str(node.module).split(".")[0] == "examples"
        else:
            matches = isinstance(node, ast.Call) and any(
                isinstance(value, ast.Constant) and re.match(r"examples\.", str(value.value)) for value in node.args
            )
        if matches:
            yield node.lineno


def prints(module: str, tree: ast.Module) -> Iterator[int]:
    if room(module) in {"cli", "__main__"}:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) in {
            "print",
            "sys.stdout.write",
            "sys.stderr.write",
        }:
            yield node.lineno


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return read_package(PACKAGE)


@pytest.fixture(scope="module")
def graph(trees: dict[str, ast.Module]) -> Graph:
    return import_graph(trees)


def test_every_import_from_the_package_names_a_module_of_it(graph: Graph) -> None:
    missing = [
        f"{module}:{line} imports {target}"
        for module, targets in graph.items()
        for target, line in targets.items()
        if target not in graph
    ]
    assert missing == []


def test_a_file_imports_only_from_below_or_from_its_own_package(graph: Graph) -> None:
    assert forbidden_imports(graph) == []


def test_no_modules_import_each_other_in_a_circle(graph: Graph) -> None:
    assert cycles(graph) == []


@pytest.mark.parametrize("rule", [loose_loads, unpickling, signal_handlers, opened_images, imports_of_examples, prints])
def test_no_file_does_what_only_its_own_place_may_do(
    rule: Callable[[str, ast.Module], Iterator[int]], trees: dict[str, ast.Module]
) -> None:
    assert [f"{module}:{line}" for module, tree in trees.items() for line in rule(module, tree)] == []


def test_no_test_of_the_package_imports_the_examples() -> None:
    tests = Path(__file__).resolve().parent
    imports = {
        f"{file.relative_to(tests)}:{line}"
        for file in tests.rglob("*.py")
        if "examples" not in file.relative_to(tests).parts
        for line in imports_of_examples(file.stem, ast.parse(file.read_text(encoding="utf-8")))
    }
    assert imports == set()


def test_no_file_is_longer_than_the_house_allows() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {str(file): length for file, length in lengths.items() if length > LONGEST} == {}


def test_every_file_postpones_its_annotations(trees: dict[str, ast.Module]) -> None:
    # Python 3.10 would evaluate some annotations that only newer versions can.
    without = [
        module
        for module, tree in trees.items()
        if any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign) for node in ast.walk(tree))
        and not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    ]
    assert without == []


def test_importing_the_package_loads_nothing_heavy(run_python: Callable[..., object]) -> None:
    code = f"import sys, hyperstyle; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = run_python("-c", code)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_building_the_command_line_loads_nothing_heavy(run_python: Callable[..., object]) -> None:
    code = (
        "import sys, hyperstyle.cli; hyperstyle.cli.build_parser(); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = run_python("-c", code)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


class TestTheRulesThemselves:
    """A rule that finds nothing proves nothing until it has found something."""

    @pytest.fixture
    def house(self, tmp_path: Path) -> Callable[[dict[str, str]], Graph]:
        def build(files: dict[str, str]) -> Graph:
            for name, text in files.items():
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return import_graph(read_package(tmp_path))

        return build

    def test_an_import_from_above_is_found_even_inside_a_function(
        self, house: Callable[[dict[str, str]], Graph]
    ) -> None:
        graph = house({"errors.py": "def f():\n    from hyperstyle.io.hub import x\n", "io/hub.py": ""})
        assert forbidden_imports(graph) == ["hyperstyle.errors:2 imports hyperstyle.io.hub"]

    def test_neighbors_in_a_row_are_kept_apart_except_where_listed(
        self, house: Callable[[dict[str, str]], Graph]
    ) -> None:
        graph = house(
            {
                "cli/__init__.py": "import hyperstyle\n",
                "__init__.py": "",
                "training/loop.py": "import hyperstyle.video\n",
                "video.py": "",
            }
        )
        assert forbidden_imports(graph) == ["hyperstyle.training.loop:1 imports hyperstyle.video"]

    def test_a_module_without_a_place_in_the_house_is_named(self, house: Callable[[dict[str, str]], Graph]) -> None:
        graph = house({"utils.py": "import hyperstyle.errors\n", "errors.py": ""})
        with pytest.raises(AssertionError, match="'utils'"):
            forbidden_imports(graph)

    def test_the_folders_of_networks_have_an_order_too(self, house: Callable[[dict[str, str]], Graph]) -> None:
        graph = house(
            {
                "networks/stylegan2/ops.py": "import hyperstyle.networks.stylegan2.config\n",
                "networks/stylegan2/config.py": "import hyperstyle.networks.encoders.w_encoder\n",
                "networks/encoders/w_encoder.py": "import hyperstyle.networks.stylegan2.ops\n",
            }
        )
        assert forbidden_imports(graph) == [
            "hyperstyle.networks.stylegan2.config:1 imports hyperstyle.networks.encoders.w_encoder"
        ]

    def test_a_circle_within_one_package_is_found(self, house: Callable[[dict[str, str]], Graph]) -> None:
        graph = house(
            {
                "edits/a.py": "import hyperstyle.edits.b\n",
                "edits/b.py": "import hyperstyle.edits.c\n",
                "edits/c.py": "from hyperstyle.edits.a import x\n",
            }
        )
        assert cycles(graph) == [["hyperstyle.edits.a", "hyperstyle.edits.b", "hyperstyle.edits.c"]]

    @pytest.mark.parametrize(
        ("rule", "line"),
        [
            (loose_loads, "model.load_state_dict(state, strict=False)"),
            (unpickling, "import pickle"),
            (unpickling, "from torch import load"),
            (unpickling, "state = torch.load(path, weights_only=True)"),
            (unpickling, "rows = numpy.load(path, allow_pickle=flag)"),
            (signal_handlers, "import signal"),
            (opened_images, "image = Image.open(path, formats=formats)"),
            (opened_images, "from torchvision.datasets import ImageFolder"),
            (imports_of_examples, "import examples.avatars.crops"),
            (imports_of_examples, "from examples.avatars.renderer import face"),
            (imports_of_examples, "module = import_module('examples.avatars.crops')"),
            (prints, "print('done')"),
        ],
    )
    def test_a_line_against_the_rules_is_found(
        self, rule: Callable[[str, ast.Module], Iterator[int]], line: str
    ) -> None:
        assert list(rule("hyperstyle.io.hub", ast.parse(line))) == [1]

    @pytest.mark.parametrize(
        ("rule", "module", "line"),
        [
            (loose_loads, "hyperstyle.io.hub", "zip(a, b, strict=False)"),
            (unpickling, "hyperstyle.io.torch_files", "state = torch.load(path, weights_only=True)"),
            (unpickling, "hyperstyle.io.hub", "rows = numpy.load(path, allow_pickle=False)"),
            (signal_handlers, "hyperstyle.cli.__init__", "import signal"),
            (opened_images, "hyperstyle.images.formats", "image = Image.open(path, formats=formats)"),
            (imports_of_examples, "hyperstyle.images.examples", "from hyperstyle.images.examples import example_photo"),
            (prints, "hyperstyle.cli.info", "print('done')"),
        ],
    )
    def test_a_line_that_only_looks_like_it_is_left_alone(
        self, rule: Callable[[str, ast.Module], Iterator[int]], module: str, line: str
    ) -> None:
        assert list(rule(module, ast.parse(line))) == []
