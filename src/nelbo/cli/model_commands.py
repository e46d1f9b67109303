"""The commands that use a trained model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nelbo.cli import io
from nelbo.cli.io import JSON, Condition, DataPath, ItemData, ModelPath, N, Out, Seed, SkipUnreadable, Temperature
from nelbo.errors import UserError, say

if TYPE_CHECKING:
    from nelbo.model.scoring import Estimate

SHOWN = 64  # the most examples that `reconstruct` shows


def evaluate(
    model: ModelPath,
    data: DataPath = "",
    samples: Annotated[int, typer.Option(help="Importance samples for log p(x); 0: only the loss.")] = 0,
    quality: Annotated[bool, typer.Option("--quality", help="Compare samples with DATA by their features.")] = False,
    features: Annotated[
        str | None,
        typer.Option(help="For --quality: values or digits.  [default: digits for 28x28]", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Fixes the draws of z.  [default: that of training]", show_default=False)
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    condition: Condition = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """Print loss, distortion and rate of DATA, in nats per example.

    With --samples, log p(x) too, which is higher for likelier data: its estimate is shown as it grows, and is the
    result if Ctrl-C ends it early. With --quality, one sample is drawn for each example of DATA, and the two sets
    are compared by their features: Fréchet distance, precision, recall, density and coverage. The features are the
    values themselves, or for grey pictures of 28x28 those of a small digit classifier.

    \b
    Examples:
      nelbo evaluate results/mnist
      nelbo evaluate results/mnist my_pictures/ --samples 100 --json
      nelbo evaluate results/mnist --quality
    """
    from nelbo import metrics
    from nelbo.data import sample_rows
    from nelbo.data.dataset import to_tensor

    m = io.model(model, condition)
    rows, seed = io.rows(m, data, skip_unreadable), m.recipe.training.seed if seed is None else seed
    heard: list[Estimate] = []
    try:
        result: dict[str, float | str] = {**m.evaluate(rows, samples, seed, io.stream_log_likelihood(heard))}
        if quality:
            made = m.schema.encode(to_tensor(m.sample(len(rows), seed)))
            digits = m.schema.shape == (1, 28, 28)
            chosen = features or ("digits" if digits else "values")
            result |= metrics.quality(made, sample_rows(rows, len(rows)), chosen)
    except KeyboardInterrupt:
        if not heard:
            raise
        e = heard[-1]
        result = {"log_likelihood": e.mean, "standard_error": e.error, "n": e.done}
    lines = "\n".join(f"{name:14} " + (f"{v:.4f}" if isinstance(v, float) else str(v)) for name, v in result.items())
    if out:
        io.write(out, json.dumps(result).encode() + b"\n")
    io.print_text(json.dumps(result) if as_json else lines)


def sample(
    model: ModelPath,
    n: N = 64,
    temperature: Temperature = 1.0,
    sample_likelihood: Annotated[
        bool, typer.Option("--sample-likelihood", help="Draw from the likelihood instead of showing its mean.")
    ] = False,
    like: Annotated[str, typer.Option(help="Vary these data instead of drawing from the prior.", metavar="DATA")] = "",
    exclude: Annotated[
        Path | None, typer.Option(help="For text: only lines that are not in this file, each once.", metavar="FILE")
    ] = None,
    condition: Condition = None,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """Draw N samples from the prior of MODEL.

    They are written to a .png, .npy or .csv file, rows of a table to a .csv, .tsv or .parquet file. Lines of text are
    printed, unless --out names a .txt file. A table's rows can be conditioned on some cells: the other cells are drawn
    given these, and no row is rejected.

    With --like, each sample is an item of that DATA, shifted in latent space by the difference between two
    of its neighbours. --temperature scales the shift.

    \b
    Examples:
      nelbo sample results/mnist -n 64 --out digits.png --seed 1
      nelbo sample results/people -n 500 --condition "education=Masters,sex=Female" --out rows.csv
      nelbo sample results/emoji -n 1000 --like faces/ --out faces.npy
      nelbo sample results/names -n 20 --temperature 0.6 --exclude names.txt
    """
    if sum([bool(like), sample_likelihood, bool(exclude)]) > 1:
        raise UserError("--like, --sample-likelihood and --exclude cannot be combined: use one of them")
    m = io.model(model, condition)
    out = io.data_file(m, out, "sample")
    if exclude:
        from nelbo.apps.synthesis.neighbours import sample_novel_lines
        from nelbo.data.text import lines_of

        values = sample_novel_lines(m, n, lines_of(exclude).lines, seed, temperature)
    elif like:
        from nelbo.apps.synthesis.neighbours import vary

        values = vary(m, like, n, seed, temperature)
    else:
        values = m.sample(n, seed, temperature, sample_likelihood)
    io.emit(m, values, out, as_json)


def reconstruct(
    model: ModelPath,
    data: DataPath = "",
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            help="Only the first N.  [default: 64 in a picture or printed, all in other files]",
            show_default=False,
        ),
    ] = None,
    skip_unreadable: SkipUnreadable = False,
    condition: Condition = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """Reconstruct DATA from their posterior means.

    A picture shows the originals above their reconstructions. Lines of text are printed, each before its
    reconstruction, unless --out names a .txt file. For text, the posterior mean is first rescaled to the norm of a
    typical draw from the posterior. DATA may be a line.

    \b
    Examples:
      nelbo reconstruct results/mnist
      nelbo reconstruct results/mnist my_pictures/ -n 16 --out remade.png
      nelbo reconstruct results/mnist digits.npy --out remade.npy
      nelbo reconstruct results/captions "A man rides a horse."
    """
    import numpy as np
    import torch

    from nelbo.data import subset

    if n is not None and n < 1:
        raise UserError(f"-n {n}: use 1 or more")
    m = io.model(model, condition)
    out = io.data_file(m, out, "reconstruction")
    picture = out if out and out.suffix.lower() == ".png" else None
    rows = io.rows(m, data, skip_unreadable)
    shown = picture or (out is None and not as_json)
    first = torch.arange(min(len(rows), n or (SHOWN if shown else len(rows))))
    values = m.reconstruct(subset(rows, first))
    columns = min(8, len(first))
    if picture:  # each line of originals above the line of their reconstructions, the last one filled up with zeros
        pair = np.stack([m.schema.decode(rows.batch(first)).numpy(), values])
        missing = -len(first) % columns
        pair = np.concatenate([pair, np.zeros_like(pair, shape=(2, missing, *m.schema.shape))], 1)
        lines = pair.reshape(2, -1, columns, *m.schema.shape).swapaxes(0, 1)
        io.write(picture, io.encode_data(m, lines.reshape(-1, *m.schema.shape), picture, columns))
        io.announce(picture, values.shape, as_json, shown=len(first), of=len(rows))
    elif out is None and not as_json:
        originals = m._to_user(m.schema.decode(rows.batch(first)).numpy())
        io.emit(m, [f"{a}\n  -> {b}" for a, b in zip(originals, values, strict=True)], out, as_json)
        if len(rows) > len(first):
            say(f"The first {len(first):,} of {len(rows):,} lines; use -n for more", sys.stderr)
    else:
        io.emit(m, values, out, as_json)


def embed(
    model: ModelPath,
    data: DataPath = "",
    skip_unreadable: SkipUnreadable = False,
    condition: Condition = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """Write the posterior mean of each example.

    The file is .npy, or .csv with the name of each example (its file, id or row), and its label if it has one.

    \b
    Examples:
      nelbo embed results/mnist --out codes.npy
      nelbo embed results/mnist my_pictures/ --out codes.csv
    """
    out = io.named(out, "embedding.npy", (".npy", ".csv"))
    m = io.model(model, condition)
    rows = io.rows(m, data, skip_unreadable)
    codes = m.embed(rows)
    io.write(out, io.encode_codes(codes, rows, out))
    io.announce(out, codes.shape, as_json)


def interpolate(
    model: ModelPath,
    items: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures, lines of text, or row numbers of --data.  [default: 0 1]", show_default=False),
    ] = None,
    data: ItemData = "",
    steps: Annotated[int, typer.Option(help="Number of points from one item to the next, including both.")] = 10,
    condition: Condition = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """Interpolate between items in the latent space.

    The result is a strip of pictures (.png) with an animation (.gif) beside it, an array, a table, or lines of text.

    \b
    Examples:
      nelbo interpolate results/mnist 0 1 2
      nelbo interpolate results/faces anna.png ben.png --steps 24 --out morph.png
      nelbo interpolate results/captions "A man rides a horse." "Two dogs play in the snow." --steps 6
    """
    from nelbo.plotting import images
    from nelbo.plotting.figures import figures_of

    m = io.model(model, condition)
    out = io.data_file(m, out, "interpolation")
    chosen = items or ["0", "1"]
    rows = io.rows(m, data) if any(item.isdecimal() for item in chosen) else None
    values = m.interpolate(*(io.item(rows, item) for item in chosen), steps=steps)
    more = {}
    if m.schema.data_kind.is_picture and out is not None and out.suffix.lower() == ".png":
        there = [figures_of(m.schema).sheet(value[None], m.schema, 1) for value in values]
        animation = out.with_suffix(".gif")
        io.write(animation, images.gif([*there, *there[-2:0:-1]], fps=12.5))
        more = {"animation": str(animation)}
        if not as_json:
            say(f"Wrote {animation}")
    io.emit(m, values, out, as_json, len(values), **more)


def traverse(
    model: ModelPath,
    steps: Annotated[int, typer.Option(help="Number of values per latent dimension.")] = 9,
    span: Annotated[float, typer.Option(help="Range of each latent dimension, from -SPAN to SPAN.")] = 3.0,
    item: Annotated[
        str, typer.Option(help="A picture to start from.  [default: the prior's mean]", show_default=False)
    ] = "",
    condition: Condition = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """Vary one latent dimension at a time, highest KL first.

    The figure has a row for each latent dimension.

    \b
    Examples:
      nelbo traverse results/mnist
      nelbo traverse results/mnist --item seven.png --steps 11 --out seven.png
    """
    from nelbo.plotting import figures

    out = io.named(out, "traversal.png", (".png",))
    m = io.model(model, condition)
    values, order = m.traverse(item or None, steps, span)
    figure = figures.traversal(values, order, m.kl_per_latent, span, m.schema)
    io.write(out, io.encode_image(figures.figure_image(figure), "PNG"))
    io.announce(out, values.shape, as_json, order=order)


def plot_latent(
    model: ModelPath,
    data: DataPath = "",
    grid_size: Annotated[int, typer.Option(help="Decoded points along each side, with 2 latent dimensions.")] = 20,
    skip_unreadable: SkipUnreadable = False,
    condition: Condition = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """Draw the latent space.

    For pictures with 2 latent dimensions, points of a grid are decoded. Otherwise the figure shows the first two
    principal components of the posterior means of DATA.

    \b
    Examples:
      nelbo plot-latent results/mnist
      nelbo plot-latent results/mnist2d --grid-size 30 --out manifold.png
    """
    from nelbo.plotting import figures

    out = io.named(out, "map.png", (".png",))
    m = io.model(model, condition)
    if len(m.kl_per_latent) == 2 and m.schema.data_kind.is_picture:
        values = m.decode_manifold(grid_size)
        return io.emit(m, values, out, as_json, grid_size)
    rows = io.rows(m, data, skip_unreadable)
    points, share = m.pca_projection(rows)
    labels = None if rows.labels is None else rows.labels.numpy()
    title = f"Posterior means, first two principal components ({share:.0%} of their variance)"
    figure = figures.scatter(points, labels, rows.schema.classes, title)
    io.write(out, io.encode_image(figures.figure_image(figure), "PNG"))
    return io.announce(out, points.shape, as_json)


COMMANDS: dict[str, Callable[..., None]] = {
    "evaluate": evaluate,
    "sample": sample,
    "reconstruct": reconstruct,
    "embed": embed,
    "interpolate": interpolate,
    "traverse": traverse,
    "plot-latent": plot_latent,
}
