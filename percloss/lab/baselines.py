"""What separation was before networks: non-negative factors of a spectrogram, and independent components."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from percloss._optional import require
from percloss.dsp.safe import db_to_power
from percloss.dsp.stft import hann
from percloss.errors import ArgumentError, DTypeError, ShapeError

__all__ = ["FactorSeparation", "independent_components"]

_EXTRA = "baselines"
# Of the masks' denominator, relative to the loudest bin.
_FLOOR = db_to_power(-120.0)


class FactorSeparation:
    r"""Separation by non-negative matrix factorisation, with the spectra of each source learned from examples of it.

    Each source's magnitudes are factorised, :math:`|S_s| \approx W_s H_s`; a mixture is explained by all the spectra
    together, :math:`|X| \approx \sum_s W_s H_s` with :math:`W_s` kept; and each source is the mixture, its phase kept,
    under the mask :math:`W_s H_s / \sum_r W_r H_r`. The estimates add up to the mixture. Channels are taken each for
    itself.

    By scikit-learn (extra ``baselines``): multiplicative updates of the Kullback-Leibler divergence, on the CPU,
    without a gradient.

    Args:
        components: Spectra of each source.
        n_fft: Size of the transform [samples]; it advances by a quarter.
        iterations: Of each factorisation, at most.
        seed: Of its start.

    Raises:
        ArgumentError: A number below what there can be.
        MissingExtraError: scikit-learn is not installed.

    Example:
        >>> pairs = torch.randn(2, 1, 1, 8_000, generator=torch.Generator().manual_seed(0))
        >>> separator = FactorSeparation(components=4, n_fft=512).fit({"one": pairs[0], "other": pairs[1]})
        >>> separator(pairs.sum(0)).shape
        torch.Size([1, 2, 1, 8000])

    References:
        [lee2001]_; supervised, for speech, [smaragdis2007]_.
    """

    def __init__(self, *, components: int = 32, n_fft: int = 1024, iterations: int = 200, seed: int = 0) -> None:
        if min(components, iterations) < 1 or n_fft < 8 or seed < 0:
            raise ArgumentError(
                f"FactorSeparation: components={components}, n_fft={n_fft}, iterations={iterations}, seed={seed} came; "
                f"needed are components and iterations from 1, n_fft from 8 and seed from 0; use FactorSeparation()."
            )
        self.components, self.n_fft, self.iterations, self.seed = components, n_fft, iterations, seed
        self.library: Any = require("sklearn.decomposition", extra=_EXTRA)
        self.spectra: dict[str, npt.NDArray[np.float64]] = {}

    def fit(self, examples: dict[str, Tensor]) -> "FactorSeparation":
        """Learn each source's spectra.

        Args:
            examples: Waves of each source alone, by its name.

        Shape:
            examples: (batch, channels, time) each.

        Raises:
            ArgumentError: No examples, or silent ones.
            ShapeError: Another shape, or shorter than one frame.
        """
        if not examples or not all(wave.any() for wave in examples.values()):
            raise ArgumentError(
                f"FactorSeparation: examples of {sorted(examples)} came; needed are sounds of each source; "
                f"type fit({{'speech': speech, 'noise': noise}})."
            )
        self.spectra = {}
        for name, wave in examples.items():
            magnitudes = np.concatenate([np.abs(spectrum) for spectrum in self._spectra(wave)[0]], axis=1)
            model = self._model(min(self.components, *magnitudes.shape))
            # Samples are frames: the components are spectra, one a row.
            model.fit_transform(np.ascontiguousarray(magnitudes.T))
            self.spectra[name] = model.components_
        return self

    def __call__(self, mix: Tensor) -> Tensor:
        """The sources of mixtures, in the order of the examples.

        Shape:
            mix: (batch, channels, time). Returns (batch, sources, channels, time).

        Raises:
            ArgumentError: Nothing was learned before.
            ShapeError: Another shape, or shorter than one frame.
        """
        if not self.spectra:
            raise ArgumentError("FactorSeparation: nothing was learned yet; type separator.fit(examples) first.")
        flat, window = self._spectra(mix)
        every = np.concatenate(list(self.spectra.values()))
        estimates = []
        for spectrum in flat:
            magnitudes = np.abs(spectrum)
            if not magnitudes.any():
                estimates.append(np.zeros((len(self.spectra), *spectrum.shape), spectrum.dtype))
                continue
            model = self._model(len(every))
            activations = self._activations(model, magnitudes.T, every)
            parts = np.split(activations, np.cumsum([len(rows) for rows in self.spectra.values()])[:-1], axis=1)
            models = np.stack([(part @ rows).T for part, rows in zip(parts, self.spectra.values(), strict=True)])
            floor = _FLOOR * magnitudes.max() / len(models)
            estimates.append((models + floor) / (models + floor).sum(0) * spectrum)
        spectra = torch.from_numpy(np.stack(estimates))
        waves: Tensor = torch.istft(
            spectra.flatten(0, 1), self.n_fft, self.n_fft // 4, window=window, length=mix.shape[-1]
        )
        apart: Tensor = waves.unflatten(0, (*mix.shape[:2], -1)).transpose(1, 2).to(mix)
        return apart

    def _spectra(self, wave: Tensor) -> tuple[npt.NDArray[np.complex128], Tensor]:
        """Of every channel of every item, in a row, and the window."""
        _check("FactorSeparation", wave, least=self.n_fft)
        window = hann(self.n_fft)
        flat = wave.detach().cpu().double().flatten(0, 1)
        spectra = torch.stft(flat, self.n_fft, self.n_fft // 4, window=window, return_complex=True)
        return spectra.numpy(), window

    def _model(self, components: int) -> Any:
        return self.library.NMF(
            components,
            init="random",
            solver="mu",
            beta_loss="kullback-leibler",
            max_iter=self.iterations,
            # It would warn wherever it runs out of iterations before.
            tol=0.0,
            random_state=self.seed,
        )

    def _activations(
        self, model: Any, magnitudes: npt.NDArray[np.float64], spectra: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        model.components_ = spectra
        model.n_components_, model.n_features_in_ = spectra.shape
        found: npt.NDArray[np.float64] = model.transform(np.ascontiguousarray(magnitudes))
        return found


def independent_components(mix: Tensor, *, seed: int = 0, iterations: int = 400) -> Tensor:
    """As many sources as there are channels, by FastICA: for mixtures without echo, such as stems panned to places.

    Each estimate is the image of a component in all channels, so they add up to the mixture. Their order means nothing.
    A recording whose channels are one signal has no such components, and one with two channels no more than two.

    By scikit-learn (extra ``baselines``), on the CPU, without a gradient.

    Args:
        mix: Mixtures, each with components of its own.
        seed: Of the start.
        iterations: At most.

    Shape:
        mix: (batch, channels, time). Returns (batch, sources, channels, time), as many sources as channels.

    Raises:
        ArgumentError: Channels that are one signal, or silent; or an iteration that does not converge.
        MissingExtraError: scikit-learn is not installed.
        ShapeError: Another shape, one channel, or fewer samples than channels.

    References:
        [hyvarinen2000]_.
    """
    _check("independent_components", mix, least=2 * mix.shape[1] if mix.dim() == 3 else 1)
    if mix.shape[1] < 2:
        raise ShapeError(
            f"independent_components: a shape of {tuple(mix.shape)} came; needed are two channels or more; use "
            f"FactorSeparation for one."
        )
    library: Any = require("sklearn.decomposition", extra=_EXTRA)
    return torch.stack([_components(library, item, seed, iterations) for item in mix.detach().cpu().double()]).to(mix)


def _components(library: Any, item: Tensor, seed: int, iterations: int) -> Tensor:
    samples = item.numpy().T
    centred = samples - samples.mean(0)
    channels = samples.shape[1]
    if np.linalg.matrix_rank(centred, tol=1e-6 * np.linalg.norm(centred)) < channels:
        raise ArgumentError(
            f"independent_components: {channels} channels came that are fewer signals, or silence; needed are "
            f"channels that differ in more than gain; use FactorSeparation on one of them."
        )
    model = library.FastICA(channels, whiten="unit-variance", random_state=seed, max_iter=iterations, tol=1e-4)
    unconverged: type[Warning] = require("sklearn.exceptions", extra=_EXTRA).ConvergenceWarning
    with warnings.catch_warnings():
        warnings.simplefilter("error", unconverged)
        try:
            sources = model.fit_transform(samples)
        except unconverged as warning:
            raise ArgumentError(
                f"independent_components: no convergence within {iterations} iterations; give another seed or more "
                f"iterations: seed={seed + 1}, iterations={2 * iterations}."
            ) from warning
    images = sources[:, :, None] * model.mixing_.T[None]  # (time, sources, channels)
    # The mean is no component's; each takes a part, so that they add up.
    images += model.mean_ / channels
    return torch.from_numpy(np.ascontiguousarray(images.transpose(1, 2, 0)))


def _check(name: str, wave: Tensor, *, least: int) -> None:
    if not wave.is_floating_point():
        raise DTypeError(f"{name}: {wave.dtype} came; needed is floating point within +-1: type wave.float() / 32768.")
    if wave.dim() != 3 or wave.shape[0] == 0 or wave.shape[1] == 0 or wave.shape[2] < least:
        raise ShapeError(
            f"{name}: a shape of {tuple(wave.shape)} came; needed is (batch, channels, time) with {least} samples or "
            f"more; type wave.reshape(1, 1, -1) for one channel."
        )
