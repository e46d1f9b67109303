"""Anomalies: scores, thresholds with a stated rate of false alarms, and explanations."""

from nelbo.apps.anomaly.detector import DetectionResult, Detector, feature_scores
