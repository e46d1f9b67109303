"""Networks that are independent of VAEs.

An encoder maps `(batch, *shape)` to `(batch, features)`; a decoder maps `(batch, features)` to
`(batch, outputs, *shape)`. Both also take context vectors and append them to their input.
"""

from nelbo.nets.common import InitializedFromData, Net, Rescale, rescales
from nelbo.nets.conv import Conv, Conv1d, ConvDecoder, ConvEncoder
from nelbo.nets.grid import Grid, GridDecoder, GridEncoder, grid_sizes
from nelbo.nets.mlp import MLP, MLPDecoder, MLPEncoder
from nelbo.nets.perceptual import FeatureLoss, FixedFeatures, StructuralLoss
from nelbo.nets.series import GapEncoder, Recurrent, RecurrentDecoder, RecurrentEncoder, WithGaps
from nelbo.nets.table import CellBinning, TableDecoder, TableEncoder, TableNet
from nelbo.nets.text import GRU, TextDecoder, TextEncoder, TextGRU, TextTransformer, Transformer
from nelbo.nets.topdown import ConvHead, Head
from nelbo.nets.transformer import CausalConv, CausalTransformer
