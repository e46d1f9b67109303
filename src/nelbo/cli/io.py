"""What the commands read (a model, rows of data, a single datum) and how their results become files."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nelbo.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from nelbo.data import Dataset
    from nelbo.model import Model
    from nelbo.model.scoring import Estimate


def model(path: Path, condition: str | None) -> Model:
    """The saved model, under the condition given: a class, numbers, or cells of a table's row."""
    from nelbo.model.io import load_given

    return load_given(path, condition)


def rows(m: Model, data: str) -> Dataset:
    """The data named, else those that training held out."""
    if data:
        return m.as_dataset(data)
    from nelbo.experiment.run import load_test_data

    return load_test_data(m)


def item(held: Dataset | None, name: str) -> Any:
    """A picture file, or the row of that number as a dataset of one."""
    from nelbo.data import subset

    if held is None or not name.isdecimal():
        return name
    if int(name) >= len(held):
        raise UserError(f"item {name}: the data has {len(held)} rows, give 0 to {len(held) - 1}")
    return subset(held, [int(name)])


def named(out: Path | None, default: str, endings: tuple[str, ...]) -> Path:
    """The file to write. Raises `UserError` before any work if it has none of these endings."""
    path = out or Path(default)
    if path.suffix.lower() not in endings:
        listed = " or ".join([", ".join(endings[:-1]), endings[-1]] if endings[1:] else endings)
        raise UserError(f"--out {path}: the file must end in {listed}")
    return path


def data_file(m: Model, out: Path | None, name: str) -> Path | None:
    """The file for data of the model's kind: a sheet, an array, a table, or lines; None: lines are printed."""
    kind = m.schema.data_kind
    return named(out, name + kind.default_ending, kind.endings) if out or kind.default_ending else None


def encode_data(m: Model, values: Any, out: Path, columns: int = 8) -> bytes:
    """Data of the model's kind in the form that the file's ending names."""
    from nelbo.plotting.preview import figures_of

    if out.suffix.lower() == ".png":
        return encode_image(figures_of(m.schema).sheet(values, m.schema, columns), "PNG")
    return m.schema.data_kind.to_bytes(values, m.schema, out.suffix.lower())


def encode_codes(codes: np.ndarray, labels: list[Any] | None, out: Path) -> bytes:
    """Codes as `.npy`, or as a `.csv` with a head and, where there are labels, a column of these."""
    if out.suffix.lower() == ".npy":
        from nelbo.data.arrays.kind import array_bytes

        return array_bytes(codes, ".npy")
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([f"z{i}" for i in range(codes.shape[1])] + ([] if labels is None else ["label"]))
    for i, code in enumerate(codes):
        table.writerow([f"{value:.9g}" for value in code.tolist()] + ([] if labels is None else [labels[i]]))
    return text.getvalue().encode()


def encode_image(picture: Any, form: str, **options: Any) -> bytes:
    """A PIL picture in a file's form."""
    content = BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def emit(m: Model, values: Any, out: Path | None, as_json: bool, columns: int = 8, **more: Any) -> None:
    """Write data of the model's kind and say so, or print lines where no file is named."""
    if out is not None:
        import numpy as np

        write(out, encode_data(m, values, out, columns))
        announce(out, np.shape(values), as_json, **more)
    else:
        print(json.dumps({"lines": values, **more}) if as_json else "\n".join(values))


def write(out: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    from nelbo.training.checkpoint import write_bytes

    write_bytes(out, content)


def announce(out: Path, shape: tuple[int, ...], as_json: bool, shown: int = 0, of: int = 0, **more: Any) -> None:
    """Name the file that was written; as JSON, with the shape of what it holds and `more`.

    `shown` is the number of data in the file, `of` the number of all data: if it is larger, both are printed.
    """
    if of > shown:
        more |= {"shown": shown, "of": of}
    if as_json:
        print(json.dumps({"out": str(out), "shape": list(shape), **more}))
    else:
        part = f": the first {shown:,} of {of:,}; use -n for more" if of > shown else ""
        print(f"Wrote {out} {tuple(shape)}{part}")


def stream_log_likelihood(heard: list[Estimate]) -> Callable[[Estimate], None]:
    """What keeps each estimate of the likelihood in `heard`, and shows it on a terminal."""

    def show(e: Estimate) -> None:
        heard.append(e)
        if sys.stderr.isatty():
            end = "\n" if e.done == e.total else ""
            print(
                f"\rlog-likelihood {e.mean:.3f} +- {e.error:.3f} nats, {e.done:,} of {e.total:,} data ",
                end=end,
                file=sys.stderr,
            )

    return show
