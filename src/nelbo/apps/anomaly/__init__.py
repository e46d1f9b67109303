"""Anomalies: scores, thresholds with a stated rate of false alarms, and explanations."""

from nelbo.apps.anomaly.detector import Detector, Findings, blame

__all__ = ["Detector", "Findings", "blame"]
