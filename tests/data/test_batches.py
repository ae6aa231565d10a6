"""Images from anywhere become the same checked batches, or are refused with their place."""

import itertools

import numpy as np
import pytest
from art.data_generators import (
    DataGenerator,
    KerasDataGenerator,
    NumpyDataGenerator,
    PyTorchDataGenerator,
    TensorFlowV2DataGenerator,
)

from art_nip.data.batches import batches_of, is_stream
from art_nip.data.wanted import Wanted

SHAPE = (3, 4, 5)
WANTED = Wanted(SHAPE, (0.0, 1.0), 10, channels_first=True)
N, SIZE = 23, 6  # a short last batch, whatever the source's own batches are


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return random.random((N, *SHAPE), dtype=np.float32), random.integers(0, 10, N)


def in_batches(x, y, size=5):
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


def loader(x, y):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=5)


def tf_dataset(x, y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(5)


def as_tensorflow(x):
    import tensorflow as tf

    return tf.constant(x)


def hugging_face(x, y, form="numpy"):
    import datasets

    features = datasets.Features(
        {"image": datasets.Array3D(SHAPE, "float32"), "label": datasets.Value("int64")}
    )
    found = datasets.Dataset.from_dict({"image": list(x), "label": y}, features=features)
    return found.with_format(form) if form else found


def keras_sequence(x, y):
    import keras

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return -(-len(x) // 5)

        def __getitem__(self, place):
            return x[5 * place : 5 * place + 5], y[5 * place : 5 * place + 5]

    return Sequence()


class Endless(DataGenerator):
    """As ART asks of a user's own: nothing but batches, for ever."""

    def __init__(self, x, y):
        super().__init__(len(x), 5)
        self._batches = itertools.cycle(in_batches(x, y))

    def get_batch(self):
        return next(self._batches)


class BySlices:
    """What has a shape and gives rows, but is no array: as a data set of h5py, or of zarr."""

    def __init__(self, x):
        self._x, self.shape, self.dtype = x, x.shape, x.dtype
        self.largest = 0

    def __len__(self):
        return len(self._x)

    def __getitem__(self, rows):
        self.largest = max(self.largest, len(self._x[rows]))
        return self._x[rows]

    def __array__(self, *_, **__):
        raise MemoryError("it does not fit")


def generator(x, y):
    yield from in_batches(x, y)


def endless_function(x, y):
    def batches():
        while True:
            yield from in_batches(x, y)

    return batches


SOURCES = {
    "list": lambda x, y: in_batches(x, y),
    "list of lists": lambda x, y: [list(batch) for batch in in_batches(x, y)],
    "generator": generator,
    "one-hot": lambda x, y: generator(x, np.eye(10)[y]),
    "one large batch": lambda x, y: [(x, y)],
    "single images": lambda x, y: in_batches(x, y, size=1),
    "with an empty batch": lambda x, y: [(x[:0], y[:0]), *in_batches(x, y)],
    "dictionaries": lambda x, y: ({"id": y, "x": a, "y": b} for a, b in in_batches(x, y)),
    "DataLoader": loader,
    "list of tensors": lambda x, y: list(loader(x, y)),
    "tf.data": tf_dataset,
    "datasets, arrays": hugging_face,
    "datasets, tensors": lambda x, y: hugging_face(x, y, "torch"),
    "datasets, lists": lambda x, y: hugging_face(x, y, None),
    "datasets, streaming": lambda x, y: hugging_face(x, y).to_iterable_dataset(),
    "Keras": keras_sequence,
    "ART, PyTorch": lambda x, y: PyTorchDataGenerator(loader(x, y), N, 5),
    "ART, TensorFlow": lambda x, y: TensorFlowV2DataGenerator(tf_dataset(x, y), N, 5),
    "ART, TensorFlow for ever": lambda x, y: TensorFlowV2DataGenerator(
        tf_dataset(x, y).repeat(), N, 5
    ),
    "ART, Keras": lambda x, y: KerasDataGenerator(keras_sequence(x, y), N, 5),
    "ART, Keras for ever": lambda x, y: KerasDataGenerator(itertools.cycle(in_batches(x, y)), N, 5),
    "ART, generator function": lambda x, y: KerasDataGenerator(endless_function(x, y), N, 5),
    "ART, NumPy": lambda x, y: NumpyDataGenerator(x, y, 5, drop_remainder=False),
    "ART, a user's own": Endless,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_batches_of_the_arrays(data, kind):
    x, y = data
    expected = list(batches_of(x, y, WANTED, SIZE))
    assert [len(images) for images, _ in expected] == [6, 6, 6, 5]
    found = list(batches_of(SOURCES[kind](x, y), None, WANTED, SIZE))
    for (images, labels), (of_array, of_labels) in zip(found, expected, strict=True):
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        assert np.array_equal(images, of_array)
        assert np.array_equal(labels, of_labels)


@pytest.mark.parametrize("kind", ["ndarray", "list", "tuple", "torch", "tensorflow", "nested"])
def test_arrays_stay_arrays(data, kind):
    x, y = data
    import torch

    made = {
        "ndarray": np.asarray, "list": list, "tuple": tuple, "torch": torch.from_numpy,
        "tensorflow": as_tensorflow, "nested": np.ndarray.tolist,
    }[kind](x)  # fmt: skip
    assert not is_stream(made, SHAPE)
    found = list(batches_of(made, torch.from_numpy(y), WANTED, SIZE))
    assert np.array_equal(np.concatenate([images for images, _ in found]), x)
    assert np.array_equal(np.concatenate([labels for _, labels in found]), y)


def test_tensors_with_a_graph_or_in_bfloat16_are_numbers(data):
    import torch

    x, y = data
    tensor = torch.from_numpy(x).to(torch.bfloat16).requires_grad_()
    (images, labels), *_ = batches_of([(tensor, torch.from_numpy(y))], None, WANTED, N)
    np.testing.assert_allclose(images, x, atol=1e-2)
    assert np.array_equal(labels, y)


@pytest.mark.parametrize("kind", ["images", "tuples of one", "DataLoader", "columns"])
def test_batches_may_come_without_labels(data, kind):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    x, _ = data
    source = {
        "images": [x[:5], x[5:]],
        "tuples of one": [(x[:5],), (x[5:], None)],
        "DataLoader": DataLoader(TensorDataset(torch.from_numpy(x)), 5),
        "columns": [{"image": x}],
    }[kind]
    found = list(batches_of(source, None, WANTED, SIZE))
    assert all(labels is None for _, labels in found)
    assert np.array_equal(np.concatenate([images for images, _ in found]), x)


def test_bytes_stay_bytes_until_the_model_sees_them(data):
    wanted = Wanted(SHAPE, (0.0, 255.0), 10, True)
    x = (255 * data[0]).astype(np.uint8)
    for source in (x, [x[:4], x[4:]]):
        found = list(batches_of(source, None, wanted, SIZE))
        assert {images.dtype for images, _ in found} == {np.dtype(np.uint8)}
    mixed = list(batches_of([x[:4], x[4:].astype(np.float64)], None, wanted, SIZE))
    assert np.array_equal(np.concatenate([images for images, _ in mixed]), x)


def test_what_can_be_sliced_is_not_read_whole(data):
    x, y = data
    source = BySlices(x)
    batches = batches_of(source, y, WANTED, SIZE)
    with batches.record() as record:
        for images, labels in batches:
            record.add(images, labels < 5)
        assert np.array_equal(np.concatenate(list(record)), x[y < 5])
    assert source.largest == SIZE


@pytest.mark.parametrize("kind", ["list", "DataLoader"])
def test_what_was_read_once_can_be_recalled(data, kind):
    x, y = data
    batches = batches_of(SOURCES[kind](x, y), None, WANTED, SIZE)
    with batches.record() as record:
        for images, labels in batches:
            record.add(images, labels < 5)
        for _ in range(2):
            recalled = list(record)
            assert np.array_equal(np.concatenate(recalled), x[y < 5])
            assert {len(images) for images in recalled[:-1]} <= {SIZE}


# Pictures


def pictures(form=None, mode="RGB"):
    """Return a set of the hub's kind: pictures, height before width, channels last."""
    import datasets
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (7, 4, 5, 3)).astype(np.uint8)
    found = [Image.fromarray(image).convert(mode) for image in pixels]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(10)})
    made = datasets.Dataset.from_dict({"img": found, "label": list(range(7))}, features=features)
    return made.with_format(form), pixels


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("high", [1.0, 255.0])
def test_pictures_are_brought_to_the_range_and_the_axes(channels_first, high):
    dataset, pixels = pictures()
    shape = SHAPE if channels_first else (4, 5, 3)
    expected = np.moveaxis(pixels, -1, 1) if channels_first else pixels
    ((images, labels),) = batches_of(
        dataset, None, Wanted(shape, (0.0, high), 10, channels_first), 9
    )
    np.testing.assert_allclose(images, expected * (high / 255), atol=1e-6)
    assert labels.tolist() == list(range(7))


def test_grey_pictures_among_coloured_ones_get_three_channels():
    dataset, _ = pictures(mode="L")
    ((images, _),) = batches_of(dataset, None, WANTED, 9)
    assert images.shape == (7, *SHAPE)
    assert np.array_equal(images[:, 0], images[:, 2])


def test_pictures_have_no_place_in_another_range():
    with pytest.raises(ValueError, match=r"Batch 0 holds pictures.*which values they have there"):
        list(batches_of(pictures()[0], None, Wanted(SHAPE, (-1.0, 1.0), 10, True), 9))


def test_decoded_pictures_are_arrays_like_others():
    with pytest.raises(ValueError, match=r"Batch 0: Images have shape .* Check the order of chan"):
        list(batches_of(pictures("numpy")[0], None, WANTED, 9))


# What is refused


def wrong_batches(x, y):
    """Return for each fault a source that has it, and the message."""
    changed = {name: [tuple(map(np.copy, batch)) for batch in in_batches(x, y)] for name in (
        "nan", "range", "label", "fraction", "shape", "labels missing", "length",
    )}  # fmt: skip
    changed["nan"][2][0][3, 0, 0, 0] = np.nan
    changed["range"][1][0][4] = 2.5
    changed["label"][3][1][1] = 10
    changed["fraction"][0] = (x[:5], y[:5] + 0.5)
    changed["shape"][2] = (x[10:15, :1], y[10:15])
    changed["labels missing"][2] = (x[10:15],)
    changed["length"][2] = (x[10:15], y[10:14])
    return {
        "nan": (changed["nan"], r"Batch 2, row 3: Images contain NaN"),
        "range": (changed["range"], r"Batch 1, row 4: .* to 2\.5, outside the clip_values \(0, 1"),
        "label": (changed["label"], r"Batch 3: Labels must be .* that of image 1 is 10"),
        "fraction": (changed["fraction"], r"Batch 0: Labels must be whole"),
        "shape": (changed["shape"], r"Batch 2: Images have shape \(5, 1, 4, 5\)"),
        "labels missing": (changed["labels missing"], r"Batch 2 has no labels, and those before"),
        "length": (changed["length"], r"Batch 2: Labels have shape \(4,\); for 5 images"),
        "weights": ([(x, y, y)], r"Batch 0 has 3 parts; .* takes no weights"),
        "single images": (list(zip(x, y, strict=True)).__iter__(), r"like one image.* Batch them"),
        "normalised": ([((x - 0.5) / 0.25, y)], r"Batch 0, row 0: .* outside the clip_values"),
        "columns": ([{"x": x, "id": y}], r"columns 'x', 'id', and which are the labels"),
        "two labels": ([{"x": x, "label": y, "y": y}], r"which are the labels is not clear"),
        "two images": ([{"x": x, "view": x, "y": y}], r"several of them may be the images: x, vi"),
        "no images": ([{"z": y, "y": y}].__iter__(), r"none of them may be the images"),
    }


@pytest.mark.parametrize("fault", sorted(wrong_batches(*[np.zeros((N, *SHAPE)), np.zeros(N)])))
def test_a_fault_is_named_with_its_place(data, fault):
    source, message = wrong_batches(*data)[fault]
    with pytest.raises(ValueError, match=message):
        list(batches_of(source, None, WANTED, SIZE))


def test_of_an_array_the_image_is_named(data):
    x, y = data[0].copy(), data[1]
    x[17, 0] = -3
    with pytest.raises(ValueError, match="Image 17: Images have values from -3"):
        list(batches_of(x, y, WANTED, SIZE))


def test_what_never_ends_is_refused(data):
    with pytest.raises(ValueError, match=r"repeats its batches for ever.*take\(batches\)"):
        batches_of(tf_dataset(*data).repeat(), None, WANTED, SIZE)
    endless = KerasDataGenerator(itertools.cycle(in_batches(*data)), None, 5)
    with pytest.raises(ValueError, match=r"KerasDataGenerator with size=None.*size=…"):
        batches_of(endless, None, WANTED, SIZE)


def test_what_is_no_source_is_refused(data):
    import datasets

    x, y = data
    with pytest.raises(TypeError, match=r"whose batches bring their labels: leave out y"):
        batches_of(loader(x, y), y, WANTED, SIZE)
    for wrong in ({"x": x}, "images", 3, None, generator):
        with pytest.raises(TypeError, match="give arrays x and y, a PyTorch DataLoader"):
            batches_of(wrong, None, WANTED, SIZE)
    several = datasets.DatasetDict({"train": hugging_face(x, y)})
    with pytest.raises(TypeError, match=r"holds several sets: name one, x\['train'\]"):
        batches_of(several, None, WANTED, SIZE)
    with pytest.raises(TypeError, match="Batch 0: Images must be an array of numbers"):
        list(batches_of([(np.full((2, *SHAPE), None), y[:2])], None, WANTED, SIZE))
