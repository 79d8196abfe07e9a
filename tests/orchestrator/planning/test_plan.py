"""Plans: counts, shared runs once, trunks and branches, what the store holds, and prices that add up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
from orchestrator.language.spec import SweepSpec
from orchestrator.planning.drafting import make_plan
from orchestrator.planning.estimate import Estimator, Sample, gemm_rate, sample, shape
from orchestrator.planning.plans import Plan
from orchestrator.planning.standing import Standing
from tests.paths import ROOT
from trainers.config import RunConfig
from trainers.evaluation.grid import evaluation_steps
from trainers.state.folder import Checkpoint, RunFolder, json_line

SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
FIXED = {"estimator": Estimator(gemm=1e11)}


def sweep(folder: Path, text: str, name: str = "s") -> SweepSpec:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return load([path])[0]


def trained(
    store: Path, config: RunConfig, step: int, kept: dict[int, bool], state: str = "running"
) -> RunFolder:
    """A run's folder as training leaves it: committed to ``step``, weights at ``kept`` (true: with the
    optimizer's state)."""
    folder = RunFolder(store / "runs" / config.training_key)
    attempt = folder.begin(config)
    checkpoints = {}
    for at, whole in kept.items():
        weights = attempt.put(f"objects/{attempt.name}-{at:08d}.weights.safetensors", b"w")
        moments = attempt.put(f"objects/{attempt.name}-{at:08d}.state.safetensors", b"s") if whole else None
        checkpoints[at] = Checkpoint(weights=weights, state=moments)
    speed = {
        "event": "speed",
        "step": step,
        "tokens_per_second": 1e5,
        "train_seconds": 2.0,
        "evaluation_seconds": 0.5,
    }
    telemetry = attempt.put(f"events/{attempt.name}-0-{step:08d}.telemetry.jsonl", json_line(speed))
    attempt.commit(step=step, state=state, checkpoints=checkpoints, telemetry=(telemetry,))
    return folder


def states(made: Plan) -> list[str]:
    return [row.state for row in made.rows]


def test_every_sweep_of_the_project_plans() -> None:
    totals = {path.stem: make_plan(load([path]), **FIXED).totals for path in SWEEPS}
    assert {name: t["end_points"] for name, t in totals.items()} == {
        "diffusion_data_constrained": 210,
        "four_axes": 24,
        "quickstart": 24,
        "quokka_isoflop": 51,
        "quokka_multi_epoch": 144,
        "sdl": 29,
        "smdm_isoflop": 60,
        "tuned_baseline": 14,
    }
    assert all(t["seconds"] > 0 and t["states"] == {"new": t["end_points"]} for t in totals.values())


def test_the_default_pair_of_super_data_learners_is_one_pair() -> None:
    made = make_plan(load([ROOT / "sweeps/sdl.yaml"]), **FIXED)
    default = [r for r in made.rows if (r.U, r.D, round(r.N, -8)) == (10**9, 183105 * 524288, 11 * 10**8)]
    masks = [r.axes["objective.input_mask"] for r in default if r.objective == "autoregressive"]
    assert sorted(masks) == [0, 0.1, 0.3, 0.5, 0.7, 0.9] and len(default) == 7
    assert sorted({round(r.epochs) for r in made.rows if r.epochs}) == [1, 10, 64, 96, 192, 480]


def test_overlapping_sweeps_share_runs() -> None:
    paths = [ROOT / f"sweeps/{name}.yaml" for name in ("quickstart", "four_axes", "tuned_baseline")]
    specs = load(paths)
    alone = sum(len(expand(spec)) for spec in specs)
    made = make_plan(specs, **FIXED)
    shared = [row for row in made.rows if len(row.sweeps) > 1]
    assert alone - len(made.rows) == sum(len(row.sweeps) - 1 for row in shared) == 8 + 4
    assert made.totals["seconds"] < sum(make_plan([spec], **FIXED).totals["seconds"] for spec in specs)


def test_rows_hold_what_the_command_line_promises(tmp_path: Path) -> None:
    made = make_plan([sweep(tmp_path, "base: {data.unique_bytes: 5k, steps: 10}")], **FIXED).json()
    (row,) = json.loads(json.dumps(made))["runs"]
    wanted = {"key", "run", "trunk", "sweeps", "cell", "seed", "N", "D", "U", "epochs", "flops", "seconds"}
    wanted |= {"memory_bytes", "disk_bytes", "state"}
    assert wanted <= set(row)
    assert (row["D"], row["U"], row["epochs"], row["state"]) == (40960, 5000, 8.192, "new")
    matrices = row["N"] - 256 * 64 - 3 * (2 * 64 + 2 * 32) - 64  # all but the input embedding and the norms
    assert row["flops"] == 40960 * (6 * matrices + 12 * 3 * 128 * 64)
    assert row["key"] == f"{row['run']}-10" and row["trunk"] is None


def test_what_is_left_is_told_in_the_time_of_what_it_holds(tmp_path: Path) -> None:
    from orchestrator.commands.plan import totals

    base = "base: {data.unique_bytes: 5k, steps: 10}\n"
    cores = make_plan([sweep(tmp_path, base + "resources: {threads: 2, workers: 4}")], **FIXED)
    cards = make_plan([sweep(tmp_path, base + "resources: {gpus: 4, device: cuda}", "g")], **FIXED)
    both = make_plan([*cores.specs, *cards.specs], **FIXED)
    assert cores.totals["core_seconds"] == 8 * cores.totals["seconds"] and not cores.totals["gpu_seconds"]
    assert cards.totals["gpu_seconds"] == 4 * cards.totals["seconds"] and not cards.totals["core_seconds"]
    assert " of one core to go" in totals(cores) and "GPU" not in totals(cores)
    assert " of one GPU to go" in totals(cards) and "core" not in totals(cards)
    mixed = sweep(tmp_path, base + "axes: {batch_size: [8, 16]}\nwhen:\n"
                  "- {match: {batch_size: 8}, set: {resources: {gpus: 1, device: cuda}}}", "m")  # fmt: skip
    assert re.search("about .* of one core and .* of one GPU to go", totals(make_plan([mixed], **FIXED)))
    assert len(both.rows) == 1, "resources are no part of a run"


def test_branches_share_a_trunk_and_each_part_is_counted_once(tmp_path: Path) -> None:
    text = "base: {schedule: {name: wsd, decay: 0.2}}\naxes: {budget.steps: [100, 200, 400]}"
    made = make_plan([sweep(tmp_path, text)], **FIXED)
    (trunk,) = {row.trunk for row in made.rows}
    assert trunk is not None and trunk not in {row.run for row in made.rows}
    tasks = {task.key: task for task in made.tasks}
    stem = tasks[f"train:{trunk}"]
    assert stem.config.steps == 320 and stem.branch_steps == (80, 160, 320) and stem.end_points == ()
    assert all(stem.key in tasks[f"train:{row.run}"].needs for row in made.rows)
    assert sum(row.seconds for row in made.rows) == pytest.approx(made.totals["seconds"])
    alone = 320 + 20 + 40 + 80
    per_step = FIXED["estimator"].kind(stem.config).training_seconds(1)
    assert (
        made.totals["seconds"] == pytest.approx(alone * per_step, rel=0.4)
        and made.totals["seconds"] > alone * per_step
    )


def test_a_constant_run_serves_as_the_trunk(tmp_path: Path) -> None:
    text = "axes: {schedule: [constant, {name: wsd, decay: 0.5}]}\nbase: {steps: 100}"
    made = make_plan([sweep(tmp_path, text)], **FIXED)
    constant, branch = made.rows
    assert branch.trunk == constant.run and len([t for t in made.tasks if t.kind == "train"]) == 2
    assert sum(row.seconds for row in made.rows) == pytest.approx(made.totals["seconds"])


def test_states_follow_the_store(tmp_path: Path) -> None:
    spec = sweep(tmp_path, "base: {steps: 100}\naxes: {batch_size: [1, 2, 3, 4]}")
    done, partial, diverged, _ = (point.config for point in expand(spec))
    trained(tmp_path, done, 150, {150: True}, "done")
    trained(tmp_path, partial, 40, {40: True})
    trained(tmp_path, diverged, 60, {40: True}, "diverged")
    made = make_plan([spec], tmp_path, **FIXED)
    assert states(made) == ["cached", "partial", "diverged", "new"]
    assert [row.seconds > 0 for row in made.rows] == [False, True, False, True]
    whole = make_plan([spec], None, **FIXED)
    assert 0.2 < made.rows[1].seconds / whole.rows[1].seconds < 0.7
    assert {t.run for t in made.tasks if t.kind == "train"} == {made.rows[1].run, made.rows[3].run}


def test_missing_evaluations_are_scored_from_checkpoints_or_by_training_again(tmp_path: Path) -> None:
    config = expand(sweep(tmp_path, "base: {steps: 40}"))[0].config
    grid = evaluation_steps(config.evaluation, 40)
    kept = {step: step == 20 for step in grid if step != 22}
    trained(tmp_path, config, 40, kept | {40: True}, "done")
    assert states(make_plan([sweep(tmp_path, "base: {steps: 40}")], tmp_path, **FIXED)) == ["cached"]
    made = make_plan([sweep(tmp_path, "base: {steps: 40, evaluation: {draws: 8}}")], tmp_path, **FIXED)
    assert states(made) == [Standing.CHECKPOINT_GONE]
    by_step = {task.steps[0]: task for task in made.tasks}
    assert set(by_step) == set(grid) and {task.kind for task in made.tasks} == {"rescore"}
    again = by_step[22].seconds - by_step[20].seconds
    assert again == pytest.approx(FIXED["estimator"].kind(config).training_seconds(2))
    assert made.rows[0].seconds == pytest.approx(made.totals["seconds"])


def test_what_is_gone_is_brought_back_in_one_pass_whose_price_the_rows_share(tmp_path: Path) -> None:
    text = "base: {evaluation: {draws: %s}}\naxes: {budget.steps: [20, 40]}"
    first = sweep(tmp_path, text % 2)
    config = expand(first)[1].config
    trained(tmp_path, config, 40, {16: True, 40: True}, "done")
    made = make_plan([sweep(tmp_path, text % 8)], tmp_path, **FIXED)
    gone = [s for s in evaluation_steps(config.evaluation, 40) if s not in (16, 40)]
    (again,) = (task for task in made.tasks if task.steps == tuple(gone))
    scoring = FIXED["estimator"].kind(expand(made.specs[0])[1].config).evaluation_seconds(len(gone))
    trained_again = max(s for s in gone if s < 16) + max(gone) - 16
    assert again.seconds == pytest.approx(
        FIXED["estimator"].kind(config).training_seconds(trained_again) + scoring
    )
    assert sum(row.seconds for row in made.rows) == pytest.approx(made.totals["seconds"])


def test_denser_evaluations_miss_only_the_new_steps(tmp_path: Path) -> None:
    config = expand(sweep(tmp_path, "base: {steps: 40}"))[0].config
    trained(tmp_path, config, 40, {step: True for step in range(1, 41)}, "done")
    made = make_plan([sweep(tmp_path, "base: {steps: 40, evaluation: {spacing: 1.01}}")], tmp_path, **FIXED)
    had = set(evaluation_steps(config.evaluation, 40))
    assert states(made) == ["partial"] and {s for t in made.tasks for s in t.steps} == set(range(8, 41)) - had


def test_children_wait_for_their_parent_or_are_blocked(tmp_path: Path) -> None:
    parent = sweep(tmp_path, "base: {steps: 50}", "parent")
    key = expand(parent)[0].run
    child = sweep(tmp_path, f"base: {{init: {{run: {key}, step: 40}}, objective: masked_diffusion}}", "child")
    orphan = make_plan([child], tmp_path, **FIXED)
    assert states(orphan) == ["blocked"] and not orphan.tasks
    assert any("neither in the store" in warning for warning in orphan.warnings)
    family = make_plan([parent, child], tmp_path, **FIXED)
    tasks = {task.run: task for task in family.tasks if task.kind == "train"}
    assert tasks[key].branch_steps == (40,) and tasks[key].key in tasks[family.rows[1].run].needs
    trained(tmp_path, expand(parent)[0].config, 50, {50: True}, "done")
    assert any("no checkpoint at step 40" in w for w in make_plan([child], tmp_path, **FIXED).warnings)


def test_speed_comes_from_telemetry_of_that_shape_else_of_a_near_one_else_from_the_machine() -> None:
    config = RunConfig.model_validate({"steps": 10})
    found = sample(
        config,
        [{"event": "speed", "tokens_per_second": 2e4, "train_seconds": 3.0, "evaluation_seconds": 0.1}] * 3,
    )
    assert (
        found is not None
        and found.train == pytest.approx(5e-5)
        and found.score == pytest.approx(0.1 / (96 * 128))
    )
    estimator = Estimator([found], gemm=1e11)
    assert estimator.speed(config).source == "measured"
    near = estimator.speed(config.model_copy(update={"batch_size": 16}))
    assert near.source == "scaled" and near.train == pytest.approx(found.train)
    assert Estimator(gemm=1e11).speed(config).source == "modelled"
    card = RunConfig.model_validate({"resources": {"device": "cuda", "gpus": 1}})
    assert estimator.speed(card).source == "assumed" and shape(card) != shape(config)
    assert sample(config, []) is None and gemm_rate() > 1e8
    assert isinstance(found, Sample)


def test_errors_of_all_sweeps_together(tmp_path: Path) -> None:
    from trainers.components.source import SpecError

    specs = [sweep(tmp_path, "base: {batch_size: 0}", "a"), sweep(tmp_path, "base: {ema: 2}", "b")]
    with pytest.raises(SpecError) as caught:
        make_plan(specs)
    assert len(caught.value.issues) == 2


def test_planning_is_light() -> None:
    code = (
        "import sys; from orchestrator.language.loading import load; "
        "from orchestrator.planning.drafting import make_plan; "
        "make_plan(load(['sweeps/quickstart.yaml'])); "
        "print(sorted({'torch', 'ray', 'mlflow', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
