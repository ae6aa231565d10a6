"""Saved candidates: they come back as they were, or are refused with the reason."""

import json
import mmap
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from art_nip import NIPPreprocessor, zoo
from art_nip.nip import bank_file
from art_nip.utils import files
from tests.helpers import make_classifier

METADATA = {
    "parameters": {},
    "model": {"layer": "a", "n_neurons": 10, "input_shape": [1], "fingerprint": "0"},
}


@pytest.fixture
def saved(nip, tmp_path):
    path = tmp_path / "nip.safetensors"
    nip.save(path)
    return path


def header(path):
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size))["__metadata__"]


def rewritten(path, section=None, **changes):
    """Return the path of a copy whose metadata differ, in a section of the JSON or outside."""
    entries = header(path)
    metadata = json.loads(entries["metadata"])
    (metadata[section] if section else entries).update(changes)
    entries["metadata"] = json.dumps(metadata) if section else entries["metadata"]
    copy = path.with_name("copy.safetensors")
    save_file(load_file(path), copy, entries)
    return copy


def test_what_is_loaded_defends_as_what_was_saved(nip, saved, classifier, images):
    loaded = NIPPreprocessor.load(saved, classifier)
    x = images["test"][0][:30]
    assert type(loaded) is type(nip)
    assert loaded.parameters == nip.parameters
    assert np.array_equal(loaded(x)[0], nip(x)[0])
    assert np.array_equal(loaded.candidates.labels, nip.candidates.labels)
    assert np.array_equal(loaded.attach(classifier).predict(x), nip.attach(classifier).predict(x))


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_every_dtype_comes_back(classifier, images, tmp_path, dtype):
    nip = NIPPreprocessor.for_estimator(
        classifier, verbose=False, bank_dtype=dtype, template="quorum", quorum=0.2, layer="auto"
    )
    nip.fit(images["bank"][0][:50])
    nip.save(tmp_path / "a")
    loaded = NIPPreprocessor.load(tmp_path / "a", classifier)
    assert np.array_equal(loaded.candidates.perturbations, nip.candidates.perturbations)
    assert loaded.candidates.codes.dtype == dtype


def test_arrays_are_mapped_not_read(saved, classifier):
    bank = NIPPreprocessor.load(saved, classifier).candidates
    assert all(isinstance(array.base, mmap.mmap) for array in bank.arrays().values())


def test_what_a_retrieval_learned_comes_back_mapped(classifier, images, tmp_path):
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, retrieval="nearest")
    nip.fit(images["bank"][0][:100])
    path = tmp_path / "nip.safetensors"
    nip.save(path)
    metadata = json.loads(header(path)["metadata"])
    assert metadata["parameters"]["retrieval"] == {
        "name": "nearest",
        "layer": nip.retrieval.layer,  # not "auto": what it stands for may change
    }
    loaded, x = NIPPreprocessor.load(path, classifier), images["test"][0][:30]
    vectors = loaded._fitted.learned["vectors"]
    assert isinstance(vectors.base, mmap.mmap)
    assert np.array_equal(vectors, nip._fitted.learned["vectors"])
    assert loaded.parameters == nip.parameters
    assert np.array_equal(loaded(x)[0], nip(x)[0])
    loaded.save(path)  # over the file that is mapped
    assert np.array_equal(NIPPreprocessor.load(path, classifier)(x)[0], nip(x)[0])
    elsewhere = {"name": "nearest", "layer": "conv9:input"}
    with pytest.raises(ValueError, match=r"does not suit .*layer 'conv9' is not in the model"):
        NIPPreprocessor.load(rewritten(path, "parameters", retrieval=elsewhere), classifier)
    with pytest.raises(ValueError, match=r"does not suit .*Unknown retrieval 'newer'"):
        NIPPreprocessor.load(rewritten(path, "parameters", retrieval="newer"), classifier)


def test_the_file_tells_what_it_holds(saved, framework):
    metadata = json.loads(header(saved)["metadata"])
    assert metadata["model"]["layer"] == "classifier.0:input"
    assert metadata["model"]["n_neurons"] == 256
    assert len(metadata["model"]["fingerprint"]) == 64
    assert metadata["versions"]["framework"].startswith(framework.removeprefix("py"))
    assert set(metadata["versions"]) == {"art_nip", "art", "framework"}
    assert metadata["parameters"]["fractions"] == [0.1, 0.3, 0.6]


def test_the_same_file_can_be_saved_over_while_it_is_mapped(saved, classifier, images):
    loaded = NIPPreprocessor.load(saved, classifier)
    before = loaded(images["test"][0][:5])[0]
    loaded.save(saved)
    assert np.array_equal(loaded(images["test"][0][:5])[0], before)
    assert np.array_equal(NIPPreprocessor.load(saved, classifier)(images["test"][0][:5])[0], before)


@pytest.mark.parametrize("keep", [0, 4, 100, 3000, -1])
def test_a_truncated_file_is_refused(saved, classifier, keep):
    data = saved.read_bytes()
    saved.write_bytes(data[:keep])
    with pytest.raises(
        ValueError, match=r"nip\.safetensors is truncated or not a safetensors file"
    ):
        NIPPreprocessor.load(saved, classifier)


def test_a_file_of_another_kind_is_refused(tmp_path, classifier):
    save_file({"a": np.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="holds no NIP candidates"):
        NIPPreprocessor.load(tmp_path / "weights.safetensors", classifier)
    for absent in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"There is no file {absent}. Copy"):
            NIPPreprocessor.load(absent, classifier)


def test_another_format_version_is_refused(saved, classifier):
    with pytest.raises(ValueError, match="has format version 2, this art-nip reads 4 and 5"):
        NIPPreprocessor.load(rewritten(saved, format_version="2"), classifier)


def test_another_layer_is_refused(saved, classifier):
    with pytest.raises(ValueError, match=r"fitted on layer classifier\.0:input with 300 neurons"):
        NIPPreprocessor.load(rewritten(saved, "model", n_neurons=300), classifier)
    with pytest.raises(ValueError, match=r"does not suit .*layer 'conv9' is not in the model"):
        NIPPreprocessor.load(rewritten(saved, "parameters", layer="conv9"), classifier)


def test_another_shape_is_refused(saved, framework):
    shape = (3, 32, 32) if framework == "pytorch" else (32, 32, 3)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    with pytest.raises(ValueError, match=r"fitted on images of shape \(.*; the classifier takes"):
        NIPPreprocessor.load(saved, make_classifier(framework, model, shape))


def test_other_weights_are_refused(saved, framework, lenet):
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    zoo.copy_weights(lenet[framework], model)
    same = make_classifier(framework, model)
    assert NIPPreprocessor.load(saved, same).is_fitted
    weights = {name: weight.copy() for name, weight in zoo.get_weights(model).items()}
    next(iter(weights.values())).ravel()[0] += 1e-3
    zoo.set_weights(model, weights)
    with pytest.raises(ValueError, match="fitted on other weights than this classifier has"):
        NIPPreprocessor.load(saved, same)


def test_another_mean_and_std_are_refused(saved, framework, lenet):
    # ART sets (0, 1) where none is given, so that these are the same.
    same = make_classifier(framework, lenet[framework], preprocessing=(0.0, 1.0))
    assert NIPPreprocessor.load(saved, same).is_fitted
    other = make_classifier(framework, lenet[framework], preprocessing=(0.5, 0.25))
    with pytest.raises(ValueError, match="another preprocessing of mean and std"):
        NIPPreprocessor.load(saved, other)


def test_data_parallel_does_not_change_the_fingerprint(lenet, fitted_nips, tmp_path):
    from torch import nn

    fitted_nips["pytorch"].save(tmp_path / "a")
    parallel = make_classifier("pytorch", nn.DataParallel(lenet["pytorch"]))
    assert NIPPreprocessor.load(tmp_path / "a", parallel).is_fitted


def test_a_failed_save_leaves_the_old_file_and_nothing_else(nip, saved, monkeypatch):
    before = saved.read_bytes()

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files, "save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        nip.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_killed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "nip.safetensors"
    bank_file.save(path, {"a": np.arange(3)}, METADATA)
    script = """
        import os, signal, sys
        import numpy as np
        from art_nip.nip import bank_file
        from art_nip.utils import files
        # Killed when all is written but not yet in its place.
        files.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        bank_file.save(files.Path(sys.argv[1]), {"a": np.zeros(100)}, {})
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert np.array_equal(bank_file.load(path)[0]["a"], np.arange(3))
    assert os.listdir(tmp_path) != [path.name]  # it was killed in the middle indeed
