"""`nelbo augment`: synthetic rows of a table, or labelled pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nelbo.cli import io
from nelbo.cli.io import JSON, ModelPath, N, Out, Seed
from nelbo.errors import UserError

if TYPE_CHECKING:
    from nelbo.model import Model

ENDINGS = (".csv", ".tsv", ".txt", ".parquet")


def augment(
    model: ModelPath,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Real data.  [default: the model's training data]", show_default=False)
    ] = "",
    n: N = 1000,
    condition: Annotated[
        str | None, typer.Option(help="Cells of all rows: education=Masters,sex=Female; a class of pictures.")
    ] = None,
    balance: Annotated[
        str | None, typer.Option(help="Make the classes of this column (label, for pictures) equally frequent.")
    ] = None,
    max_nll_quantile: Annotated[
        float,
        typer.Option("--max-nll-quantile", help="Reject samples that are less likely than this fraction of real data."),
    ] = 1.0,
    append: Annotated[
        bool, typer.Option("--append", help="Write the real data too, before the synthetic data.")
    ] = False,
    temperature: Annotated[float, typer.Option(help="How far pictures vary; below 1, less.")] = 1.0,
    privacy: Annotated[bool, typer.Option("--privacy", help="Report whether real rows can be recognised.")] = False,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """Write synthetic rows of a table, or labelled pictures.

    --balance writes just enough samples to make all classes equally frequent. --max-nll-quantile 0.99 rejects and
    redraws samples less likely than 99 % of comparable real data, and pictures whose class is not confirmed.
    Pictures become a folder with a subfolder for each class, or a .npz with x and y. Unlabelled pictures
    (in a subfolder "unlabelled", or with an empty cell of --labels) are labelled by their latent neighbours.

    --privacy compares the distance to the closest training row with that of held-out rows, and tests whether training
    rows can be recognised.

    \b
    Examples:
      nelbo augment results/people -n 5000 --max-nll-quantile 0.99 --privacy --out rows.csv
      nelbo augment results/people --condition "education=Masters,sex=Female" -n 500 --out rows.csv
      nelbo augment results/people people.csv --balance income --append --out balanced.csv
      nelbo augment results/digits digits/ -n 5000 --max-nll-quantile 0.99 --out more/
      nelbo augment results/digits digits/ --balance label --append --out balanced.npz
    """
    if balance is not None and condition is not None:
        raise UserError("--balance and --condition cannot be combined: use one of them")
    if not 0 < max_nll_quantile <= 1:
        raise UserError(f"--max-nll-quantile {max_nll_quantile}: use a quantile above 0, at most 1, such as 0.99")
    m = io.model(model, None)
    m.schema.require_kind("augment", "image", "table")
    compares = max_nll_quantile < 1 or balance is not None
    draw = partial(_draw, m, n, balance, max_nll_quantile, seed, temperature)
    if m.schema.data_kind.is_picture:
        if privacy:
            raise UserError("--privacy applies only to tables: leave it out")
        return _pictures(m, data, draw, condition, compares, append, out or Path("augmented"), as_json)
    out = io.named(out, "augmented.csv", ENDINGS)
    real = m.as_dataset(_source(m, data)) if compares else None
    rows = draw(m.schema.data_kind.parse_condition(condition, m.schema) if condition else None, real)
    return _rows(m, data, rows, append, privacy, out, seed, as_json)


def _rows(m: Model, data: str, rows: Any, append: bool, privacy: bool, out: Path, seed: int, as_json: bool) -> None:
    """Write synthetic rows."""
    from nelbo.data import tables

    whole = tables.append_rows(tables.open_table(_source(m, data)), rows) if append else None
    found = _privacy(m, data, rows, seed) if privacy else {}
    ending = out.suffix.lower()
    io.write(out, tables.source_bytes(whole, ending) if whole else tables.to_bytes(rows, ending))
    shape = whole.table.shape if whole else rows.shape
    more: dict[str, Any] = {"privacy": found} if found else {}
    io.announce(out, shape, as_json, rows=len(rows), **more)
    if found and not as_json:
        from nelbo.apps.synthesis.privacy import to_text

        io.say_lines(to_text(found))


def _draw(
    m: Model, n: int, balance: str | None, quantile: float, seed: int, temperature: float, condition: Any, real: Any
) -> Any:
    """The synthetic data: a DataFrame, or pictures and their classes."""
    from nelbo.apps.synthesis import rows

    if balance is not None:
        return rows.balance(m, balance, real, quantile, real, seed, temperature)
    return rows.augment(m, n, condition, quantile, real, seed, temperature)


def _pictures(
    m: Model,
    data: str,
    draw: Callable[[Any, Any], Any],
    condition: str | None,
    compares: bool,
    append: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Write synthetic pictures."""
    import numpy as np

    from nelbo.apps.synthesis import images

    images.check_target(out)
    real = _real_pictures(m, data) if compares or append or not images.conditional(m) else None
    x, y = draw(condition, real)
    made = x.shape
    if append and real is not None and real.labels is not None:
        labelled = (real.labels >= 0).nonzero().flatten()
        before = m.schema.decode(real.batch(labelled)).numpy()
        names = np.array(images.class_names(real))[real.labels[labelled].numpy()]
        x, y = np.concatenate([before, x]), np.concatenate([names, y])
    images.write_set(out, x, y, m.schema, len(x) - made[0])
    io.announce(out, made, as_json)


def _real_pictures(m: Model, data: str) -> Any:
    """The labelled pictures DATA, or those of training."""
    from nelbo.data import load_like
    from nelbo.experiment import run

    if data:
        return load_like(data, m.schema, split="train")
    if not m.recipe.data.source:
        raise UserError("the model was trained on an array, which was not saved: pass DATA")
    return run.read(m.recipe)[0].train


def _source(m: Model, data: str) -> str:
    """The file of the real rows."""
    from nelbo.data import tables

    source = data or m.recipe.data.source
    if not source:
        raise UserError("the model was trained on a DataFrame, which was not saved: pass the file of its rows as DATA")
    if not tables.is_table(source):
        raise UserError(f"{source} is not a table: give the file of real rows as DATA")
    return source


def _privacy(m: Model, data: str, rows: Any, seed: int) -> dict[str, Any]:
    """The report on training and test rows of DATA, which is split as in training."""
    import dataclasses

    from nelbo.apps.synthesis import privacy
    from nelbo.experiment.run import read

    source = _source(m, data)
    recipe = dataclasses.replace(m.recipe, data=dataclasses.replace(m.recipe.data, source=source))
    loaded, _ = read(recipe)
    if loaded.schema != m.schema:
        raise UserError(f"{source} is not the model's training data, or has changed: --privacy needs the same rows")
    return privacy.report(m.schema, rows, loaded.train, loaded.test, seed)
