"""Backbones that know nothing of VAEs.

An encoder maps `(batch, *shape)` to `(batch, features)`; a decoder maps `(batch, features)` to
`(batch, outputs, *shape)`. Both take further arguments, the context, and join it to their input.
"""

from nelbo.nets.common import Rescale
from nelbo.nets.conv import ConvDecoder, ConvEncoder
from nelbo.nets.mlp import MLPDecoder, MLPEncoder

__all__ = ["ConvDecoder", "ConvEncoder", "MLPDecoder", "MLPEncoder", "Rescale"]
