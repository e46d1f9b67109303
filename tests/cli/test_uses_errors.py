"""What the uses of a table's model refuse: one line that names the thing and the remedy, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from conftest import Run

ARGUMENTS = {
    "a condition on an unknown column": (
        ["augment", "MODEL", "--condition", "incme=>50K"],
        "condition on 'incme': the model has no such column: did you mean income?",
    ),
    "a condition on an unknown value": (
        ["augment", "MODEL", "--condition", "income=>50"],
        "condition income=>50: did you mean >50K?",
    ),
    "a condition without a value": (
        ["augment", "MODEL", "--condition", "income"],
        "condition 'income': give column=value, such as income=>50K,sex=Female",
    ),
    "an unknown column to balance": (
        ["augment", "MODEL", "--balance", "incom"],
        "balance 'incom': the model has no such column: did you mean income?",
    ),
    "numbers to balance": (
        ["augment", "MODEL", "--balance", "age"],
        "balance 'age': the column is count, not categorical: use one of sex, income",
    ),
    "one class to balance": (
        ["augment", "MODEL", "one.csv", "--balance", "income"],
        "balance 'income': the data have one category: give data with at least two",
    ),
    "two ways at once": (
        ["augment", "MODEL", "--balance", "income", "--condition", "sex=Male"],
        "--balance and --condition cannot be combined: use one of them",
    ),
    "a filter above 1": (
        ["augment", "MODEL", "--max-nll-quantile", "99"],
        "--max-nll-quantile 99.0: use a quantile above 0, at most 1, such as 0.99",
    ),
    "other rows for the report": (
        ["augment", "MODEL", "other.csv", "-n", "20", "--privacy"],
        "other.csv is not the model's training data, or has changed: --privacy needs the same rows",
    ),
    "a file that is not there": (
        ["augment", "MODEL", "nowhere.csv", "--append"],
        "nowhere.csv is not a table: give the file of real rows",
    ),
    "columns that are missing": (
        ["impute", "MODEL", "lacks.csv"],
        "lacks.csv: lacks the columns age, income; it has years that the model does not know: add or rename them",
    ),
    "no draws": (
        ["impute", "MODEL", "one.csv", "--n-imputations", "-1"],
        "--n-imputations -1: use 1 or more, or leave it out",
    ),
    "an ending": (
        ["impute", "MODEL", "one.csv", "--out", "f.png"],
        "--out f.png: the file must end in .csv, .tsv, .txt or .parquet",
    ),
    "pictures": (
        ["impute", "PICTURES", "one.csv"],
        "one.csv is a table, and the model needs data of shape (1, 8, 8): ",
    ),
    "one row to train on": (["train", "single.csv"], "single.csv has 1 row: give at least 2, one for training"),
}


@pytest.mark.parametrize("what", ARGUMENTS)
def test_the_command_line_refuses(
    what: str, run: Run, people_run: Path, picture_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pandas.DataFrame({"age": [31, 42, 33], "sex": ["Male", "Female", "Male"], "income": "<=50K"})
    frame.to_csv("one.csv", index=False)
    frame.assign(income=["<=50K", ">50K", "<=50K"]).to_csv("other.csv", index=False)
    frame.rename(columns={"age": "years"}).drop(columns="income").to_csv("lacks.csv", index=False)
    frame[:1].to_csv("single.csv", index=False)
    arguments, message = ARGUMENTS[what]
    places = {"MODEL": str(people_run), "PICTURES": str(picture_run)}
    code, out, err = run(*(places.get(argument, argument) for argument in arguments))
    last = err.splitlines()[-1]
    assert code == 2 and out == "" and last.startswith(f"Error: {message}")
    assert not (tmp_path / "augmented.csv").exists() and not (tmp_path / "filled.csv").exists()


X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) < 5


def estimators() -> dict[str, tuple[object, str]]:
    pytest.importorskip("sklearn")
    from nelbo.estimators import VAEImputer, VAESampler, VAETransformer

    return {
        "one class": (lambda: VAESampler().fit_resample(X, np.zeros(20)), "y has one class, 0.0: give rows of"),
        "lengths": (lambda: VAESampler().fit_resample(X, Y[:10]), "X has 20 rows and y 10: give y a class for each"),
        "a strategy": (
            lambda: VAESampler(sampling_strategy="most").fit_resample(X, Y),
            "sampling_strategy='most': use one of auto, not majority, minority, not minority, all",
        ),
        "fewer rows": (
            lambda: VAESampler(sampling_strategy={True: 2}).fit_resample(X, Y),
            "sampling_strategy: class True has 5 rows: use that or more, not 2",
        ),
        "an unknown class": (
            lambda: VAESampler(sampling_strategy={"a": 2}).fit_resample(X, Y),
            "sampling_strategy: y has no class 'a': use False, True",
        ),
        "a ratio reached": (
            lambda: VAESampler(sampling_strategy=0.2).fit_resample(X, Y),
            "sampling_strategy=0.2: the rarer class already has that share: use a larger number",
        ),
        "a ratio of 3": (
            lambda: VAESampler(sampling_strategy=0.5).fit_resample(X, np.arange(20) % 3),
            "sampling_strategy=0.5, 3 classes: use a number above 0, at most 1, with 2 classes",
        ),
        "one row": (lambda: VAETransformer().fit(X[:1]), "Found array with 1 sample"),
        "one row of a table": (lambda: VAEImputer().fit(pandas.DataFrame(X[:1])), "has 1 row: give at least 2"),
        "no rows of a table": (lambda: VAEImputer().fit(pandas.DataFrame(X[:0])), "X has shape (0, 3): give a table"),
        "no latents": (lambda: VAETransformer(n_components=0).fit(X), "n_components=0: use 1 or more"),
        "no epochs": (lambda: VAETransformer(max_iter=0).fit(X), "max_iter=0: use 1 or more"),
        "constants": (lambda: VAETransformer().fit(np.ones((9, 2))), "no column is left to model"),
        "infinity": (lambda: VAEImputer().fit(np.where(X > 1, np.inf, X)), "Input X contains infinity"),
        "other columns": (
            lambda: VAETransformer(width=8, max_iter=1).fit(pandas.DataFrame(X, columns=list("abc"))).transform(
                pandas.DataFrame(X, columns=list("abd"))
            ),
            "The feature names should match those that were passed during fit",
        ),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", estimators())
def test_estimators_refuse(what: str) -> None:
    call, message = estimators()[what]
    with pytest.raises(ValueError) as caught:
        call()  # type: ignore[operator]
    assert message in str(caught.value)
