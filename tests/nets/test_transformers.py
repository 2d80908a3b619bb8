"""wav2vec 2.0, HuBERT and WavLM: tiny random models of the same classes, saved and read back."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the extra features: pip install transformers")

from percloss.errors import ArgumentError, MissingExtraError  # noqa: E402  (after the package was found)
from percloss.measures.features import FeatureDistance  # noqa: E402
from percloss.nets.transformers import SpeechTransformer  # noqa: E402
from percloss.testing import RULES, check_measure  # noqa: E402
from tests.nets.common import hears_the_shortest, keeps_the_protocol, refuses_what_is_no_waveform  # noqa: E402
from tests.signals import noise  # noqa: E402

KINDS = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
# Both ways the published models are built: base with one group norm, large with a layer norm in every layer.
SIZES = {
    "base": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
}


def saved(folder: Path, kind: str, size: str = "base", *, do_normalize: bool | None = False) -> Path:
    """A model with random weights, as ``save_pretrained`` writes it."""
    config = getattr(transformers, f"{KINDS[kind]}Config")(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8, 8),
        conv_kernel=(10, 8, 4),
        conv_stride=(5, 4, 4),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        initializer_range=0.2,
        **SIZES[size],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{KINDS[kind]}Model")(config)
    model.save_pretrained(folder)
    if do_normalize is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": do_normalize}))
    return folder


def states(folder: Path, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What the package itself returns: convolutions, then every hidden state; (batch, channels, frames)."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        hidden = model(x, output_hidden_states=True).hidden_states
        return (model.feature_extractor(x), *(state.mT for state in hidden))


ALL = ("features", "layer0", "layer1", "layer2", "layer3")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_the_packages_own(tmp_path: Path, kind: str, size: str) -> None:
    folder, x = saved(tmp_path, kind, size), 0.1 * noise(2, 4_000)
    net = SpeechTransformer.pretrained(folder, ALL)
    assert not net.training
    with torch.no_grad():
        for found, expected in zip(net(x).values(), states(folder, x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_what_lies_above_the_highest_layer_is_left_out_and_changes_nothing(tmp_path: Path, depth: int) -> None:
    """Behind its last layer a large model normalises once more: the last of those that are kept must not."""
    folder, x = saved(tmp_path, "hubert", "large"), 0.1 * noise(1, 4_000)
    net = SpeechTransformer.pretrained(folder, (f"layer{depth}",))
    assert len(net.model.encoder.layers) == depth
    with torch.no_grad():
        torch.testing.assert_close(net(x)[f"layer{depth}"], states(folder, x)[1 + depth], rtol=1e-5, atol=1e-6)


def test_the_convolutions_alone_do_not_run_the_transformer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path, "wavlm")
    net = SpeechTransformer.pretrained(folder)
    monkeypatch.setattr(type(net.model), "forward", None)
    assert net(0.1 * noise(1, 2_000))["features"].shape == (1, 8, 24)


@pytest.mark.parametrize("said", [True, False])
def test_signals_are_normalised_as_the_folder_says(tmp_path: Path, said: bool) -> None:
    folder, x = saved(tmp_path, "wav2vec2", "large", do_normalize=said), 0.01 * noise(2, 4_000) + 0.02
    net = SpeechTransformer.pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=said)
    given = extractor([row.numpy() for row in x], sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        torch.testing.assert_close(net(x)["features"], states(folder, given)[0], rtol=1e-3, atol=1e-5)


def test_it_keeps_the_protocol(tmp_path: Path) -> None:
    net = SpeechTransformer.pretrained(saved(tmp_path, "wavlm", do_normalize=True), ALL)
    keeps_the_protocol(net, time=4_000)
    refuses_what_is_no_waveform(net)
    hears_the_shortest(net)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ("is_documented", "compiles")])
@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_keeps_the_contract(tmp_path: Path, kind: str, rule: str) -> None:
    """Copies, processes, float64 and all."""
    net = SpeechTransformer.pretrained(saved(tmp_path, kind), ("features", "layer2"))
    check_measure(FeatureDistance(net, sample_rate=16_000), rules=[rule])


def test_it_is_the_loss_of_stable_audio_item_by_item(tmp_path: Path) -> None:
    """L1 over the deviation of the reference, averaged over layers; theirs is over the whole batch."""
    net = SpeechTransformer.pretrained(saved(tmp_path, "hubert"), ("layer1", "layer2", "layer3"))
    est, ref = 0.1 * noise(2, 1, 4_000, dtype=torch.float32).unsqueeze(1)
    with torch.no_grad():
        expected = sum(
            (a - b).abs().mean() / (b.std() + 1e-5)
            for a, b in zip(net(est[0]).values(), net(ref[0]).values(), strict=True)
        )
    value = FeatureDistance(net, sample_rate=16_000)(est, ref)
    assert value.item() == pytest.approx(expected.item() / 3, rel=1e-3)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="hf download"):
        SpeechTransformer.pretrained(tmp_path / "none")
    folder = saved(tmp_path / "a", "hubert", do_normalize=None)
    with pytest.raises(ArgumentError, match="normalize_input=True"):
        SpeechTransformer.pretrained(folder)
    SpeechTransformer.pretrained(folder, normalize_input=True)
    for layers in (("layer4",), (), "features"):
        with pytest.raises(ArgumentError, match="needed are some of features, layer0"):
            SpeechTransformer.pretrained(folder, layers, normalize_input=True)
    transformers.BertConfig(num_hidden_layers=1).save_pretrained(tmp_path / "b")
    with pytest.raises(ArgumentError, match="is a bert"):
        SpeechTransformer.pretrained(tmp_path / "b")
    with pytest.raises(ArgumentError, match="got a Linear"):
        SpeechTransformer(torch.nn.Linear(2, 2), normalize_input=False)


def test_weights_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    """The package itself fills them in at random, with a warning."""
    folder = saved(tmp_path, "hubert")
    tensors = transformers.AutoModel.from_pretrained(folder).state_dict()
    del tensors["encoder.layers.1.attention.k_proj.weight"]
    os.remove(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(ArgumentError, match="lack 1 tensors"):
        SpeechTransformer.pretrained(folder)


def test_nothing_is_written_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path, "hubert")
    capfd.readouterr()
    SpeechTransformer.pretrained(folder)
    written: Any = capfd.readouterr()
    assert "Loading" not in written.err + written.out
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_the_package_is_asked_for_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path, "hubert")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"percloss\[features\]"):
        SpeechTransformer.pretrained(folder)
