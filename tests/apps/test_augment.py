"""Synthetic rows: of the classes asked for, as likely as real ones, and a report that tells copies from new rows."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from conftest import Run
from nelbo.apps.synthesis import privacy
from nelbo.apps.synthesis import rows as augment
from nelbo.data import DataSplits, load, tables
from nelbo.errors import UserError
from nelbo.model import Model

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(scope="module")
def split(people_run: Path) -> DataSplits:
    """The rows as training saw them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(people_run.parent / "people.csv", seed=1)


def test_rows_have_the_cells_given(run: Run, people_run: Path, people_model: Model) -> None:
    said = run("augment", people_run, "-n", 200, "--condition", "income=>50K,sex=Male", "--out", "a.csv", "--json")
    assert json.loads(said.out) == {"out": "a.csv", "shape": [200, 4], "rows": 200}
    rows = pandas.read_csv("a.csv")
    assert set(rows["income"]) == {">50K"} and set(rows["sex"]) == {"Male"} and 50 < rows["age"].mean() < 70
    again = augment.augment(people_model, 200, {"income": ">50K", "sex": "Male"})
    pandas.testing.assert_frame_equal(rows, again, check_dtype=False)
    assert not augment.augment(people_model, 200, {"income": ">50K", "sex": "Male"}, seed=1).equals(again)


def test_balance_makes_classes_equally_frequent(
    run: Run, people_run: Path, people_file: Path, people_model: Model
) -> None:
    real = pandas.read_csv(people_file, sep=";")
    counts = real["income"].value_counts()
    assert run("augment", people_run, "--balance", "income", "--out", "new.csv").code == 0
    assert pandas.read_csv("new.csv")["income"].value_counts().to_dict() == {">50K": counts["<=50K"] - counts[">50K"]}
    assert run("augment", people_run, people_file, "--balance", "income", "--append", "--out", "all.csv").code == 0
    written, was = Path("all.csv").read_text().splitlines(), people_file.read_text().splitlines()
    assert written[: len(was)] == was
    whole = pandas.read_csv("all.csv", sep=";")
    assert whole["income"].value_counts().to_dict() == {">50K": counts["<=50K"], "<=50K": counts["<=50K"]}
    new = whole[len(real) :]
    assert new["id"].isna().all() and set(new["note"]) == {"a;b"} and new["age"].astype(float).mean() > 50
    even = real.groupby("income").head(20)
    assert augment.balance(people_model, "income", even).shape == (0, 4)


def test_the_filter_keeps_likely_rows(run: Run, people_run: Path, people_model: Model, split: DataSplits) -> None:
    limit = augment.nll_quantile(people_model, split.train, 0.5)
    rows = augment.augment(people_model, 100, max_nll_quantile=0.5, reference=split.train)
    assert len(rows) == 100 and (-people_model.log_likelihood(rows, 4, 0) <= limit).mean() > 0.8  # draws of z differ
    free = augment.augment(people_model, 100)
    assert 0.2 < (-people_model.log_likelihood(free, 4, 0) <= limit).mean() < 0.8
    assert (
        run("augment", people_run, "-n", 50, "--max-nll-quantile", 0.9, "--out", "f.csv").out == "Wrote f.csv (50, 4)\n"
    )


def test_the_filter_compares_with_rows_alike(people_model: Model, split: DataSplits) -> None:
    """A rare class is less likely as such: its rows are not held to the standard of the frequent one."""
    rare = augment._matching_rows(people_model, split.train, {"income": ">50K"})
    place = [c.name for c in people_model.schema.feature_columns].index("income")
    assert (rare.batch(torch.arange(len(rare)))[:, place] == 1).all() and 50 < len(rare) < 150
    assert len(augment._matching_rows(people_model, split.train, {"age": 15, "income": ">50K"})) == len(split.train)


def test_a_filter_that_keeps_nothing_says_so(
    people_model: Model, split: DataSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "nll_quantile", lambda *_: -1e9)
    with pytest.raises(UserError, match=r"max_nll_quantile=0.5: accepted 0 of 10 in 20 rounds"):
        augment.augment(people_model, 10, max_nll_quantile=0.5, reference=split.train)


def continuous(n: int, seed: int) -> pandas.DataFrame:
    rng = np.random.default_rng(seed)
    return pandas.DataFrame(rng.normal(size=(n, 3)), columns=list("abc"))


def test_the_report_tells_copies_from_new_rows() -> None:
    split = load(continuous(1000, 0), val_fraction=0.5)
    train = tables.decode(split.train.batch(torch.arange(500)).numpy(), split.schema)
    new = privacy.report(split.schema, continuous(500, 1), split.train, split.test)
    assert new["synthetic"]["copies"] == 0 and abs(new["membership_auc"] - 0.5) < 4 * new["membership_error"]
    assert new["synthetic"]["median"] == pytest.approx(new["held_out"]["median"], rel=0.15)
    near = privacy.report(split.schema, train + 0.001, split.train, split.test)
    assert near["synthetic"]["median"] < 0.01 * near["held_out"]["median"] and near["membership_auc"] > 0.95
    copied = privacy.report(split.schema, train, split.train, split.test)
    assert copied["synthetic"]["copies"] > 0.99 and copied["held_out"]["copies"] == 0
    assert "AUC 1.000 +- 0.018 (0.5: no leak)" in privacy.to_text(copied)


def test_the_distance_of_rows() -> None:
    """Numbers by the range, categories by equality, a missing cell far from all."""
    rows = pandas.DataFrame({"n": [0.25, 10.25, 5.25, None], "c": ["u", "v", None, "u"], "d": [1.5, 1.25, 1.5, 1.5]})
    split = load(pandas.concat([rows] * 3, ignore_index=True), columns={"n": {"transform": "standard"}}, seed=0)
    x = torch.from_numpy(tables.encode(rows, split.schema))
    f = privacy._features(x, split.schema, *privacy._range(x))
    found = torch.cdist(f, f, p=1.0)
    expected = [[0, 3, 1.5, 1], [3, 0, 2.5, 3], [1.5, 2.5, 0, 1.5], [1, 3, 1.5, 0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_the_auc_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(0)
    inside, outside = torch.randint(0, 5, (40,)).float(), torch.randint(1, 7, (30,)).float()
    auc, error = privacy.separation(inside, outside)
    assert auc == pytest.approx(metrics.roc_auc_score([1] * 40 + [0] * 30, -torch.cat([inside, outside]).numpy()))
    assert error == pytest.approx((71 / (12 * 40 * 30)) ** 0.5)


def test_privacy_is_reported(run: Run, people_run: Path, people_file: Path) -> None:
    lines = run("augment", people_run, "-n", 100, "--privacy", "--out", "a.csv").out.splitlines()
    assert lines[0] == "Wrote a.csv (100, 4)" and lines[2].startswith("synthetic") and lines[4].startswith("membership")
    said = json.loads(run("augment", people_run, people_file, "-n", 100, "--privacy", "--json").out)
    assert set(said["privacy"]) == {"synthetic", "held_out", "membership_auc", "membership_error"}
