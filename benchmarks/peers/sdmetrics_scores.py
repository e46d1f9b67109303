"""What SDMetrics itself says of two parquet files, to check table_scores.py against; for tables without missing cells.

    python benchmarks/peers/sdmetrics_scores.py REAL.parquet SYNTHETIC.parquet

Prints the mean error, in percent, of columns and of pairs of columns.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings

import numpy as np
import pandas as pd
from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity
from sdmetrics.single_column import KSComplement, TVComplement


def main() -> None:
    warnings.simplefilter("ignore")
    real, rows = (pd.read_parquet(path) for path in sys.argv[1:3])
    numbers = [name for name in real if pd.api.types.is_numeric_dtype(real[name])]
    columns = [(KSComplement if n in numbers else TVComplement).compute(real[n], rows[n]) for n in real]
    pairs = []
    for pair in map(list, itertools.combinations(real, 2)):
        cut = [name for name in pair if name in numbers]
        if len(cut) == 2:
            pairs.append(CorrelationSimilarity.compute(real[pair], rows[pair]))
        else:
            pairs.append(ContingencySimilarity.compute(real[pair].copy(), rows[pair].copy(), cut))
    print(json.dumps({"column_error_%": 100 - 100 * np.mean(columns), "pair_error_%": 100 - 100 * np.mean(pairs)}))


if __name__ == "__main__":
    main()
