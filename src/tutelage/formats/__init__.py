"""Data as other tools read them: TRL's columns, alpaca, sharegpt and plain questions, in JSONL, JSON and Parquet.

`read`, `write`, `convert`, `validate`. A conversion that would lose anything is refused; nothing is read or written by halves.
"""

from tutelage.formats.files import Validation, convert, read, validate, write
from tutelage.formats.shapes import SHAPES

FORMATS = tuple(SHAPES)
"""The names of the shapes."""

__all__ = ["FORMATS", "Validation", "convert", "read", "validate", "write"]
