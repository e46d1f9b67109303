"""Pictures for display: scenes, their rendering, and records of their provenance."""

from nelbo.apps.art.scenes import MAKERS, MOST, attribute_edit, class_grid, contact_sheet, grid, latent_walk, morph
