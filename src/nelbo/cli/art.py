"""`nelbo art`: pictures for display, each file with the record that recreates it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nelbo.cli import io

app = io.group()

ENDINGS = (".png", ".svg", ".webp", ".gif", ".mp4")


@app.callback()
def pictures() -> None:
    """Grids, latent walks, morphs and other images made with a model.

    They are for models of pictures. The ending of --out chooses the form: .png, .svg, .webp, .gif or .mp4. Each file
    holds the model, its options and its seed: `nelbo art rerender FILE` makes the same picture, in any of these forms.

    \b
    Examples:
      nelbo art grid results/mnist --out grid.png
      nelbo art walk results/mnist -n 16 --seconds 6 --out walk.gif
      nelbo art rerender walk.gif --out walk.mp4
    """


@app.command("grid", cls=io.Command)
def grid(
    model: io.ModelPath,
    n: io.N = 64,
    temperature: io.Temperature = 1.0,
    truncation: io.Truncation = None,
    like: Annotated[
        str | None, typer.Option(help="Vary these pictures instead of drawing from the prior.", metavar="DATA")
    ] = None,
    columns: io.Columns = 8,
    size: io.Size = 0,
    smooth: io.Smooth = False,
    condition: io.Condition = None,
    out: io.Out = None,
    seed: io.Seed = 0,
    as_json: io.JSON = False,
) -> None:
    """A grid of samples.

    With --like, it is a grid of variations of the given pictures; see `nelbo sample`.

    \b
    Examples:
      nelbo art grid results/mnist --out grid.png
      nelbo art grid results/faces --like smiling/ --out smiling.png
      nelbo art grid results/faces -n 100 --columns 10 --truncation 0.7 --size 128 --smooth --out faces.webp
    """
    _make("grid", locals(), "grid.png")


@app.command("walk", cls=io.Command)
def latent_walk(
    model: io.ModelPath,
    seconds: io.Seconds = 6.0,
    waypoints: Annotated[int, typer.Option(help="Number of draws from the prior that the walk passes through.")] = 4,
    n: Annotated[int, typer.Option("-n", help="Number of walks, side by side.")] = 1,
    fps: io.Rate = 25.0,
    temperature: io.Temperature = 1.0,
    truncation: io.Truncation = None,
    columns: Annotated[
        int, typer.Option(help="Number of walks per row.  [default: about the number of rows]", show_default=False)
    ] = 0,
    size: io.Size = 0,
    smooth: io.Smooth = False,
    condition: io.Condition = None,
    out: io.Out = None,
    seed: io.Seed = 0,
    as_json: io.JSON = False,
) -> None:
    """A closed walk through the latent space, at constant speed.

    \b
    Examples:
      nelbo art walk results/mnist --seconds 6 --out walk.gif
      nelbo art walk results/faces -n 9 --waypoints 6 --seconds 12 --out walk.mp4
    """
    _make("latent_walk", locals(), "walk.gif")


@app.command("morph", cls=io.Command)
def morph(
    model: io.ModelPath,
    items: Annotated[list[str], typer.Argument(help="Picture files, or row numbers of --data; 2 or more.")],
    data: io.ItemData = "",
    seconds: io.Seconds = 4.0,
    fps: io.Rate = 25.0,
    loop: Annotated[bool, typer.Option("--loop/--no-loop", help="Go back to the first at the end.")] = True,
    size: io.Size = 0,
    smooth: io.Smooth = False,
    condition: io.Condition = None,
    out: io.Out = None,
    as_json: io.JSON = False,
) -> None:
    """A film from picture to picture, through the latent space.

    The reconstruction error of each end picture is added back and faded out along the path, so that the film starts and
    ends on the original pictures.

    \b
    Examples:
      nelbo art morph results/faces anna.png ben.png cleo.png --out morph.gif
      nelbo art morph results/mnist 0 1 2 --seconds 3 --no-loop --out strip.png
    """
    _make("morph", locals() | {"data": data or None}, "morph.gif")


@app.command("attribute", cls=io.Command)
def attribute_edit(
    model: io.ModelPath,
    toward: Annotated[str, typer.Option(help="The class to move towards.")],
    away_from: Annotated[
        str | None, typer.Option(help="The class to move away from.  [default: all others]", show_default=False)
    ] = None,
    items: Annotated[list[str] | None, typer.Option("--item", help="A picture file or row number; repeatable.")] = None,
    data: io.Labelled = None,
    strength: Annotated[float, typer.Option(help="How far, in ways between the classes' means.")] = 2.0,
    steps: Annotated[int, typer.Option(help="Strengths, from 0 to STRENGTH.")] = 8,
    n: Annotated[int, typer.Option("-n", help="How many samples, where no --item is given.")] = 4,
    size: io.Size = 0,
    smooth: io.Smooth = False,
    condition: io.Condition = None,
    out: io.Out = None,
    seed: io.Seed = 0,
    as_json: io.JSON = False,
) -> None:
    """Move pictures along the direction between two class means.

    \b
    Examples:
      nelbo art attribute results/faces --toward smiling --away-from neutral --data faces/ --item anna.png
      nelbo art attribute results/mnist --toward 7 --away-from 1 --out sevens.gif
    """
    _make("attribute_edit", locals(), "attribute.png")


@app.command("class-grid", cls=io.Command)
def class_grid(
    model: io.ModelPath,
    data: io.Labelled = None,
    temperature: io.Temperature = 1.0,
    truncation: io.Truncation = None,
    columns: io.Columns = 8,
    size: io.Size = 0,
    smooth: io.Smooth = False,
    out: io.Out = None,
    seed: io.Seed = 0,
    as_json: io.JSON = False,
) -> None:
    """A row of samples for each class.

    A conditional model samples each class. For other models, the rows are variations of labelled pictures.

    \b
    Examples:
      nelbo art class-grid results/mnist --columns 10 --out classes.png
      nelbo art class-grid results/faces --data faces/ --temperature 0.8
    """
    _make("class_grid", locals(), "classes.png")


@app.command("contact-sheet", cls=io.Command)
def contact_sheet(
    model: io.ModelPath,
    data: io.DataPath = "",
    n: Annotated[int, typer.Option("-n", help="How many at most.")] = 64,
    columns: io.Columns = 8,
    size: io.Size = 0,
    smooth: io.Smooth = False,
    condition: io.Condition = None,
    out: io.Out = None,
    as_json: io.JSON = False,
) -> None:
    """A contact sheet of pictures and their reconstructions.

    Each picture of DATA is above its reconstruction, with its class or number beneath.

    \b
    Examples:
      nelbo art contact-sheet results/mnist
      nelbo art contact-sheet results/faces my_pictures/ -n 60 --columns 10 --out contact.svg
    """
    _make("contact_sheet", locals() | {"data": data or None}, "contact.png")


@app.command("rerender", cls=io.Command)
def rerender(
    picture: Annotated[Path, typer.Argument(metavar="FILE", help="A picture that nelbo art wrote.")],
    model: Annotated[Path | None, typer.Option("--model", help="Where the picture's model is now.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write.  [default: FILE]", show_default=False)
    ] = None,
    as_json: io.JSON = False,
) -> None:
    """Recreate the picture stored in FILE, in any form.

    \b
    Examples:
      nelbo art rerender walk.gif --out walk.mp4
      nelbo art rerender grid.png --model elsewhere/mnist
    """
    from nelbo.apps.art import provenance

    target = io.named(out, str(picture), ENDINGS)
    _write(provenance.rerender(picture, model), target, as_json)


def _make(made: str, options: dict[str, Any], default: str) -> None:
    """Make what a command names of the values of its options, and write it."""
    out = io.named(options.pop("out"), default, ENDINGS)
    path, as_json = options.pop("model"), options.pop("as_json")
    from nelbo.apps.art import provenance

    _write(provenance.render(made, path, **options), out, as_json)


def _write(piece: Any, out: Path, as_json: bool) -> None:
    io.write(out, piece.encode(out.suffix))
    io.announce(out, piece.values.shape, as_json, piece.values.shape[1], piece.of)
