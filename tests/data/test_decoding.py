"""Encoded images are read as a viewer shows them, from every source, or refused with a sentence."""

from __future__ import annotations

import io
import json
import warnings

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from art_nip import data
from art_nip.data import hub
from art_nip.data.decoding import decode
from tests.data.writers import encode

FORMS = ["folder", "parquet", "hub"]
GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLOUR = np.stack([GREY, 255 - GREY, GREY[::-1]], axis=-1)


def encoded(image, form="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def read(form, content, folder, suffix=".png"):
    """Read one encoded image, (height, width, channels) in 0..255, from a source."""
    if form == "folder":
        (folder / "mine-test" / "cat").mkdir(parents=True)
        (folder / "mine-test" / "cat" / f"0{suffix}").write_bytes(content)
    elif form == "parquet":
        table = pa.table({"image": [{"bytes": content, "path": None}], "label": [0]})
        pq.write_table(table, folder / "mine-test.parquet")
    else:
        rows = {"image": [{"bytes": content, "path": None}], "label": [0]}
        dataset = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        part = hub.from_dataset(dataset, hub.Repository("somebody/mine-test"))
        return part.arrays(part.first(None), channels_first=False)[0][0] * 255
    return data.load("mine", "test", folder=folder, channels_first=False)[0][0] * 255


def shown(pixels, mode="L"):
    return Image.fromarray(pixels).convert(mode)


RAMP = np.linspace(0, 65535, 24).round().astype(np.uint16).reshape(4, 6)
OPAQUE = np.concatenate([COLOUR, np.full((4, 6, 1), 255, np.uint8)], axis=-1)
PALETTE = Image.fromarray(COLOUR).quantize(24)
EXACT = {
    "8 bits": (Image.fromarray(GREY), GREY),
    "16 bits": (Image.fromarray(RAMP), RAMP / 257),
    "1 bit": (Image.fromarray(GREY > 100), 255 * (GREY > 100)),
    "grey and opaque": (shown(GREY, "LA"), GREY),
    "palette of greys": (shown(GREY, "P"), GREY),
    "colour": (Image.fromarray(COLOUR), COLOUR),
    "palette": (PALETTE, np.asarray(PALETTE.convert("RGB"))),
    "colour and opaque": (Image.fromarray(OPAQUE), COLOUR),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", EXACT)
def test_an_image_is_read_as_a_viewer_shows_it(tmp_path, form, kind):
    image, expected = EXACT[kind]
    expected = expected.reshape(4, 6, -1)
    found = read(form, encoded(image), tmp_path)
    channels = 3 if form == "hub" else expected.shape[-1]  # the hub's sets are all in colour
    assert found.shape == (4, 6, channels)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=0.5001)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_an_image_is_turned_as_its_exif_data_says(tmp_path, form, mode, orientation, turns):
    pixels = GREY if mode == "L" else COLOUR
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read(form, encoded(Image.fromarray(pixels), exif=exif), tmp_path)
    expected = np.rot90(pixels, turns)
    expected = expected.reshape(*expected.shape[:2], -1)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_inks_are_read_as_colours(tmp_path, form):
    flat = np.full((8, 8, 3), (200, 40, 90), np.uint8)
    inks = encoded(shown(flat, "CMYK"), "jpeg", quality=100)
    np.testing.assert_allclose(read(form, inks, tmp_path, ".jpg"), flat, atol=4)


def test_a_portable_grey_map_of_16_bits(tmp_path):
    content = b"P5 6 4 65535\n" + RAMP.astype(">u2").tobytes()
    found = read("folder", content, tmp_path, ".ppm")
    np.testing.assert_allclose(found[..., 0], RAMP / 257, atol=0.5001)


CLEAR = np.concatenate([COLOUR, np.full((4, 6, 1), 128, np.uint8)], axis=-1)
FRAMES = {"save_all": True, "append_images": [Image.fromarray(255 - COLOUR)]}
UNCLEAR = {
    "transparent colour": (encoded(Image.fromarray(CLEAR)), "transparent in part"),
    "transparent grey": (encoded(Image.fromarray(CLEAR[..., 2:])), "transparent in part"),
    "transparent palette": (encoded(PALETTE, transparency=0), "transparent in part"),
    "a transparent grey": (encoded(Image.fromarray(GREY), transparency=0), "transparent in part"),
    "a transparent grey of 16 bits": (
        encoded(Image.fromarray(RAMP), transparency=int(RAMP[1, 1])),
        "transparent in part",
    ),
    "32 bits": (encoded(Image.fromarray(RAMP.astype(np.int32)), "tiff"), "mode 'I'"),
    "floats": (encoded(Image.fromarray(GREY.astype(np.float32)), "tiff"), "mode 'F'"),
    "frames": (encoded(Image.fromarray(COLOUR), "png", **FRAMES), "2 frames"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", UNCLEAR)
def test_an_image_that_may_mean_several_things_is_refused(tmp_path, form, kind):
    content, message = UNCLEAR[kind]
    place = r"mine-test.cat.0\.png" if form == "folder" else "mine-test.*row 0"
    with pytest.raises(ValueError, match=rf"{place}.*{message}"):
        read(form, content, tmp_path)


WHOLE = encode(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("content", [b"", b"no image", WHOLE[:-300]], ids=["no", "none", "half"])
def test_a_damaged_image_is_named(tmp_path, form, content):
    place = r"mine-test.cat.0\.png" if form == "folder" else "mine-test.*row 0"
    with pytest.raises(OSError, match=rf"{place}.*cannot be read, it is missing or damaged"):
        read(form, content, tmp_path)


def test_a_link_to_no_image_is_named(tmp_path):
    (tmp_path / "mine-test" / "cat").mkdir(parents=True)
    (tmp_path / "mine-test" / "cat" / "0.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(OSError, match=r"cat.0\.png: the image cannot be read, it is missing"):
        data.load("mine", "test", folder=tmp_path)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([{"bytes": None, "path": "a.png"}], r"there is only its path, 'a\.png'"),
        ([None, {"bytes": WHOLE, "path": None}], "there is null"),
        (["a.png"], "a value of type str"),
        ([[1, 2]], "a value of type list"),
    ],
)
def test_a_parquet_file_without_an_image_in_a_row(tmp_path, cells, message):
    pq.write_table(pa.table({"image": cells, "label": [0] * len(cells)}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=rf"a\.parquet, row 0: the image is missing; .*{message}"):
        data.parquet(tmp_path / "a.parquet")


def test_a_parquet_file_of_plain_bytes_is_read(tmp_path):
    pq.write_table(pa.table({"image": [encode(COLOUR)], "label": [0]}), tmp_path / "a.parquet")
    x, _, _ = data.parquet(tmp_path / "a.parquet", channels_first=False)
    np.testing.assert_allclose(x[0] * 255, COLOUR, atol=1e-4)


def test_a_hub_set_without_an_image_in_a_row():
    rows = {"image": [{"bytes": WHOLE, "path": None}, None], "label": [0, 1]}
    dataset = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    part = hub.from_dataset(dataset, hub.Repository("somebody/something"))
    with pytest.raises(ValueError, match=r"somebody/something, row 1: the image is missing"):
        part.arrays(part.first(None), channels_first=True)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"PAR1" + 40 * b"x" + b"PAR1"])
def test_a_damaged_parquet_file_is_named(tmp_path, content):
    (tmp_path / "mine-test.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"mine-test\.parquet is truncated or not a parquet file"):
        data.load("mine", "test", folder=tmp_path)


def test_a_parquet_file_with_damaged_names_is_named(tmp_path):
    path = tmp_path / "mine-test.parquet"
    pq.write_table(pa.table({"image": [WHOLE], "label": [0]}), path)
    path.write_bytes(path.read_bytes().replace(b"label", b"lab\xffl"))
    with pytest.raises(ValueError, match=r"mine-test\.parquet is truncated or not a parquet file"):
        data.parquet(path)


@pytest.mark.parametrize(
    "entry",
    [b"{", b"[]", b"\xff", json.dumps({"info": {"features": {"label": {"names": [1]}}}}).encode()],
)
def test_label_names_that_cannot_be_read(tmp_path, entry):
    table = pa.table({"image": [WHOLE], "label": [0]}).replace_schema_metadata(
        {"huggingface": entry}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: the .* of its metadata"):
        data.parquet(tmp_path / "a.parquet")


def test_what_is_skipped_in_a_folder_is_counted(tmp_path):
    cat = tmp_path / "mine-test" / "cat"
    cat.mkdir(parents=True)
    (cat / "0.png").write_bytes(WHOLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load("mine", "test", folder=tmp_path)
    (cat / "1.tif").write_bytes(WHOLE)
    (cat / "more").mkdir()
    (tmp_path / "mine-test" / "2.png").write_bytes(WHOLE)
    with pytest.warns(UserWarning, match=r"skipped 3 of its entries, such as 2\.png.* 1 images"):
        _, y, _ = data.load("mine", "test", folder=tmp_path)
    assert len(y) == 1


def test_colours_that_lie_behind_no_pixel_are_not_looked_at():
    image = Image.fromarray(COLOUR).quantize(20)
    content = encoded(image, transparency=255)
    found = decode(io.BytesIO(content), "mine")
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))
