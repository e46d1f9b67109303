"""A rare class: what resampling does for classifiers of the credit table cut to 1 % positives in training.

    python benchmarks/imbalance.py --data DIR --peers DIR [--methods none over smote nelbo] [--seeds 5] [--share 0.01]

All negatives of the training rows are kept, and of the positives a random few, drawn anew for each seed. Methods:
`none`; imbalanced-learn's RandomOverSampler (`over`) and SMOTENC (`smote`) at their defaults, in an environment of
their own; nelbo's VAESampler at its defaults. Each balances the classes. Then gradient-boosted trees and a logistic
regression, the same for all, are measured by average precision (and AUC) on the test rows, whose classes are left as
they are (22 % positives).

Results are added to the JSON file as they come.
"""

from __future__ import annotations

import json
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
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from table_data import Table, load, parser

HERE = Path(__file__).parent
METHODS = ("none", "over", "smote", "nelbo")


def rare(table: Table, share: float, seed: int) -> pd.DataFrame:
    """The training rows with so few positives that they are `share` of the rows."""
    positive = (table.train[table.target] == table.positive).to_numpy()
    count = round(share / (1 - share) * int((~positive).sum()))
    kept = np.random.default_rng(seed).choice(np.flatnonzero(positive), count, replace=False)
    return table.train.iloc[np.sort(np.concatenate([np.flatnonzero(~positive), kept]))].reset_index(drop=True)


def resampled(method: str, rows: pd.DataFrame, target: str, seed: int, peers: Path | None) -> pd.DataFrame:
    """The rows to train a classifier on."""
    if method == "none":
        return rows
    if method == "nelbo":
        from nelbo.estimators import VAESampler

        x, y = VAESampler(random_state=seed).fit_resample(rows.drop(columns=target), rows[target])
        return pd.DataFrame(x).assign(**{target: np.asarray(y)})
    if peers is None:
        raise SystemExit(f"{method}: give --peers DIR, the folder of the peers' environments")
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "rows.parquet", Path(folder) / "out.parquet"
        rows.to_parquet(source)
        script = [str(python(peers / "imblearn")), str(HERE / "peers" / "smote.py"), str(source), str(out)]
        subprocess.run([*script, "--target", target, "--method", method, "--seed", str(seed)], check=True)
        return pd.read_parquet(out)


def classifiers(table: Table, seed: int) -> dict[str, Pipeline]:
    """The two classifiers; categories that training rows lack are as missing ones."""
    texts = [name for name in table.categories if name != table.target]
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    coded = ColumnTransformer([("texts", codes, texts)], remainder="passthrough")
    trees = HistGradientBoostingClassifier(categorical_features=list(range(len(texts))), random_state=seed)
    scaled = ColumnTransformer([("texts", OneHotEncoder(handle_unknown="ignore"), texts)], remainder=StandardScaler())
    return {
        "trees": make_pipeline(coded, trees),
        "logistic": make_pipeline(scaled, LogisticRegression(max_iter=2000, random_state=seed)),
    }


def measure(table: Table, rows: pd.DataFrame, seed: int) -> dict[str, float]:
    """Average precision and AUC of each classifier on the test rows."""
    x, y = table.test.drop(columns=table.target), table.test[table.target] == table.positive
    found = {}
    for name, model in classifiers(table, seed).items():
        model.fit(rows.drop(columns=table.target), rows[table.target] == table.positive)
        guess = model.predict_proba(x)[:, 1]
        found[f"{name}_average_precision"] = float(average_precision_score(y, guess))
        found[f"{name}_auc"] = float(roc_auc_score(y, guess))
    return found


def show(results: dict[str, list[dict[str, float]]]) -> None:
    """Means over the seeds, a line for each method."""
    names = list(dict.fromkeys(key for runs in results.values() for key in runs[0]))
    print(f"{'':10}" + "".join(f"{name:>27}" for name in names))
    for method, runs in results.items():
        cells = (f"{np.mean([r[n] for r in runs]):14.4f} +- {np.std([r[n] for r in runs]):.4f}   " for n in names)
        print(f"{method:10}" + "".join(f"{cell:>27}" for cell in cells))


def main() -> None:
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--share", type=float, default=0.01)
    options = arguments.parse_args()
    if options.peers:
        subprocess.run([sys.executable, HERE / "peers" / "environments.py", options.peers, "imblearn"], check=True)
    table = load(options.data, "credit")
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"credit": {}}
    for method in options.methods:
        runs = []
        for seed in range(options.seeds):
            few = rare(table, options.share, seed)
            began = time.perf_counter()
            rows = resampled(method, few, table.target, seed, options.peers)
            seconds = time.perf_counter() - began
            runs.append(measure(table, rows, seed) | {"rows": len(rows), "seconds": seconds})
            print(f"{method}, seed {seed}: {json.dumps(runs[-1])}", flush=True)
        results["credit"][method] = runs
        results |= {"platform": platform.platform(), "python": platform.python_version(), "share": options.share}
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    show(results["credit"])


if __name__ == "__main__":
    main()
