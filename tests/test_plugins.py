"""What an installed package adds by entry points is there by name: in sweeps, in runs, among the laws."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

OBJECTIVE = '''
from typing import ClassVar
from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.base import objectives

@objectives.register
class Mine(Autoregressive):
    """Autoregression by another name."""
    name: ClassVar[str] = "mine"
'''
QUALITY = '''
from typing import ClassVar
from trainers.data.base import Quality, qualities

@qualities.register
class Shouted(Quality):
    """All in capitals."""
    name: ClassVar[str] = "shouted"
    def alter(self, texts, seed):
        return [text.upper() for text in texts]
'''
CORPUS = '''
from typing import ClassVar
from trainers.data.base import Corpus, Document, corpora

@corpora.register
class Counting(Corpus):
    """Squares."""
    name: ClassVar[str] = "counting"
    def digest(self):
        return "counting-1"
    def documents(self):
        for i in range(3000):
            split = {0: "a", 10: "b"}.get(i % 20, "train")
            yield Document(f"The number {i * i} is {i} by {i}.", "counting", split)
    def apart(self):
        return None
'''
LAW = """
from analysis.laws import formula_law, get_law, register

law = formula_law("E + A/(N*D)**alpha")
law.name = "mine"
register(law)
"""
ENTRY_POINTS = """\
[crossover.objective]
mine = plugin_objective
[crossover.corpus]
counting = plugin_corpus
[crossover.quality]
shouted = plugin_quality
[crossover.law]
mine = plugin_law
"""
USE = """
import sys
from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
points = expand(*load([sys.argv[1]]))
assert {p.config.objective.name for p in points} == {"mine"}
assert points[0].config.data.corpus.name == "counting"
assert points[0].config.data.quality.alter(["a word"], 0) == ["A WORD"]
assert "torch" not in sys.modules, "planning with a plug-in needs no torch"
from analysis.laws import get_law, law_names
assert "mine" in law_names() and get_law("mine").variables == ("N", "D"), law_names()
from trainers import train
result = train(points[0].config, sys.argv[2])
assert result.state == "done" and result.final["kind"] == "exact"
"""
SWEEP = """\
base:
  model: {width: 16, layers: 1}
  objective: mine
  data: {unique_bytes: 5k, context: 32, quality: shouted, corpus: counting}
  evaluation: {sequences: 4}
  batch_size: 4
  steps: 10
"""


def test_a_distribution_adds_an_objective_a_corpus_a_quality_and_a_law(tmp_path: Path) -> None:
    site = tmp_path / "site"
    about = site / "crossover_mine-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: crossover-mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    plugins = {"objective": OBJECTIVE, "corpus": CORPUS, "quality": QUALITY, "law": LAW}
    for name, code in plugins.items():
        (site / f"plugin_{name}.py").write_text(code)
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(SWEEP)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", USE, str(sweep), str(tmp_path / "store" / "runs" / "x")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    del environment["PYTHONPATH"]
    without = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    assert without.returncode != 0 and "unknown objective 'mine'" in without.stderr
