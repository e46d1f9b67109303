"""Backbones that know nothing of VAEs.

An encoder maps `(batch, *shape)` to `(batch, features)`; a decoder maps `(batch, features)` to
`(batch, outputs, *shape)`. Both take further arguments, the context, and join it to their input.
"""

from nelbo.nets.autoregressive import CausalConv, CausalTransformer
from nelbo.nets.cells import Cells
from nelbo.nets.common import Rescale
from nelbo.nets.conv import ConvDecoder, ConvEncoder
from nelbo.nets.features import FixedFeatures
from nelbo.nets.gaps import GapEncoder
from nelbo.nets.grid import GridDecoder, GridEncoder, grid_sizes
from nelbo.nets.mlp import MLPDecoder, MLPEncoder
from nelbo.nets.recurrent import RecurrentDecoder, RecurrentEncoder
from nelbo.nets.similarity import FeatureLoss, StructuralLoss
from nelbo.nets.table import TableDecoder, TableEncoder
from nelbo.nets.text import GRU, TextDecoder, TextEncoder, Transformer
from nelbo.nets.topdown import ConvHead
from nelbo.nets.warp import WarpDecoder
