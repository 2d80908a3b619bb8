"""Which measure to believe: correlation with listeners, at every level, with intervals and the listeners' own limit.

Every prediction is higher = better; whoever makes the table turns the sign of a measure that is lower = better.
"""

from percloss.stats.ceiling import Ceiling, ceiling
from percloss.stats.choices import Accuracy, best_of_n, pairwise
from percloss.stats.correlation import FEWEST, krcc, plcc, plcc_interval, srcc
from percloss.stats.dependent import Difference, difference, steiger, williams
from percloss.stats.levels import Level, Levels, levels
from percloss.stats.listeners import (
    Agreement,
    Screening,
    check_listeners,
    icc,
    krippendorff,
    post_screen,
    z_scores,
)
from percloss.stats.mapping import Cubic, Logistic, Mapped, mapped
from percloss.stats.mixed import Pooling, partial_pooling
from percloss.stats.p1401 import Significance, fisher_z, outlier_ratio, outlier_test, rmse, rmse_star, rmse_test
from percloss.stats.table import Estimate, Opinion, Rated, mean_opinion

__all__ = [
    "FEWEST",
    "Accuracy",
    "Agreement",
    "Ceiling",
    "Cubic",
    "Difference",
    "Estimate",
    "Level",
    "Levels",
    "Logistic",
    "Mapped",
    "Opinion",
    "Pooling",
    "Rated",
    "Screening",
    "Significance",
    "best_of_n",
    "ceiling",
    "check_listeners",
    "difference",
    "fisher_z",
    "icc",
    "krcc",
    "krippendorff",
    "levels",
    "mapped",
    "mean_opinion",
    "outlier_ratio",
    "outlier_test",
    "pairwise",
    "partial_pooling",
    "plcc",
    "plcc_interval",
    "post_screen",
    "rmse",
    "rmse_star",
    "rmse_test",
    "srcc",
    "steiger",
    "williams",
    "z_scores",
]
