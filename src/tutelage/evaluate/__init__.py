"""(model, task) -> Scorecard: the only reader of test problems."""

from tutelage.evaluate.classify import evaluate_classifier
from tutelage.evaluate.confidence import evaluate_confidence
from tutelage.evaluate.rewards import evaluate_reward
from tutelage.evaluate.score import evaluate

__all__ = ["evaluate", "evaluate_classifier", "evaluate_confidence", "evaluate_reward"]
