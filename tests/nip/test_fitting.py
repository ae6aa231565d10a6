"""Fitting on what brings images in batches, and straight into a file."""

import mmap
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from art_nip import NIPPreprocessor
from art_nip.estimators.probing import N_PROBES
from art_nip.nip.bank import CodesInMemory
from art_nip.nip.retrieval import ClassEvidence, Nearest, ViewEvidence
from tests.helpers import make_classifier
from tests.models import small
from tests.nip.helpers import fitted

RETRIEVALS = ("similarity", "nearest", "class")


def loader(x, y, framework, size=37):
    """Return what a user of the framework has that brings images in batches."""
    if framework == "pytorch":
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        return DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), size)
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size)


def unfitted(classifier, retrieval="similarity", **parameters):
    return NIPPreprocessor.for_estimator(
        classifier, verbose=False, retrieval=retrieval, **parameters
    )


@pytest.fixture
def bank(images):
    x, y = images["bank"]
    y = y.copy()
    y[:20] = (y[:20] + 1) % 10  # no candidates
    return x[:300], y[:300]


def assert_same_fit(one, other):
    ours, theirs = one._fitted.arrays(), other._fitted.arrays()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("retrieval", RETRIEVALS)
def test_a_loader_gives_the_fit_of_the_arrays(classifier, framework, bank, retrieval):
    nip = unfitted(classifier, retrieval)
    nip.fit(loader(*bank, framework))
    assert_same_fit(nip, fitted(classifier, *bank, retrieval))


@pytest.mark.parametrize("retrieval", RETRIEVALS)
def test_a_loader_that_shuffles_anew_each_time_is_read_once(classifier, bank, retrieval):
    x, y = bank
    order = np.random.default_rng(0).permutation(len(x))
    reads = []

    class Shuffling:
        def __iter__(self):
            reads.append(1)
            rows = order if len(reads) == 1 else order[::-1]
            yield from ((x[i], y[i]) for i in np.array_split(rows, 9))

    nip = unfitted(classifier, retrieval)
    nip.fit(Shuffling())
    assert len(reads) == 1
    assert_same_fit(nip, fitted(classifier, x[order], y[order], retrieval))


def test_without_labels_every_image_is_a_candidate(classifier, bank):
    x, _ = bank
    nip = unfitted(classifier)
    nip.fit(iter([x[:100], x[100:]]))
    assert_same_fit(nip, fitted(classifier, x))
    assert len(nip.candidates) == len(x)


def test_an_empty_or_a_broken_loader_keeps_the_old_fit(classifier, framework, bank):
    x, y = bank
    nip = fitted(classifier, x, y)
    before = nip.candidates
    with pytest.raises(ValueError, match="fit was given no image"):
        nip.fit(iter([]))
    broken = np.concatenate([x, x[:1] - 2])
    with pytest.raises(ValueError, match=r"Batch 8, row 4: .* outside the clip_values \(0, 1\)"):
        nip.fit(loader(broken, np.append(y, 0), framework))
    assert nip.candidates is before


# Straight into a file


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16"])
def test_candidates_in_a_file_are_those_in_memory(classifier, framework, bank, tmp_path, dtype):
    path = tmp_path / "bank.safetensors"
    nip = unfitted(classifier, bank_dtype=dtype)
    nip.fit(loader(*bank, framework), bank=path)
    in_memory = fitted(classifier, *bank, bank_dtype=dtype)
    assert_same_fit(nip, in_memory)
    assert all(isinstance(array.base, mmap.mmap) for array in nip.candidates.arrays().values())
    assert all(array.flags.aligned for array in nip._fitted.arrays().values())
    x = bank[0][:20]
    assert np.array_equal(nip(x)[0], in_memory(x)[0])
    loaded = NIPPreprocessor.load(path, classifier)
    assert_same_fit(loaded, in_memory)
    assert np.array_equal(loaded.attach(classifier).predict(x), nip.attach(classifier).predict(x))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    # The library that the format is of reads it as it reads its own.
    assert np.array_equal(load_file(path)["codes"], in_memory.candidates.codes)


@pytest.mark.parametrize("retrieval", ["nearest", "class"])
def test_what_a_retrieval_learned_is_in_the_file_too(classifier, bank, tmp_path, retrieval):
    path = tmp_path / "bank.safetensors"
    nip = unfitted(classifier, retrieval)
    nip.fit(*bank, bank=path)
    in_memory = fitted(classifier, *bank, retrieval)
    assert_same_fit(nip, in_memory)
    assert_same_fit(NIPPreprocessor.load(path, classifier), in_memory)
    x = bank[0][:20]
    assert np.array_equal(nip(x)[0], in_memory(x)[0])


def test_an_odd_number_of_bytes_is_no_trouble(framework, tmp_path):
    shape = (3, 17, 17) if framework == "pytorch" else (17, 17, 3)
    model = small(framework) if framework == "pytorch" else _odd_keras_model()
    classifier = make_classifier(framework, model, shape, 4)
    x = np.random.default_rng(0).random((5, *shape), dtype=np.float32)
    nip = unfitted(classifier, bank_dtype="uint8", layer="auto")
    nip.fit(x, bank=tmp_path / "odd")
    assert nip.candidates.codes.nbytes % 8
    assert all(array.flags.aligned for array in nip._fitted.arrays().values())
    assert_same_fit(NIPPreprocessor.load(tmp_path / "odd", classifier), nip)


def _odd_keras_model():
    import keras
    from keras import layers

    return keras.Sequential(
        [keras.Input((17, 17, 3)), layers.Conv2D(8, 3, 2, activation="relu"),
         layers.Conv2D(16, 3, 2, activation="relu"), layers.Flatten(), layers.Dense(4)]
    )  # fmt: skip


def test_a_bank_in_a_file_can_be_saved_and_fitted_over(classifier, bank, tmp_path):
    path, x = tmp_path / "bank.safetensors", bank[0][:10]
    nip = unfitted(classifier)
    nip.fit(*bank, bank=path)
    before = nip(x)[0]
    nip.save(tmp_path / "copy")
    assert_same_fit(NIPPreprocessor.load(tmp_path / "copy", classifier), nip)
    nip.save(path)
    other = unfitted(classifier)
    other.fit(bank[0][:50], bank=path)
    assert len(NIPPreprocessor.load(path, classifier).candidates) == 50
    # What was mapped before is still what it was.
    nip.set_params(batch_size=64)  # which makes a new reader
    assert np.array_equal(nip(x)[0], before)


def test_a_file_that_is_larger_than_memory_can_be_mapped(classifier, bank, tmp_path):
    """Linux refuses to map more than it has memory for, unless it is told to reserve none.

    Nor shall it read ahead where single candidates are picked.
    """
    if sys.platform != "linux":
        pytest.skip("other systems map as much as they are asked for")
    path = tmp_path / "bank.safetensors"
    nip = unfitted(classifier)
    nip.fit(*bank, bank=path)
    nip(bank[0][:2])
    maps = Path("/proc/self/smaps").read_text(encoding="utf-8").split(str(path))[1:]
    of_parts = [part.split("VmFlags:")[1].split("\n")[0].split() for part in maps]
    assert all("nr" in flags for flags in of_parts)
    assert any("rr" in flags for flags in of_parts)  # read at random


@pytest.mark.parametrize("fault", ["images", "labels", "source"])
def test_a_failed_fit_leaves_the_old_file_and_nothing_else(classifier, bank, tmp_path, fault):
    path, (x, y) = tmp_path / "bank.safetensors", bank
    nip = unfitted(classifier)
    nip.fit(x, y, bank=path)
    before, old = path.read_bytes(), nip.candidates

    predicted = classifier.predict(x).argmax(1)

    def batches():
        yield x, (predicted + (fault == "labels")) % 10
        if fault == "source":
            raise ConnectionError("the images are gone")
        if fault == "images":
            yield x - 5, y

    error = ConnectionError if fault == "source" else ValueError
    with pytest.raises(error, match=r"are gone|outside the clip_values|classifies none of the 300"):
        nip.fit(batches(), bank=path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert nip.candidates is old


def test_a_killed_fit_leaves_the_old_file(fitted_nips, lenet, tmp_path):
    path = tmp_path / "bank.safetensors"
    fitted_nips["pytorch"].save(path)
    before = path.read_bytes()
    script = """
        import os, signal, sys
        import numpy as np
        from art_nip import NIPPreprocessor
        from tests.helpers import make_classifier
        from tests.models import SMALL_SHAPE, small

        shape = SMALL_SHAPE["pytorch"]
        classifier = make_classifier("pytorch", small("pytorch"), shape, 4)
        nip = NIPPreprocessor.for_estimator(classifier, verbose=False, batch_size=64)

        def batches():
            x = np.random.default_rng(0).random((64, *shape), dtype=np.float32)
            yield from [x, x, x]
            os.kill(os.getpid(), signal.SIGKILL)  # in the middle, with candidates in the file

        nip.fit(batches(), bank=sys.argv[1])
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert NIPPreprocessor.load(path, make_classifier("pytorch", lenet["pytorch"])).is_fitted
    (left,) = tmp_path.glob("*/*")
    assert os.path.getsize(left) > 0
    fitted_nips["pytorch"].save(path)
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_file_can_be_no_image_is_read(classifier, bank, tmp_path):
    for nip, path, error, message in (
        (
            unfitted(classifier),
            tmp_path / "no" / "a",
            FileNotFoundError,
            r"There is no folder .*no",
        ),
        (unfitted(classifier), tmp_path, ValueError, "is a folder; give the name of a file in it"),
        (unfitted(classifier, OfOnes()), tmp_path / "a", ValueError, "A file cannot hold"),
    ):
        batches = iter([bank])
        with pytest.raises(error, match=message):
            nip.fit(batches, bank=path)
        assert next(batches) is bank
    assert not list(tmp_path.iterdir())


class OfOnes(Nearest):
    """A retrieval of a user's own, which `load` could not make."""


# What a retrieval does not use is not there


def test_class_retrieval_keeps_no_perturbations(classifier, bank, tmp_path):
    path = tmp_path / "bank.safetensors"
    nip = unfitted(classifier, "class")
    nip.fit(*bank, bank=path)
    paper = fitted(classifier, *bank)
    assert path.stat().st_size < 0.5 * paper.candidates.codes.nbytes
    assert nip.candidates.codes is None
    assert "without perturbations" in repr(nip.candidates)
    with pytest.raises(ValueError, match="There are no inverse perturbations of candidates"):
        _ = nip.candidates.perturbations
    # All else of the paper is there.
    assert np.array_equal(nip.candidates.labels, paper.candidates.labels)
    np.testing.assert_allclose(nip.neuron_template, paper.neuron_template, atol=1e-7)
    np.testing.assert_allclose(
        nip.candidates.similarities, paper.candidates.similarities, atol=1e-6
    )


def test_class_retrieval_computes_none_behind_the_first_batch(classifier, bank, monkeypatch):
    nip = unfitted(classifier, "class", batch_size=50)
    observer, passes = nip._adapter.observer, []

    def counting(weights):
        observe = observer(weights)
        return lambda x: passes.append(len(x)) or observe(x)

    monkeypatch.setattr(nip._adapter, "observer", counting)
    nip.fit(*bank)
    # Behind the images come those made up for the file.
    assert passes == [50, N_PROBES, N_PROBES]


def test_images_are_kept_only_for_what_learns():
    assert Nearest().learns
    assert ClassEvidence().learns
    assert not ClassEvidence(evidence=ViewEvidence()).learns


def test_memory_grows_for_as_many_as_come():
    codes = CodesInMemory((3,), "float32", most=2)
    rows = np.arange(30, dtype=np.float32).reshape(10, 3)
    for start in range(0, 10, 3):
        codes.append(rows[start : start + 3])
    assert np.array_equal(codes.rows(), rows)
