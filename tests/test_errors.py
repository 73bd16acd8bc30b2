"""Errors say where and pickle whole (they cross process borders with dask)."""

import pickle

import pytest

from xpycro import errors


@pytest.mark.parametrize("kind", [errors.NotThisFormat, errors.CorruptFile, errors.UnsupportedVariant])
def test_translation_errors_name_file_offset_and_field(kind):
    error = kind("declares 4 pixels, holds 3", path="folder/scan.sxm", offset=12, field="SCAN_PIXELS")
    assert str(error) == "scan.sxm, byte 12, field 'SCAN_PIXELS': declares 4 pixels, holds 3"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error) and again.offset == 12
    assert isinstance(error, errors.TranslationError) and isinstance(error, errors.XpycroError)


def test_a_missing_extra_says_how_to_install_it():
    with pytest.raises(ImportError, match=r'pip install "xpycro\[formats\]"'):
        raise errors.MissingExtra("igor2", "formats", "an Igor experiment")
