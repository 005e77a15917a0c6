"""What Python users call: run a suite, evaluate one model, audit either, compare rows, load a trained model."""

from robuststack.api.audits import AuditResult, audit
from robuststack.api.comparisons import compare
from robuststack.api.result import Result
from robuststack.api.runs import evaluate, run
from robuststack.api.trained import Trained, load_model
from robuststack.suite.loading import load_suite

__all__ = ["AuditResult", "Result", "Trained", "audit", "compare", "evaluate", "load_model", "load_suite", "run"]
