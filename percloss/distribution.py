"""Distances between two sets of sounds by what a net makes of them: Frechet and kernel.

No item has a value of its own, so they are metrics without a measure (``pip install "percloss[metrics]"``). They say
whether the estimates as a whole sound like the references as a whole, to this net: an estimate of another sentence does
no harm.
"""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from percloss._gathering import Gathering
from percloss.errors import ArgumentError, ShapeError
from percloss.frontends import Resampler
from percloss.nets.frozen import FrozenNet

Pool = Literal["frames", "mean"]

# Rows of a kernel matrix that are held at a time.
_ROWS = 1024
# Sizes that the extrapolation looks at.
_SIZES = 15


class _Embedded(NamedTuple):
    """Embeddings ``(n, dims)`` in float64, the item each is of, and how many items there are and lack a value."""

    rows: Tensor
    owner: Tensor
    items: int
    undefined: int


class _SetDistance(Gathering):
    """Two sets of embeddings, their distance, and how sure it is."""

    higher_is_better = False

    def __init__(
        self,
        net: nn.Module | None = None,
        *,
        sample_rate: int | None = None,
        layer: str | None = None,
        pool: Pool = "frames",
        confidence: float = 0.95,
        n_resamples: int = 200,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if pool not in ("frames", "mean") or not 0 < confidence < 1 or n_resamples < 1:
            raise ArgumentError(
                f"{name}: got pool={pool!r}, confidence={confidence}, n_resamples={n_resamples}; needed are "
                f'pool="frames" or "mean", a confidence between 0 and 1 and one resample or more.'
            )
        self.sample_rate, self.layer, self.pool = sample_rate, layer, pool
        self.confidence, self.n_resamples, self.seed = confidence, n_resamples, seed
        self.net, self.front = self._listening(net)
        self.dims: int | None = None
        for role in ("est", "ref"):
            self.keep(role)
            self.keep(f"{role}_frames", integers=True)

    def _listening(self, net: nn.Module | None) -> tuple[FrozenNet | None, Resampler | None]:
        if net is None:
            return None, None
        layers, rate = tuple(getattr(net, "layers", ())), getattr(net, "sample_rate", None)
        self.layer = self.layer or (layers[-1] if layers else None)
        if self.layer not in layers or rate is None:
            raise ArgumentError(
                f"{type(self).__name__}: got {type(net).__name__} and layer={self.layer!r}; needed is a net with a "
                f"sample_rate and layers, as percloss.nets has them{f', and one of {layers}' if layers else ''}. "
                f"Embeddings made elsewhere go without a net into update."
            )
        self.sample_rate = self.sample_rate or int(rate)
        frozen = FrozenNet(net)
        return frozen, Resampler(self.sample_rate, int(rate)).to(frozen.device)

    def update(self, est: Tensor | None = None, ref: Tensor | None = None) -> None:
        """Add to one set or to both; they need not be of one size, nor belong together.

        Args:
            est: Estimates.
            ref: References.

        Shape:
            est, ref: (batch, channels, time) where there is a net. Without one, embeddings: (batch, dims), or
            (batch, frames, dims).

        Raises:
            ShapeError: Another shape, or embeddings of another size than before.
        """
        for role, given in (("est", est), ("ref", ref)):
            if given is not None:
                with torch.no_grad():
                    rows = self._embedded(role, given)
                if self.dims not in (None, rows.shape[2]):
                    raise ShapeError(
                        f"{type(self).__name__}: {role} has embeddings of {rows.shape[2]}; needed are {self.dims} "
                        f"numbers, as before."
                    )
                self.dims = rows.shape[2]
                known = rows.isfinite().flatten(1).all(1)
                self.append(role, rows[known].flatten())
                self.append(f"{role}_frames", torch.where(known, rows.shape[1], 0))

    def _embedded(self, role: str, given: Tensor) -> Tensor:
        """Embeddings of a batch, (batch, frames, dims)."""
        if self.net is None or self.front is None or self.layer is None:
            rows = given[:, None] if given.dim() == 2 else given
            wanted = "(batch, dims) or (batch, frames, dims)"
        else:
            rows, wanted = given, "(batch, channels, time)"
        if rows.dim() != 3 or not rows.is_floating_point() or not rows.numel():
            raise ShapeError(
                f"{type(self).__name__}: {role} is {given.dtype} {tuple(given.shape)}; needed is floating point, "
                f"{wanted}."
            )
        if self.net is not None and self.front is not None and self.layer is not None:
            x = rows if rows.dtype == torch.float64 else rows.float()
            # What is not finite is not sent through the net, where batches may share a reduction.
            broken = ~x.isfinite().flatten(1).all(1)
            x = torch.where(broken[:, None, None], 0, x)
            found = self.net(self.front(x).flatten(0, 1))[self.layer]
            frames = found.flatten(2).mT if found.dim() > 2 else found[:, None]
            rows = frames.reshape(rows.shape[0], -1, frames.shape[-1])
            rows = torch.where(broken[:, None, None], math.nan, rows)
        return rows.mean(1, keepdim=True) if self.pool == "mean" else rows

    def _set(self, role: str) -> _Embedded:
        """A set as gathered, items in an order that does not depend on which process had them."""
        frames, values = self.joined(f"{role}_frames"), self.joined(role)
        if values.device.type == "mps":
            frames, values = frames.cpu(), values.cpu()
        counts = frames[frames > 0]
        total = int(counts.sum())
        rows = values.double().view(total, -1) if total else values.double().view(0, 0)
        starts = counts.cumsum(0) - counts
        order = rows[starts].sum(1).argsort(stable=True) if total else starts
        counts, starts = counts[order], starts[order]
        owner = torch.arange(counts.numel(), device=rows.device).repeat_interleave(counts)
        within = torch.arange(total, device=rows.device) - (counts.cumsum(0) - counts)[owner]
        return _Embedded(rows[starts[owner] + within], owner, counts.numel(), frames.numel() - counts.numel())

    def compute(self) -> dict[str, Tensor]:
        """``distance``, ends of its interval, the items ``n_est`` and ``n_ref``, and those without a value."""
        est, ref = self._set("est"), self._set("ref")
        percent = f"{100 * self.confidence:g}"
        value = low = high = torch.tensor(math.nan, dtype=torch.float64, device=est.rows.device)
        if min(est.items, ref.items) > 1:
            self._examine(est, ref)
            generator = torch.Generator().manual_seed(self.seed)
            ones = (torch.ones(1, x.items, dtype=torch.float64, device=x.rows.device) for x in (est, ref))
            drawn = (_drawn(x, self.n_resamples, generator) for x in (est, ref))
            (value,) = self._distances(est, ref, *ones)
            spread = self._distances(est, ref, *drawn)
            tails = torch.tensor([1 + self.confidence, 1 - self.confidence], dtype=torch.float64) / 2
            # A resample is further from the other set than the sample, by about as much as the sample is further than
            # what it is drawn from: the distance twice, less the resamples' quantiles (the basic bootstrap).
            low, high = 2 * value - spread.nanquantile(tails.to(spread.device))
        return {
            "distance": value,
            f"ci{percent}_low": self._bounded(low),
            f"ci{percent}_high": self._bounded(high),
            "n_est": torch.tensor(est.items),
            "n_ref": torch.tensor(ref.items),
            "undefined": torch.tensor(est.undefined + ref.undefined),
        }

    def _examine(self, est: _Embedded, ref: _Embedded) -> None:
        """Say what cannot be trusted."""

    def _bounded(self, end: Tensor) -> Tensor:
        return end

    @abstractmethod
    def _distances(self, est: _Embedded, ref: _Embedded, est_weights: Tensor, ref_weights: Tensor) -> Tensor:
        """The distance for each row of weights of the items, ``(rows,)``."""


class FrechetDistance(_SetDistance):
    r"""Frechet distance between two sets of embeddings, taken for Gaussian.  Lower is better; 0 where they are equal.

    .. math:: |\mu_e - \mu_r|^2 + \operatorname{tr}\bigl(\Sigma_e + \Sigma_r - 2 (\Sigma_e \Sigma_r)^{1/2}\bigr)

    With VGGish it is the Frechet audio distance (FAD). Computed in float64 as a sum of singular values, which is real
    and never below 0 also where covariances are singular. Unit: that of the embeddings, squared. Two distances can be
    compared where net, layer, pool, references and number of estimates are the same.

    It is biased: few embeddings are further from anything than many. The interval is of the distance between what the
    sets are drawn from; it allows for the bias, most of it where embeddings are ten times as many as their dimensions
    or more, and may lie below the distance itself. ``frechet_limit`` extrapolates.

    Args:
        net: A feature net (``percloss.nets``); ``None``: ``update`` is given embeddings. It is copied and frozen.
        sample_rate: Of the sounds [Hz]; ``None`` is the net's.
        layer: Which feature map; ``None`` is the net's last.
        pool: ``"frames"``: every frame of every channel is an embedding, as in FAD; ``"mean"``: their mean is the one
            of an item.
        confidence: Of the interval, by bootstrap over items: frames of one item stay together.
        n_resamples: Of the bootstrap.
        seed: Of the bootstrap.
        **kwargs: Passed on to ``torchmetrics.Metric``.

    Example:
        >>> metric = FrechetDistance()
        >>> ref = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
        >>> metric.update(est=ref + 2.0, ref=ref)
        >>> round(metric.compute()["distance"].item(), 6)
        16.0

    References:
        [dowson1982]_ for the distance, [kilgour2019]_ for audio.
    """

    def _examine(self, est: _Embedded, ref: _Embedded) -> None:
        fewest, dims = min(len(est.rows), len(ref.rows)), est.rows.shape[1]
        if fewest <= dims:
            warnings.warn(
                f"FrechetDistance: got {fewest} embeddings in {dims} dimensions; with no more embeddings than "
                f"dimensions a covariance is singular, and most of the distance may be due to their small number. "
                f"Compare it with distances of as many only, or type KernelDistance, which has no such bias.",
                stacklevel=2,
            )

    def _bounded(self, end: Tensor) -> Tensor:
        return end.clamp(min=0)

    def _distances(self, est: _Embedded, ref: _Embedded, est_weights: Tensor, ref_weights: Tensor) -> Tensor:
        return torch.stack(
            [
                _between(*_moments(est.rows, one[est.owner]), *_moments(ref.rows, other[ref.owner]))
                for one, other in zip(est_weights, ref_weights, strict=True)
            ]
        )


class KernelDistance(_SetDistance):
    r"""Kernel distance between two sets of embeddings: the squared maximum mean discrepancy (KID).  Lower is better.

    .. math:: \operatorname{E} k(e, e') + \operatorname{E} k(r, r') - 2 \operatorname{E} k(e, r), \qquad
              k(x, y) = \Bigl(\tfrac{1}{d} x^T y + 1\Bigr)^3

    over all pairs of different items: unbiased for any number of them, so that sets alike are 0 on average and may be a
    little below. Asks for no Gaussian embeddings and for fewer items than the Frechet distance. One number of all
    pairs, not the mean over random subsets that image toolkits report. Depends on the scale of the embeddings.

    Args:
        net: A feature net (``percloss.nets``); ``None``: ``update`` is given embeddings. It is copied and frozen.
        sample_rate: Of the sounds [Hz]; ``None`` is the net's.
        layer: Which feature map; ``None`` is the net's last.
        pool: ``"frames"``: every frame of every channel is an embedding; ``"mean"``: their mean is the one of an item.
        confidence: Of the interval, by bootstrap over items.
        n_resamples: Of the bootstrap.
        seed: Of the bootstrap.
        **kwargs: Passed on to ``torchmetrics.Metric``.

    Example:
        >>> metric = KernelDistance()
        >>> est, ref = torch.randn(2, 500, 4, generator=torch.Generator().manual_seed(0))
        >>> metric.update(est, ref)
        >>> abs(metric.compute()["distance"].item()) < 0.02
        True

    References:
        [binkowski2018]_ for the kernel, [chung2025]_ for audio.
    """

    def _distances(self, est: _Embedded, ref: _Embedded, est_weights: Tensor, ref_weights: Tensor) -> Tensor:
        return (
            _mean_kernel(est, est, est_weights, est_weights, within=True)
            + _mean_kernel(ref, ref, ref_weights, ref_weights, within=True)
            - 2 * _mean_kernel(est, ref, est_weights, ref_weights, within=False)
        )


def frechet(est: Tensor, ref: Tensor) -> Tensor:
    """Frechet distance between two sets of embeddings; see ``FrechetDistance``.

    Shape:
        est: (n, dims), ref: (m, dims), two or more of each. Returns (), in float64.

    Raises:
        ShapeError: Another shape.
    """
    _check_embeddings("frechet", est, ref)
    weights = (torch.ones(len(x), dtype=torch.float64, device=x.device) for x in (est, ref))
    return _between(*_moments(est.double(), next(weights)), *_moments(ref.double(), next(weights)))


def frechet_gaussian(est_mean: Tensor, est_cov: Tensor, ref_mean: Tensor, ref_cov: Tensor) -> Tensor:
    """Frechet distance between two Gaussians, such as statistics that somebody published for a set of references.

    Shape:
        est_mean, ref_mean: (dims,). est_cov, ref_cov: (dims, dims), symmetric. Returns (), in float64.
    """
    return _between(est_mean.double(), _root(est_cov), ref_mean.double(), _root(ref_cov))


def frechet_limit(est: Tensor, ref: Tensor, *, seed: int = 0) -> Tensor:
    """What the Frechet distance tends to as estimates become many: a line through its values over 1 / number.

    Its values are those of random subsets of a quarter to all of the estimates, against all references; those remain as
    few as they are. May be below 0 where the distance is small.

    Shape:
        est: (n, dims), ref: (m, dims), sixteen estimates or more. Returns (), in float64.

    References:
        [chong2020]_ for images.
    """
    _check_embeddings("frechet_limit", est, ref, fewest=16)
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.linspace(len(est) / 4, len(est), _SIZES).round().long().tolist()
    subsets = (est[torch.randperm(len(est), generator=generator)[:size].to(est.device)] for size in sizes)
    values = torch.stack([frechet(subset, ref) for subset in subsets])
    inverse = 1 / torch.tensor(sizes, dtype=torch.float64, device=values.device)
    line = torch.stack((torch.ones_like(inverse), inverse), 1)
    limit, _ = torch.linalg.lstsq(line, values[:, None]).solution[:, 0]
    return cast(Tensor, limit)


def _check_embeddings(name: str, est: Tensor, ref: Tensor, *, fewest: int = 2) -> None:
    if est.dim() != 2 or ref.dim() != 2 or est.shape[1] != ref.shape[1] or len(est) < fewest or len(ref) < 2:
        raise ShapeError(
            f"{name}: est is {tuple(est.shape)} and ref is {tuple(ref.shape)}; needed are (n, dims) and (m, dims), "
            f"of equal dims, {fewest} estimates and 2 references at least."
        )


def _drawn(embedded: _Embedded, n_resamples: int, generator: torch.Generator) -> Tensor:
    """How often each item is in each of the samples drawn with replacement."""
    picked = torch.randint(embedded.items, (n_resamples, embedded.items), generator=generator)
    counts = torch.zeros(n_resamples, embedded.items, dtype=torch.float64)
    return counts.scatter_add_(1, picked, torch.ones_like(counts)).to(embedded.rows.device)


def _moments(rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and a factor F of the covariance F^T F, without forming it: no digit is lost to a square."""
    total = weights.sum()
    mean = weights @ rows / total
    centred = (weights / (total - 1).clamp(min=1)).sqrt()[:, None] * (rows - mean)
    return mean, torch.linalg.qr(centred, mode="r").R


def _root(cov: Tensor) -> Tensor:
    """The symmetric square root of a covariance, which is a factor of it."""
    values, vectors = torch.linalg.eigh(cov.double())
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    return root


def _between(est_mean: Tensor, est_factor: Tensor, ref_mean: Tensor, ref_factor: Tensor) -> Tensor:
    """The distance. tr (A^T A B^T B)^1/2 is the sum of the singular values of A B^T."""
    common: Tensor = torch.linalg.svdvals(est_factor @ ref_factor.mT).sum()
    spread = est_factor.square().sum() + ref_factor.square().sum() - 2 * common
    return (est_mean - ref_mean).square().sum() + spread.clamp(min=0)


def _mean_kernel(x: _Embedded, y: _Embedded, x_weights: Tensor, y_weights: Tensor, *, within: bool) -> Tensor:
    """Weighted mean of the kernel over pairs, of different items where both sets are one, for each row of weights."""
    row_weights, column_weights = x_weights[:, x.owner], y_weights[:, y.owner]
    total = count = torch.zeros(len(x_weights), dtype=torch.float64, device=x.rows.device)
    for part in _parts(len(x.rows)):
        kernel = (x.rows[part] @ y.rows.mT / x.rows.shape[1] + 1) ** 3
        apart = x.owner[part, None] != y.owner if within else torch.ones_like(kernel, dtype=torch.bool)
        weights = row_weights[:, part]
        total = total + (weights * (column_weights @ (kernel * apart).mT)).sum(1)
        count = count + (weights * (column_weights @ apart.double().mT)).sum(1)
    return total / count


def _parts(size: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, size, _ROWS))
