"""(model, task) -> Scorecard: the only reader of test problems."""

from tutelage.evaluate.classify import evaluate_classifier
from tutelage.evaluate.score import evaluate

__all__ = ["evaluate", "evaluate_classifier"]
