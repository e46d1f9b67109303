"""Synthetic tables: nelbo beside TVAE (the ctgan package at its defaults), on four tables, one seed each.

    python benchmarks/tables.py --data DIR --peers DIR [--tables adult ...] [--methods nelbo tvae ...] [--keep DIR]

Each method is trained on the training rows, in a process of its own with --threads threads, and draws as many rows. Two
that train nothing are marks to read the others by: `bootstrap` draws training rows again (the best scores, and no
privacy), `shuffle` each column by itself (perfect columns, nothing between them).

- utility: AUC (adult, credit) or R2 (california, diamonds) of gradient-boosted trees on the real test rows, trained on
  synthetic rows, over the same trained on the real rows; mean of 3 seeds;
- column_error_%, pair_error_%: distance from the training rows (table_scores.py); its floor for a sample of this size
  is that of `bootstrap` and, for new rows, of `test`, the real test rows;
- nearer_than_held_out_5%: share of synthetic rows nearer to a training row than 95 % of the held-out rows are (0.05
  gives nothing away); attack_auc: guessing which rows were trained on (0.5 gives nothing away).

Results are added to the JSON file as they come. With --keep, synthetic rows are left there and used again if found.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from peers.environments import python
from table_data import FILES, Table, load, parser
from table_scores import scores, utility

HERE = Path(__file__).parent
TRAINED = ("nelbo", "tvae")
MARKS = ("bootstrap", "shuffle", "test")
SHOWN = {
    "ratio": "ratio",
    "utility": "utility",
    "column_error_%": "column, %",
    "pair_error_%": "pair, %",
    "synthetic_median": "distance",
    "synthetic_5%": "its 5 %",
    "nearer_than_held_out_5%": "nearer",
    "attack_auc": "attack",
    "attack_auc_relative": "relative",
    "fit_seconds": "fit, s",
    "sample_seconds": "100 000, s",
}


def command(method: str, peers: Path | None) -> list[str]:
    """What runs a method: it takes the files of training and of synthetic rows."""
    if method == "nelbo":
        return [sys.executable, str(HERE / "peers" / "nelbo_table.py")]
    if peers is None:
        raise SystemExit(f"{method}: give --peers DIR, the folder of the peers' environments")
    return [str(python(peers / "ctgan")), str(HERE / "peers" / f"{method}.py")]


def trained(method: str, table: Table, folder: Path, peers: Path | None, threads: int) -> dict[str, Any]:
    """Train a method and leave its rows and its report in `folder`; those that are there are used again."""
    report, out = folder / f"{table.name}-{method}.json", folder / f"{table.name}-{method}.parquet"
    if not (report.exists() and out.exists()):
        source = folder / f"{table.name}.parquet"
        table.train.to_parquet(source)
        count = str(threads)  # joblib's workers too, as they are not in the processor's seconds
        limits = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "LOKY_MAX_CPU_COUNT": "1"}
        done = subprocess.run(
            [*command(method, peers), str(source), str(out)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ | limits,
        )
        report.write_text(json.dumps(json.loads(done.stdout.splitlines()[-1]) | {"threads": threads}) + "\n")
    return json.loads(report.read_text())


def mark(method: str, table: Table) -> pd.DataFrame:
    """The rows of a method that trains nothing."""
    rng = np.random.default_rng(0)
    train = table.train
    if method == "test":
        return table.test
    if method == "bootstrap":
        return train.iloc[rng.integers(len(train), size=len(train))].reset_index(drop=True)
    shuffled = {name: train[name].iloc[rng.permutation(len(train))].reset_index(drop=True) for name in train}
    return pd.DataFrame(shuffled)


def measure(method: str, table: Table, real: float, folder: Path, peers: Path | None, threads: int) -> dict[str, Any]:
    """The report and the scores of one method on one table; `real` is the utility of the real rows."""
    report: dict[str, Any] = {}
    if method in MARKS:
        rows = mark(method, table)
    else:
        report = trained(method, table, folder, peers, threads)
        rows = pd.read_parquet(folder / f"{table.name}-{method}.parquet")
    if list(rows.columns) != list(table.train.columns):
        raise SystemExit(f"{method}: columns {list(rows.columns)}, not those of the training rows")
    found = scores(table, rows)
    if method == "test":  # it is what the others are tested on
        found = {name: value for name, value in found.items() if name.endswith("error_%")}
        return report | found
    return report | {"real_utility": real, "ratio": found["utility"] / real} | found


def show(table: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Print all that is known, a line for each table and method; seconds are the processor's."""
    print(f"{'':24}" + "".join(f"{head:>11}" for head in SHOWN.values()))
    for name, methods in table.items():
        for method, found in methods.items():
            values = [found.get(key) for key in SHOWN]
            values = [value["processor"] if isinstance(value, dict) else value for value in values]
            cells = (f"{'':>11}" if value is None else f"{value:11.3f}" for value in values)
            print(f"{name + ' ' + method:24}" + "".join(cells))


def stored(path: Path) -> dict[str, Any]:
    """The results so far."""
    return json.loads(path.read_text()) if path.exists() else {"table": {}}


def main() -> None:
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--tables", nargs="+", choices=list(FILES), default=list(FILES))
    arguments.add_argument("--methods", nargs="+", choices=TRAINED + MARKS, default=TRAINED + MARKS)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--keep", type=Path)
    options = arguments.parse_args()
    if options.peers:
        subprocess.run([sys.executable, HERE / "peers" / "environments.py", options.peers, "ctgan"], check=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.tables:
            table = load(options.data, name)
            real = utility(table, table.train)
            for method in options.methods:
                began = time.perf_counter()
                found = measure(method, table, real, folder, options.peers, options.threads)
                results = stored(options.out)
                results |= {"platform": platform.platform(), "python": platform.python_version()}
                results["table"].setdefault(name, {})[method] = found
                options.out.write_text(json.dumps(results, indent=1) + "\n")
                print(f"{name} {method}: done in {time.perf_counter() - began:.0f} s", flush=True)
    show(stored(options.out)["table"])


if __name__ == "__main__":
    main()
