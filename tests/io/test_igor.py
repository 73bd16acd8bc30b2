"""Igor waves: real files against INDEX.tsv and their own bytes, synthetic ones of every type and byte order."""

from __future__ import annotations

import numpy as np
import pytest

from tests.io import samples
from xpycro import schema
from xpycro.errors import CorruptFile, NotThisFormat, SeveralGroups
from xpycro.io.opening import open as open_file
from xpycro.io.translators.igor import experiment, parse, wave


def _write(tmp_path, content, name="a.ibw"):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def _columns(path, shape, dtype="<f4"):
    """The numbers of a version 5 wave in Igor's order, decoded without the package."""
    count = int(np.prod(shape))
    return np.frombuffer(path.read_bytes()[384:], dtype, count).reshape(shape, order="F")


def test_real_asylum_image(data_file):
    path = data_file("igor_ibw/AR_20211011.ibw")
    ds = wave(str(path))[""]
    assert list(ds) == ["height_retrace", "amplitude_retrace", "phase_retrace", "zsensor_retrace"]
    assert [ds[n].attrs["units"] for n in ds] == ["m", "m", "rad", "m"]
    assert ds.height_retrace.attrs["long_name"] == "HeightRetrace"
    raw = _columns(path, (128, 128, 4))
    np.testing.assert_array_equal(ds.height_retrace.values, raw[:, :, 0].T)
    np.testing.assert_allclose(ds.phase_retrace.values, np.deg2rad(raw[:, :, 2].T), rtol=1e-6)
    # another project's tests say -32.46 nm and 50.79 nm
    assert float(ds.height_retrace.min()) == pytest.approx(-32.46e-9, abs=0.01e-9)
    assert float(ds.height_retrace.max()) == pytest.approx(50.79e-9, abs=0.01e-9)
    # the vendor's step is size / (n - 1)
    assert ds.x[-1].item() == pytest.approx(4e-6) and ds.y[-1].item() == pytest.approx(4e-6)
    assert ds.attrs["acquired"] == "2021-10-11T15:52:01" and ds.attrs["spring_constant"] == 27.952
    assert schema.problems(ds) == []


def test_real_asylum_piezoresponse(data_file):
    path = data_file("igor_ibw/IgorIBWReader_ImageStack_BTFO_DSO.ibw")
    ds = wave(str(path))[""]
    assert list(ds) == ["height_retrace", "amplitude_retrace", "deflection_retrace", "phase_retrace"]
    assert all(ds[n].shape == (256, 256) for n in ds)
    np.testing.assert_array_equal(ds.deflection_retrace.values, _columns(path, (256, 256, 4))[:, :, 2].T)
    assert schema.problems(ds) == []


def test_real_force_curve(data_file):
    path = data_file("igor_ibw/IgorIBWReader_ForceCurve.ibw")
    ds = wave(str(path))[""]
    assert dict(ds.sizes) == {"segment": 3, "point": 1008}
    assert ds.segment.values.tolist() == ["approach", "retract", "pause"]
    assert ds.length.values.tolist() == [224, 1008, 29]
    raw = _columns(path, (1261, 3))
    np.testing.assert_array_equal(ds.z_piezo[0, :224].values, raw[:224, 0])
    np.testing.assert_array_equal(ds.deflection[1].values, raw[224:1232, 1])
    np.testing.assert_array_equal(ds.z[2, :29].values, raw[1232:, 2])
    np.testing.assert_allclose(
        ds.force[0, :224].values, raw[:224, 1] * ds.attrs["spring_constant"], rtol=1e-6
    )  # Hooke's law with the spring constant of the note
    assert ds.force.attrs["units"] == "N"
    assert np.isnan(ds.z[0, 224:].values).all() and ds.deflection.attrs["long_name"] == "Defl"
    assert ds.time[1, 0].item() == pytest.approx(224 * 0.0005)
    # towards the sample the piezo extends, and back
    assert ds.z_piezo[0, 223].item() > ds.z_piezo[0, 0].item() and ds.z_piezo[1, 0] > ds.z_piezo[1, -1]
    assert schema.problems(ds) == []


def test_real_scan_from_another_instrument(data_file):
    name = "20230110-152047_ScV6Sn6-2023-01-10-STM_NANOPROBE_AtomManipulation--37_1-I 3_Backward_Down.ibw"
    path = data_file(f"igor_ibw/{name}")
    ds = wave(str(path))[""]
    (variable,) = ds
    assert ds[variable].dims == ("y", "x") and ds[variable].shape == (58, 256) and ds[variable].attrs["units"] == "A"
    np.testing.assert_array_equal(ds[variable].values, _columns(path, (256, 58), "<f8").T)
    # only the upper 58 lines of 256 were kept: the axis says so
    assert ds.x[0].item() == pytest.approx(-2.490234375e-09) and ds.y[-1].item() == pytest.approx(2.490234375e-09)


@pytest.mark.parametrize("name", ["mac-version2", "win-version5"])
def test_real_plain_waves(data_file, name):
    ds = wave(str(data_file(f"igor_ibw/{name}.ibw")))[""]
    (variable,) = ds
    assert ds[variable].values.tolist() == [5, 4, 3, 2, 1]
    assert schema.decode_metadata(ds.attrs["original_metadata"])["note_text"] == "This is a test."


def test_real_text_and_empty_waves(data_file):
    ds = wave(str(data_file("igor_ibw/mac-textWave.ibw")))[""]
    assert ds.text0.values.tolist() == ["Mary", "had", "a", "little", "lamb"]
    assert wave(str(data_file("igor_ibw/mac-zeroPointWave.ibw")))[""].zero_wave.shape == (0,)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i2", "i4", "u2", "u4", "i8", "c8", "c16"])
def test_every_number_type(tmp_path, order, dtype):
    data = (np.arange(12).reshape(4, 3) * (1 + 2j if dtype.startswith("c") else 1)).astype(dtype)
    content, _, _ = samples.igor_wave5(data, order=order, units=("V", "m", "m"))
    ds = wave(_write(tmp_path, content))[""]
    assert ds.wave0.dims == ("y", "x") and ds.wave0.dtype == np.dtype(dtype) and ds.wave0.attrs["units"] == "V"
    np.testing.assert_array_equal(ds.wave0.values, data.T)
    np.testing.assert_allclose(ds.x.values, np.arange(4) * 1e-9)
    np.testing.assert_allclose(ds.y.values, np.arange(3) * 2e-9)


@pytest.mark.parametrize("order", ["<", ">"])
def test_version_2(tmp_path, order):
    ds = wave(_write(tmp_path, samples.igor_wave2(np.arange(7.0), order=order, note="Gain: 3")))[""]
    assert ds.old.dims == ("time",) and ds.old.attrs["units"] == "V"
    np.testing.assert_array_equal(ds.old.values, np.arange(7))
    np.testing.assert_allclose(ds.time.values, 3 + 0.5 * np.arange(7))
    assert schema.decode_metadata(ds.attrs["original_metadata"])["note"] == {"Gain": "3"}


def test_axes_that_run_down_are_turned(tmp_path):
    data = np.arange(12.0).reshape(4, 3)
    content, _, _ = samples.igor_wave5(data, step=(-1e-9, 2e-9), start=(3e-9, 0.0))
    ds = wave(_write(tmp_path, content))[""]
    np.testing.assert_array_equal(ds.wave0.values, data[::-1].T)
    np.testing.assert_allclose(ds.x.values, np.arange(4) * 1e-9, atol=1e-20)


def test_trace_and_retrace_are_one_channel(tmp_path):
    data = np.random.default_rng(0).normal(size=(4, 3, 3)).astype("f4")
    labels = ((), (), ("HeightTrace", "HeightRetrace", "PhaseTrace"))
    content, _, _ = samples.igor_wave5(data, labels=labels, note="ImagingMode:AC Mode\rScanAngle: 90\r")
    ds = wave(_write(tmp_path, content))[""]
    assert ds.height.dims == ("direction", "y", "x") and ds.phase_trace.dims == ("y", "x")
    np.testing.assert_array_equal(ds.height.sel(direction="backward").values, data[:, :, 1].T)
    np.testing.assert_allclose(ds.phase_trace.values, np.deg2rad(data[:, :, 2].T), rtol=1e-6)
    assert ds.attrs["scan_angle"] == pytest.approx(np.pi / 2)


def test_damage_is_noticed(tmp_path):
    content, _, _ = samples.igor_wave5(np.arange(12.0).reshape(4, 3))
    for bad in (content[:40] + b"\x07" + content[41:], content[:-1], content[:300]):
        with pytest.raises(CorruptFile):
            wave(_write(tmp_path, bad))
    with pytest.raises(NotThisFormat):
        parse(_write(tmp_path, b"\x09\x00" + content[2:]))


def test_declared_size_beyond_the_file(tmp_path):
    data = np.zeros((4, 3))
    content, _, _ = samples.igor_wave5(data)
    huge = bytearray(content)
    words = np.frombuffer(bytes(huge[:384]), "<i2").astype(np.int64)
    huge[64 + 12 : 64 + 16] = (2**31 - 1).to_bytes(4, "little")
    huge[132:136] = (2**31 - 1).to_bytes(4, "little")
    huge[136:140] = (1).to_bytes(4, "little")
    changed = np.frombuffer(bytes(huge[:384]), "<i2").astype(np.int64)
    checksum = int.from_bytes(huge[2:4], "little") - int(changed.sum() - words.sum())
    huge[2:4] = (checksum % 65536).to_bytes(2, "little")
    with pytest.raises(CorruptFile, match="points"):
        wave(_write(tmp_path, bytes(huge)))


# ---------------------------------------------------------------------------------------------- packed experiments


def test_real_experiment(data_file):
    path = data_file("igor_ibw/polar-graphs-demo.pxp")
    groups = experiment(str(path))
    assert list(groups) == [
        "radiusData",
        "angleData",
        "W_plrX5",
        "W_plrY5",
        "angleQ1",
        "radiusQ1",
        "W_plrX6",
        "W_plrY6",
    ]
    # the first wave, of version 2, lies at byte 16529 of the file, its numbers 126 bytes on
    numbers = np.frombuffer(path.read_bytes()[16529 + 126 :], "<f4", 128)
    np.testing.assert_array_equal(groups["radiusData"].radius_data.values, numbers)
    with pytest.raises(SeveralGroups, match="group='angleQ1'"):
        open_file(path)
    assert open_file(path, group="angleQ1").sizes["point"] == 64


@pytest.mark.parametrize("order", ["<", ">"])
def test_experiment_with_folders(tmp_path, order):
    content, _, image = samples.igor_experiment(order=order)
    path = _write(tmp_path, content, "a.pxp")
    ds = open_file(path)
    np.testing.assert_array_equal(ds.wave0.values, image.T)
    assert ds.attrs["title"] == "wave0"
    for damaged in (content[:-1], content[:-8], content + b"x", content[8 + 40 :][8 + 32 :]):
        with pytest.raises(CorruptFile):
            experiment(_write(tmp_path, damaged, "b.pxp"))


# ------------------------------------------------------------------------------------------- variants in the wild


def _curve(note="", tail=b"", n=12):
    data = np.random.default_rng(0).normal(size=(n, 2)).astype("f4")
    note = f"ImagingMode: PFM Mode\rSpringConstant: 2\rInvOLS: 1e-7\r{note}"
    content, _, _ = samples.igor_wave5(data, units=("m", "s"), step=(0.01, 1.0), note=note,
                                       labels=((), ("Raw", "Defl"), ()))  # fmt: skip
    return content + tail, data


def test_a_force_curve_whose_note_names_no_segments(tmp_path):
    content, data = _curve()
    ds = wave(_write(tmp_path, content))[""]
    assert ds.deflection.dims == ("time",) and "length" not in ds
    np.testing.assert_allclose(ds.force.values, 2 * data[:, 1], rtol=1e-6)
    np.testing.assert_allclose(ds.time.values, 0.01 * np.arange(12))


def test_a_force_curve_of_two_approaches(tmp_path):
    content, data = _curve("Indexes: NaN,0,3,5,11\rDirection: NaN,1,-1,1\r")
    ds = wave(_write(tmp_path, content))[""]
    assert ds.segment.values.tolist() == ["approach 1", "retract", "approach 2"]
    assert ds.length.values.tolist() == [3, 2, 7]
    np.testing.assert_array_equal(ds.z_piezo.values[2], data[5:, 0])
    np.testing.assert_array_equal(ds.z_piezo[1, :3].values, [*data[3:5, 0], np.nan])


def test_an_unknown_footer_is_no_damage_unless_numbers_moved(tmp_path):
    content, data = _curve(tail=b"\x00\x01PREVIEW" * 19)
    np.testing.assert_array_equal(wave(_write(tmp_path, content))[""].z_piezo.values, data[:, 0])
    with pytest.raises(CorruptFile):
        wave(_write(tmp_path, content[:400] + content[396:]))


def test_four_dimensions(tmp_path):
    data = np.arange(120.0).reshape(5, 4, 3, 2)
    content, _, _ = samples.igor_wave5(data, units=("A", "m", "m", "V", ""), step=(1e-9, 2e-9, 0.5, 1.0),
                                       labels=((), (), (), ()), start=(0, 0, -0.5, 0))  # fmt: skip
    ds = wave(_write(tmp_path, content))[""]
    assert ds.wave0.dims == ("point", "bias", "y", "x")
    np.testing.assert_array_equal(ds.wave0.values, data.T)
    np.testing.assert_allclose(ds.bias.values, [-0.5, 0, 0.5])
    assert schema.problems(ds) == []


def test_layers_without_labels_are_one_variable(tmp_path):
    data = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("f4")
    content, _, _ = samples.igor_wave5(data, note="ImagingMode: Contact\r", units=("m", "m", "m", ""))
    ds = wave(_write(tmp_path, content))[""]
    assert ds.wave0.dims[1:] == ("y", "x")
    np.testing.assert_array_equal(ds.wave0.values, data.T)
