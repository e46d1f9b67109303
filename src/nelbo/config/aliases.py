"""Names that recipes and saved models had before: old name -> new name. All old files are read through this table."""

from __future__ import annotations

KINDS: dict[str, dict[str, str]] = {}
"""family -> old kind -> new kind."""

FIELDS: dict[str, dict[str, str]] = {}
"""family.kind, or the name of a recipe's dataclass -> old field -> new field."""

WEIGHTS: dict[str, str] = {
    "latent.quantiser.": "latent.quantizer.",
    "latent.prior.likelihood.": "latent.prior.vae.likelihood.",
    "latent.prior.posterior.": "latent.prior.vae.latent.posterior.",
}
"""Prefix of the name of a tensor in a saved model -> new prefix."""
