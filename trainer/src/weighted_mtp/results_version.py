"""The version of the trainer's *numerics*.

It is part of every run's fingerprint. Raise it when a change makes the same configuration and data give another
loss curve (and only then: a faster or clearer trainer with the same curve keeps its version, so that nobody
re-trains for nothing). `tests/test_golden_curve.py` fails when somebody forgets.
"""

RESULTS_VERSION = "1"
