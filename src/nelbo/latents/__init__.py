"""Who draws the latents and what is recorded of them."""

from nelbo.latents.flat import Flat, Latent
from nelbo.latents.level import Level

__all__ = ["Flat", "Latent", "Level"]
