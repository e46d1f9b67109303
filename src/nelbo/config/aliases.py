"""Old names in files -> new names: recipes, saved models and rendered images are read through these tables."""

from __future__ import annotations

KINDS: dict[str, dict[str, str]] = {
    "objective": {"constrained": "geco", "info": "infovae", "factor": "factorvae", "chi": "chivi", "dip": "dip-vae"},
    "posterior": {"dirac": "point-mass"},
    "likelihood": {
        "discretised-logistic": "discretized-logistic",
        "discretised-logistic-mixture": "discretized-logistic-mixture",
    },
}
"""family -> old kind -> new kind."""

PRESETS: dict[str, str] = {"discretised-logistic": "discretized-logistic"}

FIELDS: dict[str, dict[str, str]] = {
    "Recipe": {"prior": "post_hoc_prior"},
    "ModelSpec": {"start_at_mean": "init_bias_to_mean"},
    "Input": {"hide": "mask_fraction"},
    "TrainingConfig": {
        "epoch_size": "samples_per_epoch",
        "clip": "max_grad_norm",
        "ema": "ema_decay",
        "accumulate": "gradient_accumulation_steps",
        "patience": "early_stopping_patience",
        "encoder_rate": "encoder_lr_scale",
    },
    "schedule.linear": {"start": "start_value", "end": "end_value", "begin": "start_at", "until": "end_at"},
    "schedule.one-cycle": {"start": "start_value", "end": "end_value"},
    "schedule.cosine": {"end": "end_value"},
    "schedule.cyclical": {"end": "end_value"},
    "likelihood.bernoulli": {"grey": "allow_soft_targets"},
    "latent.vq": {"codes": "codebook_size", "revive": "restart_threshold"},
    "prior.transformer": {"codes": "codebook_size"},
    "prior.pixelcnn": {"codes": "codebook_size"},
    "objective.factorvae": {"ratio": "critic_lr_scale"},
    "objective.aae": {"ratio": "critic_lr_scale"},
    "objective.vae-gan": {"ratio": "critic_lr_scale"},
    "DataOptions": {"fit": "resize_mode", "skip_bad": "skip_unreadable"},
    "objective.rae": {"regulariser": "regularizer"},
    "Schema": {"fit": "resize_mode"},
    "Column": {"numbers": "transform_params"},
}
"""family.kind, or the name of a dataclass of a recipe or a saved model -> old field -> new field."""

WEIGHTS: dict[str, str] = {
    "latent.quantiser.": "latent.quantizer.",
    "latent.prior.likelihood.": "latent.prior.vae.likelihood.",
    "latent.prior.posterior.": "latent.prior.vae.latent.posterior.",
}
"""Prefix of the name of a tensor in a saved model -> new prefix."""

RENDERED_BY: dict[str, str] = {
    "walk": "latent_walk",
    "attribute": "attribute_edit",
    "classes": "class_grid",
    "contact": "contact_sheet",
}
RENDER_OPTIONS: dict[str, dict[str, str]] = {
    "latent_walk": {"points": "waypoints"},
    "attribute_edit": {"plus": "toward", "minus": "away_from"},
}
"""The function, and its options, in the metadata of an image of `nelbo art`."""
