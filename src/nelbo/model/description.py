"""Summaries of a model, as numbers and as text: for `repr`, for a notebook, and for the messages of training."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nelbo.config.registry import dump, kind_of
from nelbo.errors import listed, one_line

if TYPE_CHECKING:
    from nelbo.model.model import Model

CARRIED = 0.01
"""Nats of KL above which a latent counts as active."""
PARTS = ("latent", "prior", "posterior", "likelihood", "encoder", "decoder")
SAMPLES = 8  # shown in a notebook


def info(model: Model) -> dict[str, Any]:
    """Summarize a model as numbers, strings, lists and dictionaries; see `Model.info`."""
    recipe, spec = model.recipe, model.recipe.model
    tensors = model.vae.state_dict().values()
    held = {**vars(spec), **{name: spec.latent.options.get(name) for name in ("prior", "posterior")}}
    carrying = [[i, rate] for i, rate in enumerate(model.kl_per_latent) if rate > CARRIED]
    return {
        "kind": model.schema.kind,
        "shape": list(model.schema.shape),
        "classes": list(model.schema.classes),
        "condition": None if model.context is None else list(model.context.classes) or model.context.width,
        **{part: _kind(held[part]) for part in PARTS},
        "objective": dump(recipe.objective),
        "preset": recipe.preset,
        "parameters": sum(parameter.numel() for parameter in model.vae.parameters()),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        "latents": len(model.kl_per_latent),
        "carrying": sorted(carrying, key=lambda item: -item[1]),
        "trained": dict(model.trained),
        "versions": dict(recipe.versions),
    }


def _kind(part: Any) -> str | None:
    """The kind of a component; for a hierarchy, which has no single posterior, how it parametrizes its posteriors."""
    return part if part is None or isinstance(part, str) else kind_of(part)


def lines(model: Model) -> dict[str, str]:
    """Summarize a model in text, as heading -> line."""
    i = info(model)
    nets = f"{i['encoder']} encoder, {i['decoder']} decoder, {i['parameters']:,} parameters"
    words = {
        "data": model.schema.data_kind.describe(model.schema),
        "latents": f"{i['latent']}, {i['latents']} numbers"
        + (f", of which {carried(model)}" if any(model.kl_per_latent) else ""),
        "prior": i["prior"],
        "posterior": i["posterior"],
        "likelihood": i["likelihood"],
        "networks": nets,
        "objective": objective(i["objective"]) + (f" (preset {i['preset']})" if i["preset"] else ""),
    }
    if model.context is not None:
        classes, width = model.context.classes, model.context.width
        words["condition"] = f"{len(classes)} classes: {listed(classes)}" if classes else f"{width} numbers"
    if model.trained:
        source = f"{model.trained['data']}, " if model.trained["data"] else ""
        words["trained on"] = f"{source}{model.trained['rows']:,} data"
        words["test loss"] = loss(model.trained)
    return {heading: text for heading, text in words.items() if text}


def carried(model: Model) -> str:
    """How many latents are active, in words."""
    return f"{sum(rate > CARRIED for rate in model.kl_per_latent)} carry more than {CARRIED} nats"


def objective(table: Mapping[str, Any]) -> str:
    """An objective's kind, with those of its options that are single values."""
    options = [f"{name}={value}" for name, value in table.items() if not isinstance(value, dict) and name != "kind"]
    return f"{table['kind']} ({', '.join(options)})" if options else table["kind"]


def loss(trained: Mapping[str, Any]) -> str:
    """The test loss and its two terms, in words."""
    losses, epochs = trained["test"], trained["epochs"]
    parts = f"distortion {losses['distortion']:.2f}, rate {losses['rate']:.2f}"
    after = f"after {epochs} {'epoch' if epochs == 1 else 'epochs'}"
    before = ", before its prior was fitted" if trained.get("prior") else ""
    return f"{losses['loss']:.2f} nats per example ({parts}) {after}{before}"


def as_text(model: Model) -> str:
    """The summary, one line for each heading."""
    return "\n".join(["nelbo.Model", *(f"  {heading:11} {one_line(text)}" for heading, text in lines(model).items())])


def as_html(model: Model) -> str:
    """The summary as a small table, above a few samples."""
    rows = "".join(
        f'<tr><th style="text-align:left">{heading}</th><td style="text-align:left">{html.escape(text)}</td></tr>'
        for heading, text in lines(model).items()
    )
    samples = model.schema.data_kind.to_html(model.sample(SAMPLES), model.schema)
    return f"<div><b>nelbo.Model</b><table>{rows}</table>{samples}</div>"
