"""Images of a benchmark come from anywhere, are the same images, and need not fit into memory."""

import numpy as np
import pytest

from art_nip.benchmark.execution.images import evaluated, known, shared, writable
from tests.benchmark.helpers import make
from tests.nip.test_fitting import loader


def mapped_file(array):
    """Return the file that an array is mapped from, or None."""
    return getattr(array.base, "filename", None)


def test_a_loader_gives_the_results_of_the_arrays(classifier, framework, arrays, tmp_path):
    x, y, bank = arrays
    by_array = make(classifier, ["fgsm"], ["nip", "ss"], store=tmp_path / "a")
    table = by_array.run(x, y, bank)
    of_loader, of_bank = loader(x, y, framework, 3), loader(*bank, framework, 50)
    # Its fingerprints are those of the arrays, so that all is there already.
    assert by_array.plan(of_loader, bank=of_bank).cached.all()
    assert by_array.plan(iter([(x, y)]), bank=[list(bank)]).cached.all()
    other = make(classifier, ["fgsm"], ["nip", "ss"], store=tmp_path / "b")
    again = other.run(of_loader, bank=of_bank)
    exact = table.metric.isin(["accuracy", "asr", "dsr", "l2", "psnr"])
    assert table[exact].drop(columns="seconds").equals(again[exact].drop(columns="seconds"))
    assert (tmp_path / "a" / "images.safetensors").read_bytes() == (
        tmp_path / "b" / "images.safetensors"
    ).read_bytes()


def test_what_comes_in_batches_is_mapped(classifier, framework, arrays, tmp_path):
    x, y, bank = arrays
    images, labels = evaluated(loader(x, y, framework, 3), None, classifier, tmp_path)
    assert mapped_file(images) is not None
    assert np.array_equal(images, x)
    assert np.array_equal(labels, y)
    assert mapped_file(known(loader(*bank, framework), classifier, tmp_path)[0]) is not None
    for pair in (bank, list(bank), (bank[0].tolist(), bank[1].tolist())):
        assert np.array_equal(known(pair, classifier, tmp_path)[0], bank[0])
    np.save(tmp_path / "x.npy", x)
    elsewhere = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.array_equal(evaluated(elsewhere, y, classifier, tmp_path)[0], x)


def test_what_a_defence_writes_to_its_images_stays_with_it(classifier, framework, arrays, tmp_path):
    x, y, _ = arrays
    images, _ = evaluated(loader(x, y, framework), None, classifier, tmp_path)
    for given in (images, images[:5], x):
        own = writable(given)
        before = given.copy()
        assert np.array_equal(own, before)
        own[...] = 7
        assert np.array_equal(given, before)
    assert mapped_file(writable(images)) is not None


def test_images_in_both_are_counted(arrays):
    x, _, (others, _) = arrays
    assert shared(x, others) == 0
    assert shared(x, np.concatenate([others, x[2:4]])) == 2


@pytest.mark.parametrize("kind", ["array", "loader", "bank"])
def test_without_labels_nothing_is_measured(classifier, arrays, tmp_path, kind):
    x, y, bank = arrays
    benchmark = make(classifier, ["fgsm"], ["nip"], store=tmp_path / "none")
    call = {
        "array": lambda: benchmark.run(x, bank=bank),
        "loader": lambda: benchmark.run(iter([x]), bank=bank),
        "bank": lambda: benchmark.run(x, y, bank=iter([bank[0]])),
    }[kind]
    with pytest.raises(ValueError, match=r"no labels.* needs the images' true classes"):
        call()
    assert not (tmp_path / "none").exists()
