"""Identifiers of the package are the field's words; those of its first edition do not come back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "hyperstyle"

OLD = {
    "Average": "EMA",
    "Changes": "GeneratorOverrides",
    "Common": "SharedConv",
    "Folded": "FusedConv",
    "Judge": "Evaluator",
    "MOST_SEED": "MAX_SEED",
    "Room": "Workspace",
    "State": "InversionState",
    "TOGETHER": "DEFAULT_BATCH_SIZE",
    "TraitNetwork": "AttributeNetwork",
    "TraitNetworkConfig": "AttributeNetworkConfig",
    "USUAL_L2": "L2_WARN_THRESHOLD",
    "USUAL_START_L2": "START_L2_WARN_THRESHOLD",
    "Way": "MethodChain or Implementation",
    "a_kind": "describe_kind",
    "beside": "fill_missing",
    "beside_l2": "add_l2",
    "centre": "center",
    "colour": "color",
    "colours": "colors",
    "convolved": "conv3x3",
    "deceived": "generator_loss",
    "doubled": "upsample2x",
    "draw_block": "run_block",
    "draw_sheet": "render_samples",
    "drawn": "rendered",
    "find_pictures": "find_images",
    "fold": "fuse",
    "found": "what was found: detections, codes, ...",
    "grey": "gray",
    "identified": "weights_id",
    "judge": "evaluator",
    "judged": "evaluated",
    "kept": "what was kept",
    "lacking": "missing",
    "lent": "reuse",
    "made": "what was made",
    "meant": "expected",
    "mine": "first",
    "noise_regulariser": "noise_regularizer",
    "of_picture": "of_image",
    "optimise": "optimize",
    "own": "whose it is",
    "own_measures": "basic_measures",
    "pays": "is_faster",
    "picture": "image",
    "regularise": "regularize",
    "room": "workspace or disk space",
    "taken": "what was taken",
    "theirs": "second",
    "threads_set": "with_threads",
    "told": "describe_step",
    "told_apart": "discriminator_loss",
    "uncut": "without_face",
    "usual": "threshold or default",
    "wanted": "what is expected",
    "whole": "what is in it",
}
"""Old word -> the one that took its place."""


def identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names of functions, classes, arguments, attributes and variables, with their lines; no text of strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).rpartition(".")[2], node.lineno


def test_no_identifier_is_a_word_of_the_first_edition() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {name} is {OLD[name]} now"
        for file in sorted(PACKAGE.rglob("*.py"))
        for name, line in identifiers(ast.parse(file.read_text(encoding="utf-8")))
        if name in OLD
    ]
    assert found == []


def test_a_class_name_stands_for_one_class() -> None:
    names = [
        node.name
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [name for name in sorted(set(names)) if names.count(name) > 1] == []


def test_every_kind_of_identifier_is_looked_at() -> None:
    text = "import room\nclass Way: ...\ndef told(beside): ...\nx.lent(mine=1)\ntheirs = 1\nlambda pays: pays\n'fold'"
    names = [name for name, _ in identifiers(ast.parse(text))]
    assert {"room", "Way", "told", "beside", "lent", "mine", "theirs", "pays"} <= set(names)
    assert "fold" not in names
