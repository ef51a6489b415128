"""(model, task) -> Scorecard: the only reader of test problems."""

from tutelage.evaluate.score import evaluate

__all__ = ["evaluate"]
