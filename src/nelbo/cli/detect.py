"""`nelbo detect`: anomalies, their p-values, and the parts of an example that explain them."""

from __future__ import annotations

import csv
import json
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nelbo.cli import io
from nelbo.cli.io import JSON, Condition, DataPath, ModelPath, Out, Seed, SkipUnreadable
from nelbo.errors import UserError, one_line, say

if TYPE_CHECKING:
    import numpy as np

    from nelbo.apps.anomaly import DetectionResult, Detector
    from nelbo.apps.anomaly.intervals import AnomalousInterval, IntervalResult
    from nelbo.data import Dataset, Schema

SCORES = (
    "nll: -log p(x). bound: the same for a likelihood that is not a density. reconstruction: -log p(x | z) at the "
    "posterior mean. latent: the KL. regret: the gain in ELBO from fitting the posterior to this row alone. ratio: for "
    "pictures, the reconstruction error relative to predicting each pixel by its neighbour. auto: chosen for the model."
)
SHOWN = 8  # the most anomalous rows, printed and drawn
TITLE = 24  # characters of a name above a picture


def detect(
    model: ModelPath,
    data: DataPath = "",
    score: Annotated[str, typer.Option(help=SCORES)] = "auto",
    alpha: Annotated[float, typer.Option(help="Largest fraction of normal data that is flagged.")] = 0.01,
    calibration: Annotated[
        str, typer.Option(help="Normal data.  [default: the model's test data]", show_default=False)
    ] = "",
    samples: Annotated[int, typer.Option(help="Draws of z per row.")] = 50,
    seed: Seed = 0,
    skip_unreadable: SkipUnreadable = False,
    condition: Condition = None,
    out: Out = None,
    as_json: JSON = False,
) -> None:
    """Find anomalies in DATA, with p-values and explanations.

    A table (.csv) has the score and the p-value of each row, and the columns that explain it; for pictures and series,
    a figure (.png) shows where the 8 most anomalous ones deviate.

    The threshold is calibrated on normal rows that the model was not trained on: at most a fraction --alpha of
    normal rows is flagged. Without DATA, one half of the model's test data is examined, the other half calibrates.

    Each result has its row, counted from 0 in the source, and its item: the name of the file, or the row's id or index.

    For series, anomalies_intervals.csv lists the anomalous intervals: the row, the first step, the step after the last,
    and by how many nats its anomaly score exceeds that of normal series. Where recordings were cut into windows, steps
    are counted in the recording. For a table, the unit and the first and last time are added.

    \b
    Examples:
      nelbo detect results/mnist
      nelbo detect results/mnist my_digits/ --alpha 0.001 --out anomalies.png
      nelbo detect results/adult new.csv --calibration normal.csv --score reconstruction
      nelbo detect results/sensors today.csv --json
    """
    from nelbo.apps.anomaly import Detector

    m = io.model(model, condition)
    out = io.named(out, "anomalies.csv", (".csv", ".png") if _is_drawn(m.schema) else (".csv",))
    normal, source = io.rows(m, calibration, skip_unreadable), calibration or "the test data"
    if data or calibration:
        rows = io.rows(m, data, skip_unreadable)
    else:
        rows, normal = _halves(normal, seed)
        source = "the other half of the test data"
    detector = Detector(m, score, normal, samples, seed)
    result = detector.detect(rows, alpha)
    where = _where(detector, rows, alpha)
    written = _write(detector, result, rows, out, where)
    said = _summary(detector, result, rows, alpha) | {"calibrated_on": source}
    if where:
        said["anomalous_intervals"] = [_placed(interval, rows) for interval in where.intervals]
    if as_json:
        print(json.dumps({"out": [str(path) for path in written], **said}))
    else:
        io.say_lines(_text(said, written))


def _is_drawn(schema: Schema) -> bool:
    """Whether a figure shows the anomalies of such data; for others, the table names the elements."""
    return schema.data_kind.is_picture or schema.data_kind.is_sequence


def _halves(rows: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Two random halves, each in order."""
    import torch

    from nelbo.data import subset

    if len(rows) < 2:
        raise UserError(f"the model's test data have {len(rows)} row, too few to split: pass DATA")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    first, second = (half.sort().values for half in order.tensor_split(2))
    return subset(rows, first), subset(rows, second)


def _where(detector: Detector, rows: Dataset, alpha: float) -> IntervalResult | None:
    """The anomalous intervals of series; None for other data."""
    if not rows.schema.data_kind.is_sequence:
        return None
    from nelbo.apps.anomaly import intervals

    return intervals.find_intervals(detector, rows, alpha)


def _placed(interval: AnomalousInterval, rows: Dataset) -> dict[str, Any]:
    """An interval in the indices of the source: its row and steps, or those of its recording, with unit and times."""
    origin = [int(rows.places[interval.row]), 0] if rows.origin is None else rows.origin[interval.row].tolist()
    start, end = origin[1] + interval.start, origin[1] + interval.end
    more = rows.source.place(origin[0], start, end) if rows.source else {}
    name = "row" if rows.origin is None else "recording"
    return {name: origin[0], "start": start, "end": end, "nats": interval.nats, **more}


def _write(
    detector: Detector,
    result: DetectionResult,
    rows: Dataset,
    out: Path,
    where: IntervalResult | None,
) -> list[Path]:
    """Write the tables, and the figure if there is one; for a .png, the figure alone."""
    picture = out.with_suffix(".png") if _is_drawn(rows.schema) else None
    files: dict[Path, bytes] = {}
    if out != picture:
        files[out] = _table(detector, result, rows)
        if where:
            placed = [_placed(interval, rows) for interval in where.intervals]
            files[out.with_stem(f"{out.stem}_intervals")] = _interval_table(placed, rows)
    if picture:
        try:
            if where:
                files[picture] = _figure_of_series(where, result, rows)
            else:
                files[picture] = _figure(detector, result, rows)
        except UserError as error:
            if out == picture:
                raise
            say(f"No {picture}: {error}", sys.stderr)
    for path, content in files.items():
        io.write(path, content)
    return list(files)


def _table(detector: Detector, result: DetectionResult, rows: Dataset) -> bytes:
    """A row for each example; for vectors and tables, also the columns that contribute most."""
    from nelbo.apps.anomaly.detector import COUNT, top_features

    worded = not _is_drawn(rows.schema)
    explained = top_features(detector.feature_scores(rows), rows) if worded else [[]] * len(rows)
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = min(COUNT, rows.schema.shape[0]) if worded else 0
    head = ["row", "item", "anomaly_score", "p_value", "is_anomaly"]
    table.writerow([*head, *(f"top_feature_{k + 1}" for k in range(columns))])
    names = zip(rows.places.tolist(), result.names.values, strict=True)
    found = zip(result.scores.tolist(), result.p_values.tolist(), result.is_anomaly.tolist(), strict=True)
    for name, (score, p, is_anomaly), words in zip(names, found, explained, strict=True):
        table.writerow([*name, f"{score:.9g}", f"{p:.6g}", int(is_anomaly), *words])
    return text.getvalue().encode()


def _interval_table(placed: list[dict[str, Any]], rows: Dataset) -> bytes:
    """A row for each anomalous interval."""
    text = StringIO()
    more = rows.source.place(0, 0, 1) if rows.source else {}
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["row" if rows.origin is None else "recording", "start", "end", "nats", *more])
    table.writerows((of | {"nats": f"{of['nats']:.6g}"}).values() for of in placed)
    return text.getvalue().encode()


def _figure(detector: Detector, result: DetectionResult, rows: Dataset) -> bytes:
    """The most anomalous pictures, their reconstructions, and the contribution of each pixel."""
    import torch

    from nelbo.data import subset
    from nelbo.plotting import figures, images

    order = _most_anomalous(result)
    chosen = subset(rows, order)
    heat = detector.feature_scores(chosen)
    pictures = rows.schema.decode(chosen.batch(torch.arange(len(order)))).numpy()
    titles = [f"{_title(result, i)}\np = {result.p_values[i]:.2g}" for i in order]
    figure = images.anomaly_figure(pictures, detector.model.reconstruct(chosen), heat, titles, rows.schema)
    return io.encode_image(figures.figure_image(figure), "PNG")


def _figure_of_series(where: IntervalResult, result: DetectionResult, rows: Dataset) -> bytes:
    """The most anomalous series, their expectations given the rest, and their anomalous intervals."""
    import torch

    from nelbo.data import subset
    from nelbo.plotting import curves, figures

    order = _most_anomalous(result)
    series = rows.schema.decode(subset(rows, order).batch(torch.arange(len(order)))).numpy()
    shaded = [[(of.start, of.end) for of in where.intervals if of.row == i] for i in order]
    begins = ["" if rows.origin is None else f" from step {int(rows.origin[i, 1])}" for i in order]
    titles = [f"{_title(result, i)}{of}, p = {result.p_values[i]:.2g}" for i, of in zip(order, begins, strict=True)]
    figure = curves.anomaly_figure(series, where.expected[order], where.step_scores[order], shaded, titles, rows.schema)
    return io.encode_image(figures.figure_image(figure), "PNG")


def _title(result: DetectionResult, i: int) -> str:
    """The name of a datum, as it fits above its picture."""
    title = f"{result.names.label} {result.names.values[i]}"
    return title if len(title) <= TITLE else f"...{title[3 - TITLE :]}"


def _most_anomalous(result: DetectionResult) -> list[int]:
    order: np.ndarray = (-result.scores).argsort(kind="stable")
    return order[:SHOWN].tolist()


def _summary(detector: Detector, result: DetectionResult, rows: Dataset, alpha: float) -> dict[str, object]:
    top = [
        {
            "row": int(rows.places[i]),
            "item": _plain(result.names.values[i]),
            "anomaly_score": result.scores[i].item(),
            "p_value": result.p_values[i].item(),
        }
        for i in _most_anomalous(result)
    ]
    settings = {"score": detector.score_name, "alpha": alpha, "threshold": result.threshold, "item": result.names.label}
    counts = {
        "n": len(result.is_anomaly),
        "n_anomalies": int(result.is_anomaly.sum()),
        "calibration": len(detector.calibration_scores),
    }
    return {**counts, **settings, "top_anomalies": top}


def _plain(name: Any) -> int | str:
    """A name as JSON has it."""
    return name if isinstance(name, int) else str(name)


def _text(said: dict[str, object], written: list[Path]) -> str:
    top: list[dict[str, Any]] = said["top_anomalies"]  # type: ignore[assignment]
    names = [
        f"row {o['row']}" if said["item"] == "row" else f"{said['item']} {o['item']} (row {o['row']})" for o in top
    ]
    names = [one_line(name, 80) for name in names]
    width = max(map(len, names), default=0)
    lines = [
        f"{said['n_anomalies']:,} of {said['n']:,} rows are anomalies: {said['score']} above {said['threshold']:.4g} "
        f"nats, exceeded by at most a fraction {said['alpha']} of normal rows (calibrated on "
        f"{said['calibration']:,} rows of {said['calibrated_on']})",
        *([f"The {len(top)} most anomalous:"] if top else []),
        *(
            f"  {name:{width}} {o['anomaly_score']:12.4f} nats   p = {o['p_value']:.4g}"
            for name, o in zip(names, top, strict=True)
        ),
    ]
    return "\n".join([*lines, *(f"Wrote {path}" for path in written)])
