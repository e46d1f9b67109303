"""Who draws the latents and what is recorded of them."""

from nelbo.latents.codebooks import VQ, ResidualVQ
from nelbo.latents.flat import Flat, Latent
from nelbo.latents.level import Level
from nelbo.latents.product import Product
from nelbo.latents.quantised import Quantised
from nelbo.latents.quantisers import FSQ, LFQ, Choice, Quantiser, Usage, usage
from nelbo.latents.rungs import Rung
from nelbo.latents.topdown import TopDown
