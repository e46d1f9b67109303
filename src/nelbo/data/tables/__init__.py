"""Tables: files (CSV, TSV, text, Parquet), pandas and polars DataFrames and Arrow tables <-> x, a number for each cell.

A column is what all of its rows say, by the first of these rules that holds:

    all cells missing, or one value only        constant      kept aside; comes back in the output
    dates and times (typed, or ISO texts)       datetime      in the coarsest unit that all of them are whole in
    durations and times of day (typed)          continuous    in that unit
    Categorical of pandas or polars             as texts, with its own categories; ordinal if it is ordered
    booleans, texts "true" and "false"          binary
    whole numbers, one of them beyond 2^53      as texts, since float64 does not tell them apart
    numbers (texts that are numbers)
        whole, and all dates (20210304)         datetime
        whole, in sequence (1..n) in any order  identifier    left out, with a warning (10 rows or more)
        whole, all different, named like an id  identifier
        two values                              binary
        whole, at most 20 values, each twice    ordinal       in numerical order
        whole, none below 0                     count
        else                                    continuous
    texts
        more than 1000 values                   identifier
        more than 50, and over half differ      identifier
        two values                              binary
        else                                    categorical   in alphabetical order

Whole numbers that are stored as floats (41.0) are whole. Numerals with zeros in front (02134) are texts. A column of
numbers in which at most 5 % of the cells are words is refused, naming the first; with more it is texts; so too dates.
Texts may write numbers and dates in other ways, such as 1.234,56, $1,200.00, 12.5% or 3/14/2021 (`nelbo.data.formats`):
a warning names what was understood, and what is ambiguous is refused. Texts are trimmed. In a file of text, empty texts
and `cells.MARKERS` (NA, N/A, NaN, null, None, ?, - and the like) are missing, unless the schema lists them as
categories; in a DataFrame or Parquet file, they are missing among numbers and dates only, and texts elsewhere.
A user may describe any column otherwise (`overrides`).

x has a number for each column that is modelled: the place of the category, or what `transforms` makes of a number;
NaN where the cell is missing. A category that training never saw, or a word among numbers, is taken as missing, with
one warning. Back in the table, a number is clipped to the range of training and rounded to its decimals; it is exact
as long as the range holds no more than some million steps of the last decimal, since x is float32. A text column of
dates comes back in its format.

Every cell is kept as it is stored, in a text file as a text (`nelbo.data.tables.source`): that is what comes back where
a table is completed or added to. Quantiles are of a sample of 200 000 rows, all else is exact. Cells, and x, that do
not fit memory go to temporary files.
"""

from nelbo.data.tables.cells import UNITS
from nelbo.data.tables.dataset import encode, encode_evidence, infer, parse_condition, read, read_like
from nelbo.data.tables.decoding import decode, describe, format_number, to_text
from nelbo.data.tables.overrides import Overrides, to_toml
from nelbo.data.tables.rewrite import (
    append_rows,
    cell_texts,
    fill_constant,
    gaps,
    like_source,
    numbers_like,
    own_rows,
    replace_cells,
    replace_missing,
    row_names,
    source_bytes,
    to_bytes,
)
from nelbo.data.tables.source import Source, is_table, open_table, package_of
from nelbo.data.tables.transforms import forward as transform
from nelbo.data.tables.transforms import inverse as inverse_transform
