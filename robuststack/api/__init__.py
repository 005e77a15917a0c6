"""What Python users call: run a suite, evaluate one model, audit either, bundle and verify what is behind a leaderboard,
compare rows, load a trained model."""

from robuststack.api.audits import AuditResult, audit
from robuststack.api.bundles import BundleFile, bundle, verify
from robuststack.api.comparisons import compare
from robuststack.api.result import Result
from robuststack.api.runs import evaluate, run
from robuststack.api.trained import Trained, load_model
from robuststack.evidence.bundle.verification import Verification
from robuststack.suite.loading import load_suite

__all__ = [
    "AuditResult",
    "BundleFile",
    "Result",
    "Trained",
    "Verification",
    "audit",
    "bundle",
    "compare",
    "evaluate",
    "load_model",
    "load_suite",
    "run",
    "verify",
]
