"""Names: every measure is found by its own, from inside the package, from another one, or registered a moment ago."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

import percloss.measure
from percloss import SNR, Measure, Spec, catalogue, create, register
from percloss.errors import ArgumentError, MissingExtraError, SampleRateError, UnknownMeasureError
from percloss.measure import find
from percloss.measures import TABLE
from percloss.spec import INVARIANCES
from tests.signals import rate_of


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """What a test registers of its own is gone after it."""
    before = set(percloss.measure._registered)
    yield
    for name in percloss.measure._registered.keys() - before - TABLE.keys():
        del percloss.measure._registered[name]


def named(name: str) -> type[Measure]:
    class Other(SNR):
        spec = Spec(name=name, title="Other", unit="1", better="lower", bounds=(0.0, 1.0), perfect=0.0)

    return Other


@pytest.mark.parametrize("name", TABLE)
def test_the_table_is_what_the_specs_say(name: str) -> None:
    cls = find(name)
    assert cls.spec.name == name
    assert f"{cls.__module__}:{cls.__qualname__}" == TABLE[name]
    assert percloss.measure._registered[name] is cls


def test_no_measure_is_missing_from_the_table() -> None:
    for name in TABLE:
        find(name)
    ours = {name for name, cls in percloss.measure._registered.items() if cls.__module__.startswith("percloss.")}
    assert ours == TABLE.keys()
    assert len(set(TABLE.values())) == len(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_every_measure_is_built_by_its_name(name: str) -> None:
    try:
        measure = create(name, sample_rate=rate_of(find(name).spec))
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert type(measure) is find(name)
    assert measure.spec == type(measure).spec


@pytest.mark.parametrize("name", TABLE)
def test_a_measure_says_its_unit_and_direction_and_whence_it_comes(name: str) -> None:
    cls = find(name)
    first = cls.__doc__.splitlines()[0]
    assert cls.spec.direction in first.lower()
    assert "References:" in cls.__doc__
    assert all(f"[{key}]_" in cls.__doc__ for key in cls.spec.cite)
    assert cls.spec.cite
    assert cls.spec.title
    assert cls.spec.invariant_to <= INVARIANCES.keys()


def test_looking_a_name_up_imports_one_family() -> None:
    code = """
import json, sys
from percloss.measure import find
find("mse")
print(json.dumps([name for name in sys.modules if name.startswith("percloss.measures.")]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["percloss.measures.waveform"]


@pytest.mark.parametrize(("typed", "meant"), [("sisdr", "si_sdr"), ("pesq", "pesq_wb"), ("mr_stft", "mrstft")])
def test_an_unknown_name_gets_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UnknownMeasureError, match=rf"got '{typed}'; did you mean '{meant}'\? Type: percloss list"):
        create(typed, sample_rate=16_000)


def test_a_name_like_no_other_gets_them_all() -> None:
    with pytest.raises(UnknownMeasureError, match="got 'xyzzy'; known are ") as caught:
        find("xyzzy")
    assert all(name in str(caught.value) for name in TABLE)


def test_a_measure_that_needs_a_rate_says_so() -> None:
    with pytest.raises(SampleRateError, match=r"mel: got no sample rate; type create\('mel', sample_rate=44_100\)"):
        create("mel")


def test_settings_reach_the_measure_and_wrong_ones_are_refused_with_the_right_ones() -> None:
    assert create("si_sdr", zero_mean=True).settings == {"zero_mean": True}
    assert create("mel", sample_rate=16_000, n_mels=40).settings["n_mels"] == 40
    with pytest.raises(ArgumentError, match=r"si_sdr: got .*'zeromean'; its arguments are \(\*, zero_mean"):
        create("si_sdr", zeromean=True)


def test_the_rate_is_checked_even_of_a_measure_that_takes_none() -> None:
    @register
    class Telephone(SNR):
        spec = replace(SNR.spec, name="tele", sample_rates=frozenset({8000, 16_000}))

    line = r"Type Resampled\(create\('tele', sample_rate=16000\), sample_rate=44100\)"
    with pytest.raises(SampleRateError, match=rf"tele: defined at 8000, 16000 Hz only, got 44100\. {line}"):
        create("tele", sample_rate=44_100)
    assert type(create("tele", sample_rate=8000)) is Telephone


def test_a_registered_measure_is_in_the_catalogue_and_built_by_name() -> None:
    cls = register(named("own"))
    assert catalogue()["own"] == f"{cls.__module__}:{cls.__qualname__}"
    assert type(create("own", sample_rate=16_000)) is cls


def test_a_name_is_registered_once_and_a_reloaded_module_may_register_it_again() -> None:
    first = register(named("own"))
    with pytest.raises(ArgumentError, match=r"'own' is already .*Other; give Another another Spec name"):
        register(type("Another", (first,), {"__module__": __name__}))
    assert register(named("own")) is find("own")


def test_an_installed_package_announces_its_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("theirs", "percloss.measures.ratios:SNR", "percloss.measures"),
        EntryPoint("nonsense", "percloss.spec:Spec", "percloss.measures"),
    ]
    monkeypatch.setattr(
        percloss.measure, "entry_points", lambda *, group: points if group == "percloss.measures" else []
    )
    assert catalogue()["theirs"] == "percloss.measures.ratios:SNR"
    assert find("theirs") is SNR
    with pytest.raises(
        UnknownMeasureError, match=r"'nonsense' is percloss.spec:Spec, which is no percloss.Measure class"
    ):
        find("nonsense")


def test_nobody_takes_a_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("snr", "percloss.measures.waveform:MSE", "percloss.measures")
    monkeypatch.setattr(percloss.measure, "entry_points", lambda *, group: [point])
    assert find("snr") is SNR
    assert catalogue()["snr"] == TABLE["snr"]
