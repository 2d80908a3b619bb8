"""At one signal-to-noise ratio each diagnostic puts its own family of artefacts first, on real recordings."""

import json

import pytest
import torch

from docs import make_confusion
from docs.make_confusion import CLIPS, FIGURES, OTHERS, PAGE, RANKED, diagnostics, order, owners
from percloss.degrade import CODECS, FAMILIES

pytest.importorskip("soundfile", reason="soundfile reads the embedded recordings")

# What has no diagnostic of its own: several numbers together tell of it.
WITHOUT = {"shaped_noise", "saturation", "quantisation", *CODECS}
CASES = [(family, each, sign) for family, own in owners().items() for each, sign in own]


@pytest.mark.parametrize(("family", "diagnostic", "sign"), CASES, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("clip", CLIPS)
def test_a_diagnostic_hears_its_own_family_first(clip: str, family: str, diagnostic: type, sign: int) -> None:
    values = make_confusion.figures(CLIPS[clip], tuple(RANKED))[diagnostic.spec.name]
    ranked = order(values, sign)
    assert ranked[0] == family, f"{ranked[:3]} of {values}"


def test_singing_is_told_too(data_root) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = data_root / "svs_mushra" / "audio" / "vocals-10-SIR" / "ref.flac"
    if not path.is_file():
        pytest.skip(f"no recording of a singer at {path}")
    samples, rate = soundfile.read(path, int(make_confusion.SECONDS * soundfile.info(path).samplerate), dtype="float32")
    wave = torch.from_numpy(samples).reshape(1, 1, -1)
    found = make_confusion.figures_of(wave, rate, tuple(RANKED))
    firsts = {(family, each.spec.name): order(found[each.spec.name], sign)[0] for family, each, sign in CASES}
    assert {case: first for case, first in firsts.items() if case[0] != first} == {}


def test_every_family_has_a_diagnostic_or_is_listed_as_without() -> None:
    assert set(owners()) | WITHOUT == set(FAMILIES)
    assert not set(owners()) & WITHOUT


def test_a_family_without_a_value_is_never_first() -> None:
    assert order({"gain": None, "delay": -3.0, "clipping": -5.0}, 1) == ["delay", "clipping"]


def test_the_page_is_of_the_figures_that_were_measured() -> None:
    document = json.loads(FIGURES.read_text(encoding="utf-8"))
    assert [row["clip"] for row in document["rows"]] == [*CLIPS, *OTHERS]
    assert [*document["rows"][0]["values"]] == [each.spec.name for each in diagnostics()]
    assert PAGE.read_text(encoding="utf-8") == make_confusion.page(document), "run python -m docs.make_confusion --page"


def test_the_page_says_what_has_no_diagnostic_and_what_is_missed() -> None:
    text = PAGE.read_text(encoding="utf-8")
    section = text.split("## Families without a diagnostic of their own")[1].split("##")[0]
    assert all(FAMILIES[family].title in section for family in WITHOUT)
    assert all(f"`{each.spec.name}`" in text for each in diagnostics())
