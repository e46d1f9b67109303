"""TVAE of the ctgan package, at its defaults: rows of a parquet file in, as many synthetic rows out.

    python benchmarks/peers/tvae.py TRAIN.parquet OUT.parquet [--epochs 300] [--seed 0]

TVAE refuses missing cells: texts get "NA" as a category of their own (turned back into missing cells in what is
written), numbers the median of their column. Discrete columns are those of texts.
"""

from __future__ import annotations

import argparse

import rows
import torch
from ctgan import TVAE


def main() -> None:
    parser = rows.parser(__doc__)
    parser.add_argument("--epochs", type=int, default=300)
    args: argparse.Namespace = parser.parse_args()
    frame = rows.read(args.train)
    texts = [name for name in frame if frame[name].dtype == object]
    filled = frame.fillna({name: "NA" if name in texts else frame[name].median() for name in frame})
    torch.manual_seed(args.seed)
    model = TVAE(epochs=args.epochs)
    model.set_random_state(args.seed)
    rows.run(
        args, ["ctgan", "torch"], lambda: model.fit(filled, texts), lambda n: model.sample(n).replace({"NA": None})
    )


if __name__ == "__main__":
    main()
