"""imbalanced-learn at its defaults: a parquet file with a column of classes in, the resampled rows out.

    python benchmarks/peers/smote.py TRAIN.parquet OUT.parquet --target NAME [--method smote] [--seed 0]

`smote` is SMOTENC where there are columns of texts, else SMOTE; `over` is RandomOverSampler.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from imblearn.over_sampling import SMOTE, SMOTENC, RandomOverSampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--method", choices=("smote", "over"), default="smote")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    frame = pd.read_parquet(args.train)
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name]) and name != args.target]
    frame = frame.astype({name: object for name in [*texts, args.target]})
    if args.method == "over":
        sampler = RandomOverSampler(random_state=args.seed)
    elif texts:
        sampler = SMOTENC(categorical_features=texts, random_state=args.seed)
    else:
        sampler = SMOTE(random_state=args.seed)
    x, y = sampler.fit_resample(frame.drop(columns=args.target), frame[args.target])
    x.assign(**{args.target: y}).to_parquet(args.out)


if __name__ == "__main__":
    main()
