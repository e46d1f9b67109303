"""nelbo at its defaults for a table: rows of a parquet file in, as many synthetic rows out.

python benchmarks/peers/nelbo_table.py TRAIN.parquet OUT.parquet [--seed 0]
"""

from __future__ import annotations

import pandas as pd
import rows

import nelbo


def main() -> None:
    args = rows.parser(__doc__).parse_args()
    frame = pd.read_parquet(args.train)
    models: list[nelbo.Model] = []
    rows.run(
        args,
        ["nelbo", "torch"],
        lambda: models.append(nelbo.fit(frame, seed=args.seed)),
        lambda n: models[0].sample(n, seed=args.seed),
    )


if __name__ == "__main__":
    main()
