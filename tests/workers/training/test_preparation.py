"""How a stored picture comes to the generations' size, whatever its kind."""

import contextlib
import io
import struct
import zlib
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from seedsweep.storage.settings.analysis import Verification
from seedsweep.workers.training import preparation
from seedsweep.workers.training.preparation import prepare
from seedsweep.workers.training.slices import UNREADABLE
from tests.support.pictures import data_of

RESIZE = Verification(training_set="t")


def pixels_of(value, width=4, height=2):
    return prepare(value, RESIZE, width, height)[0]


RAMP = np.arange(8, dtype=np.uint16).reshape(2, 4) * 9000
"""Grey levels of 16 bits: 0 to 63000."""


def png_of(channels, colour_type, clear=b""):
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""

    def part(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = channels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            part(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)),
            part(b"tRNS", clear) if clear else b"",
            part(b"IDAT", zlib.compress(rows)),
            part(b"IEND", b""),
        ]
    )


def pgm_of(grey):
    return b"P5 4 2 65535\n" + grey.astype(">u2").tobytes()


def white_is_zero(grey):
    """A TIFF whose white is 0."""
    data = bytearray(data_of(Image.fromarray(grey), "TIFF"))
    tag = data.index(struct.pack("<HHIH", 262, 3, 1, 1))
    data[tag + 8] = 0
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        data_of(Image.fromarray(RAMP)),
        data_of(Image.fromarray(RAMP), "TIFF"),
        data_of(Image.fromarray(RAMP.astype(">u2")), "TIFF"),
        data_of(Image.fromarray(RAMP), "JPEG2000", irreversible=False),
        pgm_of(RAMP),
        white_is_zero(65535 - RAMP),
        png_of(np.stack([RAMP] * 3, axis=2), 2),
        png_of(np.stack([RAMP, np.full_like(RAMP, 65535)], axis=2), 4),
        png_of(np.stack([RAMP, RAMP, RAMP, np.full_like(RAMP, 65535)], axis=2), 6),
    ],
    ids=["png", "tiff", "big-endian tiff", "jp2", "pgm", "white is 0", "rgb", "la", "rgba"],
)
def test_of_16_bits_the_upper_8_are_read(data):
    assert np.array_equal(pixels_of(data), np.stack([RAMP >> 8] * 3, axis=2))


@given(st.integers(0, 255), st.sampled_from(["PNG", "TIFF"]))
def test_8_bits_saved_as_16_come_back_as_they_were(level, kind):
    wide = np.full((2, 4), level * 257, np.uint16)
    assert (pixels_of(data_of(Image.fromarray(wide), kind)) == level).all()


def test_a_picture_of_16_bits_is_clear_only_where_all_its_bits_say_so():
    nearly = RAMP.copy()
    nearly[0, 1] = RAMP[0, 2] + 1
    pixels = pixels_of(png_of(nearly, 0, clear=struct.pack(">H", RAMP[0, 2])))
    assert pixels[0, :, 0].tolist() == [0, 18001 >> 8, 255, 27000 >> 8]
    colours = np.stack([RAMP] * 3, axis=2)
    pixels = pixels_of(png_of(colours, 2, clear=struct.pack(">HHH", *[RAMP[0, 2]] * 3)))
    assert pixels[0, :, 0].tolist() == [0, 9000 >> 8, 255, 27000 >> 8]


def test_a_grey_picture_of_16_bits_is_turned_upright_and_scaled():
    exif = Image.Exif()
    exif[0x0112] = 3
    data = data_of(Image.fromarray(RAMP), exif=exif)
    assert np.array_equal(pixels_of(data)[:, :, 0], (RAMP >> 8)[::-1, ::-1])
    white = np.full((16, 32), 65535, np.uint16)
    assert (pixels_of(data_of(Image.fromarray(white // 2))) == 127).all()


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (Image.new("I", (4, 2), 70000), "TIFF"),
        (Image.new("I", (4, 2), 7), "TIFF"),
        (Image.new("F", (4, 2), 0.5), "TIFF"),
        (Image.new("F", (4, 2), 0.5), "PPM"),
    ],
)
def test_what_does_not_say_what_is_white_is_refused(picture, kind):
    with pytest.raises(UNREADABLE, match="whose white is not known; save it with 8 bits"):
        pixels_of(data_of(picture, kind))


COLOURS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


def striped(mode):
    """Red, green, blue and white, in a mode."""
    return Image.fromarray(np.array([COLOURS, COLOURS], np.uint8)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("RGB", "TIFF"),
        ("CMYK", "TIFF"),
        ("RGB", "BMP"),
        ("RGB", "PPM"),
        ("RGB", "WEBP"),
    ],
)
def test_colours_are_what_they_were_in_every_mode(mode, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixels_of(data_of(striped(mode), kind, **options)).tolist() == [COLOURS, COLOURS]


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (striped("1"), "PNG"),
        (striped("1"), "TIFF"),
        (striped("L"), "PNG"),
        (striped("LA"), "PNG"),
        (striped("LA").convert("PA"), "TIFF"),
    ],
)
def test_what_has_no_colours_is_grey_and_white_stays_white(picture, kind):
    pixels = pixels_of(data_of(picture, kind))
    assert (pixels == pixels[..., :1]).all()
    assert pixels[0, 3, 0] == 255
    assert pixels[0, 2, 0] < 30


def test_of_several_frames_the_first_is_read():
    frames = [Image.new("RGB", (4, 2), tuple(colour)) for colour in COLOURS]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = data_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (pixels_of(data) == COLOURS[0]).all(), kind


def test_a_picture_of_an_array_is_its_pixels():
    noise = np.random.default_rng(0).integers(0, 256, (2, 4, 3), dtype=np.uint8)
    assert np.array_equal(pixels_of(noise), noise)
    assert np.array_equal(pixels_of(noise[..., 0]), np.stack([noise[..., 0]] * 3, axis=2))


def header_of(width, height):
    """A PNG that says it has so many pixels, and has none."""
    data = bytearray(png_of(RAMP, 0))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [(20_000, 6_000), (60_000, 60_000)])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(size):
    with pytest.raises(UNREADABLE, match="more than 100,000,000"):
        pixels_of(header_of(*size))


@pytest.mark.parametrize(
    ("kind", "before", "form"), [("WEBP", b"\x9d\x01*", "<HH"), ("AVIF", b"ispe\0\0\0\0", ">II")]
)
def test_of_formats_whose_decoders_hold_it_twice_a_picture_may_have_half_as_many(
    kind, before, form
):
    data = bytearray(data_of(Image.new("RGB", (100, 51)), kind))
    at = data.index(before) + len(before)
    assert struct.unpack_from(form, data, at) == (100, 51)
    struct.pack_into(form, data, at, 10_000, 5_001)
    with pytest.raises(UNREADABLE, match="10000 x 5001 pixels, more than 50,000,000"):
        pixels_of(bytes(data))


KINDS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
PICTURES = [data_of(Image.fromarray(np.tile(np.uint8(COLOURS), (2, 2, 1))), kind) for kind in KINDS]


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")
@given(
    st.sampled_from(PICTURES),
    st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=4)), max_size=4),
    st.none() | st.integers(0, 10_000),
)
def test_whatever_bytes_it_has_a_picture_comes_at_the_size_or_is_refused(whole, harms, cut):
    data = bytearray(whole)
    for place, harm in harms:
        at = place % len(data)
        data[at : at + len(harm)] = harm
    with contextlib.suppress(*UNREADABLE):
        assert pixels_of(bytes(data[:cut])).shape == (2, 4, 3)


def test_no_program_is_started_for_a_picture(monkeypatch):
    assert "EPS" not in preparation.FORMATS
    with pytest.raises(UNREADABLE, match="cannot identify"):
        pixels_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 2\n%%EndComments\n")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_picture_is_put_on_white_in_bands_as_it_is_whole(monkeypatch, mode):
    rgba = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    options = {"transparency": 3} if mode == "P" else {}
    data = data_of(Image.fromarray(rgba).convert(mode), **options)
    whole = pixels_of(data, 7, 9)
    monkeypatch.setattr(preparation, "_BAND_PIXELS", 15)
    assert np.array_equal(pixels_of(data, 7, 9), whole)


NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
SEEDS = [
    *(
        data_of(NOISE, kind)
        for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")
    ),
    data_of(NOISE, "JPEG2000"),
    data_of(NOISE, "TIFF", compression="tiff_lzw"),
    data_of(
        NOISE, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
    data_of(Image.fromarray(NOISE).convert("P"), "PNG", transparency=3),
    data_of(Image.fromarray(RAMP), "TIFF"),
    pgm_of(RAMP),
]


@st.composite
def harmed(draw):
    """A picture with some of its bytes changed, cut out, put in or cut off."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, min(len(data), draw(st.sampled_from([64, 1 << 20]))) - 1)))
        put = draw(st.binary(max_size=4))
        data[at : at + draw(st.integers(0, 4))] = put
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400)
@given(harmed() | st.binary(max_size=300))
def test_whatever_the_bytes_they_are_a_picture_or_unreadable(data):
    try:
        pixels, _ = prepare(data, RESIZE, 5, 3)
    except UNREADABLE:
        return
    assert pixels.shape == (3, 5, 3)


def profile_of(name):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def test_what_was_done_to_a_picture_is_told():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGBA", (10, 6), (1, 2, 3, 0))
    pixels, done = prepare(data_of(picture, exif=exif), RESIZE, 4, 4)
    assert (pixels == 255).all()
    assert done.model_dump() == {
        "width": 10,
        "height": 6,
        "orientation": 6,
        "transparent": True,
        "profile": "",
        "resize": "short-side",
        "crop": "center",
        "flip": False,
    }


def test_a_picture_that_fits_is_not_touched_and_that_is_told():
    noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels, done = prepare(data_of(noise), RESIZE, 4, 4)
    assert np.array_equal(pixels, noise)
    assert (done.resize, done.crop, done.orientation, done.profile) == ("none", "none", 1, "")


def test_stretching_crops_nothing():
    _, done = prepare(
        data_of(np.full((4, 4, 3), 3, np.uint8)),
        RESIZE.model_copy(update={"resize": "stretch"}),
        8,
        4,
    )
    assert (done.resize, done.crop) == ("stretch", "none")


def swapped_profile():
    """sRGB with red and blue swapped."""
    profile = bytearray(profile_of("sRGB"))
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, blue = tags[b"rXYZ"] + 4, tags[b"bXYZ"] + 4
    profile[red : red + 8], profile[blue : blue + 8] = (
        profile[blue : blue + 8],
        profile[red : red + 8],
    )
    return bytes(profile).replace(b"s\0R\0G\0B", b"o\0w\0n\0n")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_colour_profile_is_converted_to_srgb(mode):
    profile = swapped_profile()
    picture = Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode)
    pixels, done = prepare(data_of(picture, icc_profile=profile), RESIZE, 4, 4)
    assert pixels[0, 0, 2] > 250
    assert pixels[0, 0, 0] < 5
    assert (
        done.profile
        == ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    )


def linear_profile():
    """What is called sRGB, has its primaries, and curves without gamma, as GIMP's linear one."""
    profile = bytearray(profile_of("sRGB"))
    at = profile.index(b"para")
    profile[at + 8 : at + 10] = (0).to_bytes(2)  # of one parameter, the exponent
    profile[at + 12 : at + 16] = (1 << 16).to_bytes(4)
    return bytes(profile)


def renamed_profile():
    return profile_of("sRGB").replace(b"s\0R\0G\0B", b"o\0w\0n\0n")


def embedded_profile(package, name):
    return Image.open(io.BytesIO(files(package).joinpath(name).read_bytes())).info["icc_profile"]


HP = embedded_profile("sklearn.datasets.images", "flower.jpg")
"""The one of most cameras and programs: sRGB IEC61966-2.1."""


def test_a_profile_that_is_called_srgb_and_is_none_is_converted():
    picture = np.full((4, 4, 3), 55, np.uint8)
    pixels, done = prepare(data_of(picture, icc_profile=linear_profile()), RESIZE, 4, 4)
    assert "sRGB" in done.profile
    linear = 55 / 255
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize(
    "profile",
    [profile_of("sRGB"), HP, renamed_profile(), b"no profile", profile_of("LAB")],
)
def test_srgb_and_what_is_no_profile_of_the_picture_change_nothing(profile):
    noise = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pixels, done = prepare(data_of(noise, icc_profile=profile), RESIZE, 4, 4)
    assert np.array_equal(pixels, noise)
    assert done.profile == ""
