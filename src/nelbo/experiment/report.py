"""The report of a run: one self-contained page.

Template engines were weighed: one flat page needs none.
"""

from __future__ import annotations

import base64
import html
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from nelbo.config import recipe as recipes
from nelbo.model import Model
from nelbo.plotting.figures import figures_of
from nelbo.training import State

MEANINGS = {
    "loss": "What training minimises, by the objective named in the settings below; nats per example, lower is better. "
    "It is the negative ELBO, distortion + rate, only if the objective weights both by 1.",
    "distortion": "Reconstruction error from one draw of the latents: minus the log-likelihood, nats.",
    "rate": "Information in the latents about the example: KL of the posterior from the prior, nats.",
    "seconds": "Time spent on this split in this epoch.",
    "lr": "The learning rate at the epoch's last step.",
}


def report(model: Model, state: State, folder: Path) -> str:
    """The HTML of a run: numbers, curves, pictures and settings; `folder` has the pictures of its epochs."""
    last = max((row["epoch"] for row in state.rows), default=0)
    rebuilt, drawn = figures_of(model.schema).captions
    pictures = {
        f"reconstruction_{last}.png": rebuilt,
        f"sample_{last}.png": drawn,
        f"loss_curve_{last}.png": "Loss by epoch, with its two parts",
    }
    figures = "".join(
        _figure(folder / name, caption) for name, caption in pictures.items() if (folder / name).is_file()
    )
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.vae.named_children()}
    note = (
        ""
        if model.vae.likelihood.normalized
        else (
            "<p>The likelihood, as it is used here, is not a density: these losses are not "
            "−log p(x) and must not be compared with published likelihoods.</p>"
        )
    )
    page = Template((resources.files("nelbo.experiment") / "files" / "report.html").read_text("utf-8"))
    return page.substitute(
        title=html.escape(f"nelbo: {model.recipe.data.source or 'run'}"),
        ended=html.escape(state.reason or "not finished"),
        metrics=_table(state.rows),
        meanings="".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in MEANINGS.items()),
        note=note,
        figures=figures,
        rates=_rates(model),
        size=f"{sum(sizes.values()):,} parameters: " + ", ".join(f"{name} {n:,}" for name, n in sizes.items()),
        recipe=html.escape(recipes.dumps(model.recipe)),
    )


def _figure(path: Path, caption: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    image = f'<img src="data:image/png;base64,{content}" alt="{caption}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "<p>No epoch was finished.</p>"
    names = [name for name in rows[0] if name != "returns"]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_number(row[name])}</td>" for name in names) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float) and abs(value) < 1
        else f"{value:.2f}"
        if isinstance(value, float)
        else str(value)
    )


def _rates(model: Model) -> str:
    carrying = sum(rate > 0.01 for rate in model.kl_per_latent)
    listed = ", ".join(
        f"z{i} {rate:.2f}" for i, rate in sorted(enumerate(model.kl_per_latent), key=lambda item: -item[1])
    )
    return f"{carrying} of {len(model.kl_per_latent)} latents carry more than 0.01 nats: {listed}"
