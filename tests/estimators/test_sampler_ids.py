"""New rows of a frame with identifiers: they have identifiers of their own, of the column's type."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

pytest.importorskip("sklearn")
from nelbo.estimators import VAESampler

RNG = np.random.default_rng(0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "ids",
    [
        [f"p{k}" for k in range(60)],
        np.sort(RNG.choice(10**6, 60, False)),
        np.arange(60),
        pandas.array(np.arange(60), dtype="UInt16"),
    ],
    ids=["texts", "rising", "sequence", "nullable"],
)
def test_new_rows_have_new_identifiers(ids) -> None:  # type: ignore[no-untyped-def]
    frame, y = pandas.DataFrame({"id": ids, "v": RNG.normal(size=60)}), np.arange(60) < 10
    more, _ = VAESampler(max_iter=1, width=8, random_state=0).fit_resample(frame, y)
    assert more.id.is_unique and more.id.notna().all() and len(more) == 100
    assert more.dtypes.equals(frame.dtypes)
    pandas.testing.assert_frame_equal(more[:60], frame)
