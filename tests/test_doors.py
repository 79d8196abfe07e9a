"""The doors between the packages open one way, and planning stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

SHUT = {
    "trainers": {"ray", "mlflow", "orchestrator", "analysis"},
    "analysis": {"torch", "ray", "mlflow", "orchestrator", "trainers"},
}
DEFERRED = {"torch", "ray", "mlflow"}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", SHUT)
def test_doors_are_shut(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        crossed = imports(path) & SHUT[package]
        assert not crossed, f"{path.relative_to(ROOT)} imports {crossed}"


def test_orchestrator_imports_heavy_packages_only_inside_functions() -> None:
    for path in (ROOT / "orchestrator").rglob("*.py"):
        assert not imports(path, top_level_only=True) & DEFERRED, path


@pytest.mark.parametrize("module", ["trainers.config", "orchestrator.cli", "orchestrator.planning.plans"])
def test_planning_loads_neither_torch_nor_ray_nor_mlflow(module: str) -> None:
    probe = f"import {module}, sys; print(sorted({DEFERRED!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_door_of_trainers_opens_lazily_and_lists_what_is_behind_it() -> None:
    probe = "import trainers, sys; print(sorted(dir(trainers))); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    import trainers

    listed, torch = done.stdout.splitlines()
    assert listed == str(sorted(trainers.__all__)) and torch == "False"
    assert all(getattr(trainers, name) is not None for name in trainers.__all__)
    assert "left_to_right" in trainers.registries["sampler"].names()
    assert repr(trainers.registries["order"]) == "<order: fixed, shuffle, shuffle_all>"


def test_the_door_of_the_orchestrator_opens_lazily_and_lists_what_is_behind_it() -> None:
    heavy = "{'torch', 'ray', 'mlflow', 'pandas'} & set(sys.modules)"
    probe = f"import orchestrator, sys; print(dir(orchestrator)); orchestrator.Sweep; print({heavy})"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    import orchestrator

    listed, loaded = done.stdout.splitlines()
    assert listed == str(orchestrator.__all__) and loaded == "set()"
    assert all(getattr(orchestrator, name) is not None for name in orchestrator.__all__)
    with pytest.raises(AttributeError, match="Sweep"):
        orchestrator.Swep  # type: ignore[attr-defined]  # noqa: B018


def test_crossover_opens_the_names_of_all_three() -> None:
    import analysis
    import crossover
    import orchestrator
    import trainers

    assert dir(crossover) == sorted({*analysis.__all__, *orchestrator.__all__, *trainers.__all__})
    assert crossover.Sweep is orchestrator.Sweep and crossover.fit is analysis.fit
    assert not hasattr(crossover, "Swep")
