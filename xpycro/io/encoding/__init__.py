"""How a Dataset becomes plain netCDF-style HDF5 and comes back identical: names, dtypes, attributes.

Everything is encoded dry first, so that all problems come in one error before any file is touched. May import numpy,
xarray, pandas (inside functions), errors and schema; knows nothing of files.
"""

from xpycro.io.encoding.attributes import ATTRS, MARK, decode_attrs, encode_attrs
from xpycro.io.encoding.datasets import encode
from xpycro.io.encoding.decoding import decode_block
from xpycro.io.encoding.stored import Encoded, Stored
from xpycro.io.encoding.values import from_json, to_json

__all__ = [
    "ATTRS",
    "MARK",
    "Encoded",
    "Stored",
    "decode_attrs",
    "decode_block",
    "encode",
    "encode_attrs",
    "from_json",
    "to_json",
]
