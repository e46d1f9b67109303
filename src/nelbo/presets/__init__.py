"""The published variants, each a combination of parts: `nelbo.presets.beta_tc(beta=6.0)`, `--preset beta-tc`."""

from nelbo.presets.base import PRESETS, Entry, Preset, find, preset
from nelbo.presets.by_latent import *  # noqa: F403
from nelbo.presets.by_objective import *  # noqa: F403
