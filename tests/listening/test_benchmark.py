"""What the page on measures and listeners is made from, and that it is made from it."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results" / "correlation").glob("*.json"))
LEVELS = ("pooled", "within_system", "within_content", "system")


def documents() -> list[Any]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS]


def test_every_set_at_hand_has_results() -> None:
    found = {path.name.partition("--")[0] for path in RESULTS}
    assert found == {"svs_mushra", "codec_mushra", "p835_reference_conditions", "gensvs_dcr"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_a_result_says_how_it_was_made_and_holds_no_rating(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["schema"] == 1
    assert found["benchmark"] == f"correlation/{path.name.partition('--')[0]}"
    assert {"percloss", "torch", "scipy"} <= found["versions"].keys()
    assert {"align", "resamples", "left_out", "missing", "tests"} <= found["settings"].keys()
    for row in found["rows"]:
        assert row["test"] in found["settings"]["tests"]
        for level in LEVELS:
            value = row[level]["srcc"]
            assert value is None or -1 <= value <= 1
    # Of the ratings no number but correlations, and of the recordings no name.
    assert "est" not in path.read_text(encoding="utf-8").split('"rows"')[1].split('"')
    assert ".flac" not in path.read_text(encoding="utf-8")


def rows_of(name: str) -> list[Any]:
    return next(found["rows"] for found in documents() if found["benchmark"].endswith(name))


def test_the_separated_voices_are_as_their_authors_say() -> None:
    """The page says that it finds what they find: APS best for quality, SIR and IPS about equal for interference."""
    by_scale: dict[str, dict[str, float]] = {}
    for row in rows_of("svs_mushra"):
        if row["measure"].startswith("published_"):
            by_scale.setdefault(row["test"].partition("/")[2], {})[row["measure"]] = row["pooled"]["srcc"]
    quality, interference = by_scale["sound_quality"], by_scale["interference_absence"]
    assert max(quality, key=lambda name: quality[name]) == "published_APS"
    assert set(sorted(interference, key=lambda name: -interference[name])[:2]) == {"published_SIR", "published_IPS"}


def test_the_generated_voices_are_as_their_authors_say() -> None:
    """The page says that it finds what they find: which measure is best for which kind of system."""
    rows = rows_of("gensvs_dcr")

    def best(family: str, count: int) -> set[str]:
        order = sorted(rows, key=lambda row: -row["families"][family]["srcc"])
        return {row["measure"] for row in order[:count]}

    assert best("discriminative", 1) == {"emb_mse_music2latent_df"}
    assert best("generative", 2) == {"multi_res_loss", "emb_mse_mert_df"}


def test_the_page_is_made_from_the_results() -> None:
    page = runpy.run_module("docs.make_correlation")["page"]()
    written = (ROOT / "docs" / "correlation.md").read_text(encoding="utf-8")
    assert page == written, "type: python -m docs.make_correlation"
    for found in documents():
        for name in found["settings"]["tests"]:
            assert f"## {name}\n" in written


def test_figures_that_other_pages_quote_are_those_that_were_found() -> None:
    singing, speech = rows_of("svs_mushra"), rows_of("p835_reference_conditions")
    found = {(row["test"].partition("/")[2], row["measure"]): row["pooled"]["srcc"] for row in (*singing, *speech)}
    overall = "fullband48k/OVRL"
    quoted = {
        "docs/choosing.md": (
            *(("sound_quality", name) for name in ("fullness", "si_sir", "si_sdr")),
            *(("interference_absence", name) for name in ("fullness", "si_sir", "si_sdr")),
            (overall, "si_sdr"),
            (overall, "peaq_win_mod_diff1"),
        ),
        "README.md": (
            *(("sound_quality", name) for name in ("fullness", "si_sdr", "pesq_wb", "two_f")),
            (overall, "si_sdr"),
        ),
    }
    assert max(found[overall, row["measure"]] for row in speech if row["test"].endswith(overall)) == pytest.approx(
        found[overall, "peaq_win_mod_diff1"]
    )
    for page, keys in quoted.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [key for key in keys if f"{found[key]:.2f}" not in text] == []
