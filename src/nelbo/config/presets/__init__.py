"""The published variants, each a combination of parts: `nelbo.config.presets.beta_tc(beta=6.0)`, `--preset beta-tc`."""

from nelbo.config.presets.base import PRESETS, Preset, PresetEntry, find, preset
from nelbo.config.presets.by_latent import *  # noqa: F403
from nelbo.config.presets.by_objective import *  # noqa: F403
