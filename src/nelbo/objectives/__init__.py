"""What is minimised: terms of a trace and their sums."""

from nelbo.objectives.base import Losses, Objective, Sum, Term, distortion, elbo, path_rate, rate

__all__ = ["Losses", "Objective", "Sum", "Term", "distortion", "elbo", "path_rate", "rate"]
