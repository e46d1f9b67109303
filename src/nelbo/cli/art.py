"""`nelbo art`: pictures worth showing, each with how to make it again in its file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nelbo.cli import io
from nelbo.cli.model_commands import JSON, Given, ModelPath, Out, Seed
from nelbo.errors import UserError

app = typer.Typer(rich_markup_mode=None)

ENDINGS = (".png", ".svg", ".webp", ".gif", ".mp4")
Columns = Annotated[int, typer.Option(help="Pictures to a row.")]
Size = Annotated[int, typer.Option(help="Longer side of a picture in pixels, to a whole factor.  [default: suits]")]
Smooth = Annotated[bool, typer.Option("--smooth", help="Enlarge smoothly, to exactly --size.")]
Temperature = Annotated[float, typer.Option(help="Spread of the prior; below 1: more typical.")]
Truncation = Annotated[
    float | None, typer.Option(help="Draw the prior's noise anew beyond so many standard deviations, such as 0.7.")
]
Seconds = Annotated[float, typer.Option(help="How long it lasts.")]
Rate = Annotated[float, typer.Option("--fps", help="Frames a second.")]
Labelled = Annotated[str | None, typer.Option(help="Labelled pictures.  [default: the model's test data]")]


@app.callback(invoke_without_command=True)
def again(
    context: typer.Context,
    picture: Annotated[Path | None, typer.Option("--again", metavar="FILE", help="Make it again, or anew.")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Where the picture's model is now.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.  [default: FILE]")] = None,
    as_json: JSON = False,
) -> None:
    """Make pictures worth showing of a model of pictures: .png, .svg, .webp, .gif or .mp4, by the ending of --out.

    Each file holds the model, its options and its seed: --again makes the same picture, in any of these forms.

    \b
    Examples:
      nelbo art grid results/mnist --out grid.png
      nelbo art walk results/mnist -n 16 --seconds 6 --out walk.gif
      nelbo art --again walk.gif --out walk.mp4
    """
    if context.invoked_subcommand is not None:
        if picture is not None:
            raise UserError(f"--again {picture}: takes no other command: leave out {context.invoked_subcommand!r}")
        return
    if picture is None:
        print(context.get_help())
        raise typer.Exit
    from nelbo.apps.art import provenance

    target = io.named(out, str(picture), ENDINGS)
    _write(provenance.again(picture, model), target, as_json)


@app.command("grid")
def grid(
    model: ModelPath,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 64,
    temperature: Temperature = 1.0,
    truncation: Truncation = None,
    like: Annotated[
        str | None, typer.Option(help="Vary these pictures instead of drawing from the prior.", metavar="DATA")
    ] = None,
    columns: Columns = 8,
    size: Size = 0,
    smooth: Smooth = False,
    condition: Given = None,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """A sheet of samples, or with --like of pictures like those named; see `nelbo sample`.

    \b
    Examples:
      nelbo art grid results/mnist --out grid.png
      nelbo art grid results/faces --like smiling/ --out smiling.png
      nelbo art grid results/faces -n 100 --columns 10 --truncation 0.7 --size 128 --smooth --out faces.webp
    """
    _make("grid", locals(), "grid.png")


@app.command("walk")
def walk(
    model: ModelPath,
    seconds: Seconds = 6.0,
    points: Annotated[int, typer.Option(help="Draws of the prior that it goes through.")] = 4,
    n: Annotated[int, typer.Option("-n", help="How many walks, side by side.")] = 1,
    fps: Rate = 25.0,
    temperature: Temperature = 1.0,
    truncation: Truncation = None,
    columns: Annotated[int, typer.Option(help="Walks to a row.  [default: about as many as rows]")] = 0,
    size: Size = 0,
    smooth: Smooth = False,
    condition: Given = None,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """A walk through the latent space that ends where it began, at constant speed.

    \b
    Examples:
      nelbo art walk results/mnist --seconds 6 --out walk.gif
      nelbo art walk results/faces -n 9 --points 6 --seconds 12 --out walk.mp4
    """
    _make("walk", locals(), "walk.gif")


@app.command("morph")
def morph(
    model: ModelPath,
    items: Annotated[list[str], typer.Argument(help="Picture files, or row numbers of --data; 2 or more.")],
    data: Annotated[str | None, typer.Option(help="Where row numbers point to.  [default: the test data]")] = None,
    seconds: Seconds = 4.0,
    fps: Rate = 25.0,
    loop: Annotated[bool, typer.Option("--loop/--no-loop", help="Go back to the first at the end.")] = True,
    size: Size = 0,
    smooth: Smooth = False,
    condition: Given = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """From picture to picture, through the latent space.

    \b
    Examples:
      nelbo art morph results/faces anna.png ben.png cleo.png --out morph.gif
      nelbo art morph results/mnist 0 1 2 --seconds 3 --no-loop --out strip.png
    """
    _make("morph", locals(), "morph.gif")


@app.command("attribute")
def attribute(
    model: ModelPath,
    plus: Annotated[str, typer.Option(help="The class to move towards.")],
    minus: Annotated[str | None, typer.Option(help="The class to move away from.  [default: all others]")] = None,
    items: Annotated[list[str] | None, typer.Option("--item", help="A picture file or row number; repeatable.")] = None,
    data: Labelled = None,
    strength: Annotated[float, typer.Option(help="How far, in ways between the classes' means.")] = 2.0,
    steps: Annotated[int, typer.Option(help="Strengths, from 0 to STRENGTH.")] = 8,
    n: Annotated[int, typer.Option("-n", help="How many samples, where no --item is given.")] = 4,
    size: Size = 0,
    smooth: Smooth = False,
    condition: Given = None,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """Give pictures more and more of what one class has and another has not.

    \b
    Examples:
      nelbo art attribute results/faces --plus smiling --minus neutral --data faces/ --item anna.png
      nelbo art attribute results/mnist --plus 7 --minus 1 --out sevens.gif
    """
    _make("attribute", locals(), "attribute.png")


@app.command("classes")
def classes(
    model: ModelPath,
    data: Labelled = None,
    temperature: Temperature = 1.0,
    truncation: Truncation = None,
    columns: Columns = 8,
    size: Size = 0,
    smooth: Smooth = False,
    out: Out = None,
    seed: Seed = 0,
    as_json: JSON = False,
) -> None:
    """A row of samples for each class: from the model, if it is conditional, else like the codes of labelled pictures.

    \b
    Examples:
      nelbo art classes results/mnist --columns 10 --out classes.png
      nelbo art classes results/faces --data faces/ --temperature 0.8
    """
    _make("classes", locals(), "classes.png")


@app.command("contact")
def contact(
    model: ModelPath,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help="[default: the model's test data]")] = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 32,
    columns: Columns = 8,
    size: Size = 0,
    smooth: Smooth = False,
    condition: Given = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """A contact sheet: pictures of DATA, each above its reconstruction, with its class or number.

    \b
    Examples:
      nelbo art contact results/mnist
      nelbo art contact results/faces my_pictures/ -n 60 --columns 10 --out contact.svg
    """
    _make("contact", locals(), "contact.png")


def _make(made: str, given: dict[str, Any], default: str) -> None:
    """Make what a command names of the values of its options, and write it."""
    out = io.named(given.pop("out"), default, ENDINGS)
    path, as_json = given.pop("model"), given.pop("as_json")
    from nelbo.apps.art import provenance

    _write(provenance.make(made, path, **given), out, as_json)


def _write(piece: Any, out: Path, as_json: bool) -> None:
    io.write(out, piece.encode(out.suffix))
    io.say(out, piece.values.shape, as_json)
