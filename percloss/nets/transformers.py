"""wav2vec 2.0, HuBERT and WavLM: nets that learned speech by guessing what was hidden from them."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from percloss._optional import require
from percloss.errors import ArgumentError
from percloss.nets._checks import checked
from percloss.nets.frozen import Tap

KINDS = ("wav2vec2", "hubert", "wavlm")
# Added to the variance by the feature extractor of transformers, with which the models were trained.
_VARIANCE_FLOOR = 1e-7
# Only used in training, and left out of many saved models.
_UNUSED = {"masked_spec_embed"}


class SpeechTransformer(nn.Module):
    """Features of a wav2vec 2.0, HuBERT or WavLM model of the package ``transformers``, read from a local folder.

    ``features`` is what the convolutions return that all else stands on; ``layer0`` is what enters the transformer and
    ``layer1``, ``layer2`` ... what its layers return, before the normalisation that large models end with.
    [close2023]_ found the first much closer to what listeners say than the last; it is also the cheapest, since the
    transformer is then not run. Stable Audio Tools (``HubertLoss``) and StyleTTS 2 compare all layers.

    The models were trained on speech read aloud, by what is said; what is wrong with how it sounds they were trained to
    overlook. Nothing is downloaded. The weights have the licence that their publisher gave them: see the model card.

    Args:
        model: ``Wav2Vec2Model``, ``HubertModel`` or ``WavLMModel``; taken over, not copied.
        layers: Names of what is to be returned.
        normalize_input: Whether the model takes each signal at zero mean and unit variance, as
            ``preprocessor_config.json`` says under ``do_normalize``.

    Shape:
        (batch, time) at 16000 Hz. Each layer is (batch, channels, frames), at 50 frames a second for the models that
        were published.

    References:
        [baevski2020]_, [hsu2021]_, [chen2022]_.
    """

    sample_rate = 16_000

    def __init__(self, model: Any, layers: Sequence[str] = ("features",), *, normalize_input: bool) -> None:
        super().__init__()
        config: Any = getattr(model, "config", None)
        kind = getattr(config, "model_type", type(model).__name__)
        if kind not in KINDS or not hasattr(model, "feature_extractor") or getattr(config, "add_adapter", False):
            raise ArgumentError(
                f"SpeechTransformer: got a {kind}; needed is one of {', '.join(KINDS)}, without a head or an adapter."
            )
        known = ["features", *(f"layer{number}" for number in range(config.num_hidden_layers + 1))]
        if isinstance(layers, str) or not layers or any(name not in known for name in layers):
            raise ArgumentError(f"SpeechTransformer: got layers={layers!r}; needed are some of {', '.join(known)}.")
        self.model, self.layers, self.normalize_input = model.eval(), tuple(layers), normalize_input
        self.depth = max((known.index(name) - 1 for name in self.layers if name != "features"), default=0)
        self._taken: dict[str, Any] = {}
        # Hooks of our own: those behind output_hidden_states cannot be pickled.
        parts = {"features": model.feature_extractor, "layer0": model.encoder.dropout}
        parts.update({f"layer{number}": layer for number, layer in enumerate(model.encoder.layers, start=1)})
        for name in self.layers:
            parts[name].register_forward_hook(Tap(name, self._taken))
        self.min_samples = 1
        for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
            self.min_samples = (self.min_samples - 1) * stride + kernel

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """What was asked for, by name."""
        checked(x, net="SpeechTransformer", sample_rate=self.sample_rate, min_samples=self.min_samples)
        if self.normalize_input:
            x = x - x.mean(1, keepdim=True)
            x = x / (x.square().mean(1, keepdim=True) + _VARIANCE_FLOOR).sqrt()
        self._taken.clear()
        try:
            if self.layers == ("features",):
                self._features(x)
            else:
                self.model(x)
            return {name: self._taken[name] if name == "features" else self._taken[name].mT for name in self.layers}
        finally:
            self._taken.clear()

    @property
    def _features(self) -> nn.Module:
        """The convolutions."""
        return cast(nn.Module, self.model.feature_extractor)

    @classmethod
    def pretrained(
        cls, path: str | Path, layers: Sequence[str] = ("features",), *, normalize_input: bool | None = None
    ) -> "SpeechTransformer":
        """From a folder that ``save_pretrained`` wrote or the hub gave, in evaluation mode.

        Layers above the highest that is asked for are left out.

        Args:
            path: Of the folder, with ``config.json`` and the weights.
            layers: Names of what is to be returned.
            normalize_input: ``None`` is what the folder's ``preprocessor_config.json`` says.

        Raises:
            MissingExtraError: ``transformers`` is not installed.
            ArgumentError: No such folder, another kind of model, or weights that are not all there.
        """
        transformers = require("transformers", extra="features")
        folder = Path(path)
        if not (folder / "config.json").is_file():
            raise ArgumentError(
                f"SpeechTransformer: {folder} came, where there is no config.json; needed is a local folder: "
                f"type hf download facebook/hubert-base-ls960 --local-dir hubert, and give its path."
            )
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type not in KINDS:
            raise ArgumentError(f"SpeechTransformer: {folder} is a {config.model_type}; needed is {', '.join(KINDS)}.")
        with _without_bars(transformers.utils.logging):
            model, report = transformers.AutoModel.from_pretrained(
                folder, config=config, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
        missing = sorted(set(report["missing_keys"]) - _UNUSED)
        if missing:
            raise ArgumentError(
                f"SpeechTransformer: the weights in {folder} lack {len(missing)} tensors ({', '.join(missing[:3])}), "
                f"which would be random; needed is the whole of a {config.model_type} model."
            )
        built = cls(model, layers, normalize_input=_normalizes(folder) if normalize_input is None else normalize_input)
        model.encoder.layers = model.encoder.layers[: built.depth]
        return built.eval()


@contextlib.contextmanager
def _without_bars(logging: Any) -> Iterator[None]:
    """Without the progress bars of transformers, which would be written to a user's terminal."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _normalizes(folder: Path) -> bool:
    file = folder / "preprocessor_config.json"
    said = json.loads(file.read_text("utf-8")).get("do_normalize") if file.is_file() else None
    if not isinstance(said, bool):
        raise ArgumentError(
            f"SpeechTransformer: no do_normalize in {file}; needed is whether the model takes normalised signals: "
            f"type normalize_input=True (HuBERT, wav2vec 2.0, large WavLM) or False (base WavLM)."
        )
    return said
