"""Latents: how z is inferred and sampled. A single level, a hierarchy, several side by side, or quantized."""

from nelbo.latents.hierarchy import TopDown, TopDownBlock
from nelbo.latents.quantized import QuantizedLatent
from nelbo.latents.quantizers import FSQ, LFQ, Quantizer, QuantizerOutput, ResidualVectorQuantizer, VectorQuantizer
from nelbo.latents.single_level import Latent, LatentLevel, ProductLatent, SingleLevelLatent
