"""Care: whether a store is as it was written, and making it smaller without losing what is needed.

Must not know: SQLite, how tasks are defined.

Next: __init__.py
"""

from checkpoint.care.collection import Collected, Collection, collect
from checkpoint.care.verification import Problem, ProblemKind, Verification, verify

__all__ = ["Collected", "Collection", "Problem", "ProblemKind", "Verification", "collect", "verify"]
