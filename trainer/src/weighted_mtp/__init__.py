"""Weighted multi-token prediction: one trainer, one mechanism (score -> weights -> loss), five pipelines."""

from weighted_mtp.results_version import RESULTS_VERSION

__all__ = ["RESULTS_VERSION"]
