"""Pictures worth showing: scenes, their rendering, and the record of how each was made."""

from nelbo.apps.art.scenes import MAKERS, MOST, attribute, classes, contact, grid, morph, walk

__all__ = ["MAKERS", "MOST", "attribute", "classes", "contact", "grid", "morph", "walk"]
