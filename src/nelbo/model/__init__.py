"""The trained model that a user holds."""

from nelbo.model.model import Model
