"""Pure statistics over plain numbers. Numpy and scipy are imported inside the functions that need them, so importing this costs nothing."""

from tutelage.measure.accuracy import accuracy, macro_f1, pass_at_k
from tutelage.measure.agreement import kappa, share_equal
from tutelage.measure.bradley_terry import Strengths, bradley_terry
from tutelage.measure.calibration import brier, ece
from tutelage.measure.correlation import kendall, pearson, spearman
from tutelage.measure.intervals import Interval, bootstrap_mean, holm, paired_bootstrap, paired_t, t_interval, wilson
from tutelage.measure.item_response import (
    Discrimination,
    ItemResponse,
    discrimination,
    most_discriminating,
    point_biserial,
    two_parameter,
)
from tutelage.measure.per_class import ClassReport, ClassScore, per_class
from tutelage.measure.perplexity import mean_nats
from tutelage.measure.reliability import (
    Reliability,
    SplitHalf,
    VarianceShare,
    preference_reliability,
    split_half,
    variance_share,
)

__all__ = [
    "ClassReport",
    "ClassScore",
    "Discrimination",
    "Interval",
    "ItemResponse",
    "Reliability",
    "SplitHalf",
    "Strengths",
    "VarianceShare",
    "accuracy",
    "bootstrap_mean",
    "bradley_terry",
    "brier",
    "discrimination",
    "ece",
    "holm",
    "kappa",
    "kendall",
    "macro_f1",
    "mean_nats",
    "most_discriminating",
    "paired_bootstrap",
    "paired_t",
    "pass_at_k",
    "pearson",
    "per_class",
    "point_biserial",
    "preference_reliability",
    "share_equal",
    "spearman",
    "split_half",
    "t_interval",
    "two_parameter",
    "variance_share",
    "wilson",
]
