"""Pictures worth showing: scenes, their rendering, and the record of how each was made."""

from nelbo.apps.art.scenes import MAKERS, MOST, attribute_edit, class_grid, contact_sheet, grid, latent_walk, morph

__all__ = ["MAKERS", "MOST", "attribute_edit", "class_grid", "contact_sheet", "grid", "latent_walk", "morph"]
