"""The house keeps its rules: contracts of imports bite, names mean one thing, rooms stay small."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("trainers", "orchestrator", "analysis")
CONTRACTS = {
    c["name"]: c["id"]
    for c in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
UPWARD = {
    "doors": ("analysis/laws/terms.py", "import trainers.noise"),
    "trainers": ("trainers/components/numbers.py", "import trainers.noise"),
    "orchestrator": ("orchestrator/failures.py", "import orchestrator.store.origin"),
    "analysis": ("analysis/laws/terms.py", "import analysis.tables.columns"),
}
ROUND = {"circles": ("trainers/data/hashing.py", "import trainers.data.dataset")}
CATALOGUES = {"commands", "laws"}
"""Rooms whose modules are commands or registered components: as many as there are."""


def modules(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Each module of the folders, its path from the checkout, and its tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def broken(folder: Path, breaches: dict[str, tuple[str, str]]) -> set[str]:
    """Ids of the contracts that a copy of the packages breaks once the imports of ``breaches`` are added."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.xz", "__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, line in breaches.values():
        with (folder / path).open("a") as file:
            file.write(f"\n{line}\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    judged = {CONTRACTS[name]: any(f"{name} BROKEN" in line for line in lines) for name in CONTRACTS}
    assert all(any(f"{name} {word}" in done.stdout for word in ("KEPT", "BROKEN")) for name in CONTRACTS)
    assert done.returncode == int(any(judged.values()))
    return {contract for contract, is_broken in judged.items() if is_broken}


def test_every_contract_can_be_broken() -> None:
    assert set(CONTRACTS.values()) == UPWARD.keys() | ROUND.keys()


def test_an_import_from_above_breaks_the_contract_of_its_package(tmp_path: Path) -> None:
    assert broken(tmp_path, UPWARD) >= UPWARD.keys()


def test_an_import_in_a_circle_breaks_that_contract_alone(tmp_path: Path) -> None:
    assert broken(tmp_path, ROUND) == ROUND.keys()


def test_no_module_is_shadowed_by_a_function_of_its_name() -> None:
    shadowed = [
        str(path)
        for path, tree in modules(*PACKAGES)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == path.stem and path.parent.name != "commands"
    ]
    assert not shadowed


def test_no_public_class_is_two_things() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path, tree in modules(*PACKAGES):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path))
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_identifiers_are_nouns() -> None:
    """A participle says that something happened and not what came of it; at most twenty stay."""
    vague, counts = {"found", "made", "asked", "held", "wanted"}, Counter[str]()
    for path, tree in modules(*PACKAGES):
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                name = node.id
            elif isinstance(node, ast.arg | ast.keyword):
                name = node.arg or ""
            elif isinstance(node, ast.Attribute):
                name = node.attr
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                name = node.name
            else:
                continue
            counts[str(path)] += name in vague
    assert counts.total() <= 20, counts.most_common(10)


@pytest.mark.parametrize("package", [*PACKAGES, *(f"tests/{p}" for p in PACKAGES)])
def test_rooms_are_few_and_small(package: str) -> None:
    folders = [p for p in (ROOT / package).rglob("*") if p.is_dir() and any(p.glob("*.py"))]
    rooms = [p.name for p in folders if p.parent == ROOT / package]
    assert len(rooms) <= 12, sorted(rooms)
    for folder in (ROOT / package, *folders):
        inside = sorted(p.name for p in folder.glob("*.py") if not p.name.startswith("__"))
        assert len(inside) <= 12 or folder.name in CATALOGUES, (folder.relative_to(ROOT), inside)


def test_modules_stay_readable_at_a_sitting() -> None:
    lines = {path: len((ROOT / path).read_text().splitlines()) for path, _ in modules(*PACKAGES, "tests")}
    assert not {str(path): n for path, n in lines.items() if n > 420}
