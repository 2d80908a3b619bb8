"""What the pages that are made from results write alike."""

from collections.abc import Iterable, Sequence

__all__ = ["rho", "table"]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rho(value: float | None) -> str:
    """A coefficient to two decimals."""
    return "–" if value is None else f"{value:.2f}".replace("-0.00", "0.00")
