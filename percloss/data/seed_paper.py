"""What Tables I and II of the paper that this package began with say together, and what they cannot.

"Critical Assessment of the Disparity Between Quantitative and Qualitative Performance of U-Net Based Audio Source
Separation" gives, for five separation models, SDR, MSE and SIR (Table I) and four scales of listeners (Table II), and
concludes that high scores do not mean good sound. **The rows of the two tables are not here**: kept is what was
computed from them, so that it can be printed and checked. Nothing in this file was made up to fit.
"""

from dataclasses import dataclass

from percloss.stats import Estimate, plcc_interval

__all__ = ["MODELS", "PAIRS", "TITLE", "Pair", "conclusions"]

TITLE = (
    "Critical Assessment of the Disparity Between Quantitative and Qualitative Performance of U-Net Based Audio "
    "Source Separation"
)
#: Rows of each table, from a U-Net by way of three tuned ones to a GAN.
MODELS = 5


@dataclass(frozen=True)
class Pair:
    """A column of Table I against one of Table II, over the five models.

    Args:
        objective: Of Table I.
        subjective: Of Table II.
        plcc: Pearson's correlation of the two columns as printed: of MSE, where less is better, it is negative.
        ranks: Spearman's, and Kendall's, which are the same here.
    """

    objective: str
    subjective: str
    plcc: float
    ranks: float

    @property
    def estimate(self) -> Estimate:
        """The correlation with Fisher's interval, which five models leave wide."""
        return plcc_interval(self.plcc, MODELS)


#: Those whose Pearson correlation was kept. All twelve pairs of the two tables have ranks of 1 or -1.
PAIRS = (
    Pair("SDR", "MOS", 0.985, 1.0),
    Pair("SIR", "MOS", 0.978, 1.0),
    Pair("MSE", "MOS", -0.988, -1.0),
)


def conclusions() -> tuple[str, ...]:
    """Sentences on what the tables do and do not show, to print below the correlations."""
    return (
        f"All twelve pairs of a measure and a scale of listeners put the {MODELS} models in the same order "
        f"(Spearman and Kendall 1 or -1): the tables show no disparity.",
        f"{MODELS} models are too few to claim significance, for agreement as for disparity.",
        "The severity of artefacts is 6.3 less the MOS in every row: the scales are not independent ratings.",
        "The listeners' number, their intervals and the stimuli are not reported, so there is no noise ceiling.",
    )
