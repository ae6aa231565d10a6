"""The precision in which the model is looked at: what it changes, what not, and who refuses."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor
from art_nip.benchmark.fingerprints import fingerprint
from tests.helpers import make_classifier, not_simulated
from tests.models import SMALL_SHAPE, small, traces
from tests.nip.helpers import fitted, predictions

no_autocast = not_simulated("Autocast changes nothing on the simulated device.")
HALVES = ("bfloat16", "float16")
RETRIEVALS = (
    "similarity",
    "nearest",
    "class",
    {"name": "class", "evidence": "views"},
    {"name": "class", "evidence": "graded views"},
)


@pytest.fixture
def torch_classifier(lenet):
    return make_classifier("pytorch", lenet["pytorch"])


@pytest.mark.parametrize("look", HALVES)
@pytest.mark.parametrize("retrieval", RETRIEVALS, ids=str)
def test_half_precision_finds_much_the_same(torch_classifier, digits, look, retrieval):
    x, y = digits["bank"]
    exact = fitted(torch_classifier, x[:150], y[:150], retrieval)
    images = digits["test"][0][:60]
    before = exact(images)[0]
    delta = exact.similarity(images)
    exact.set_params(look=look)
    assert exact.is_fitted
    after = exact(images)[0]
    assert after.dtype == np.float32
    assert np.isfinite(after).all()
    agreed = predictions(torch_classifier, before) == predictions(torch_classifier, after)
    assert agreed.mean() > 0.9
    np.testing.assert_array_equal(exact.similarity(images), delta)
    if retrieval == "nearest":
        here = exact.retrieve(images)
        exact.set_params(look="float32")
        assert (here == exact.retrieve(images)).mean() > 0.9


@no_autocast
def test_the_look_and_nothing_else_is_in_half_precision(torch_classifier, digits):
    """If it did nothing, a test that finds the same would tell nothing."""
    import torch

    seen = []
    layer = torch_classifier.model.get_submodule(
        next(name for name, part in torch_classifier.model.named_modules()
             if isinstance(part, torch.nn.Linear))
    )  # fmt: skip
    handle = layer.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    try:
        nip = NIPPreprocessor.for_estimator(torch_classifier, look="bfloat16", verbose=False)
        seen.clear()
        nip.fit(digits["bank"][0][:40])
        assert set(seen) == {torch.float32}
        images = digits["test"][0][:4]
        nip(images)  # makes the reader
        seen.clear()
        nip(images)
        assert set(seen) == {torch.bfloat16}
        seen.clear()
        nip.attach(torch_classifier).predict(images)
        assert seen[-2:] == [torch.bfloat16, torch.float32]
    finally:
        handle.remove()


def test_steps_of_class_evidence_and_its_predictions_are_exact(
    torch_classifier, digits, attacked_digits
):
    x, y = digits["bank"]
    nip = fitted(torch_classifier, x[:300], y[:300], "class", look="bfloat16")
    attacked = attacked_digits[0][:30]
    classes = nip.evidence(attacked).argmax(1)
    defended = nip(attacked)[0]
    changed = (defended != attacked).any(axis=(1, 2, 3))
    assert changed.any()
    scores = torch_classifier.predict(defended)[changed]
    assert (scores.argmax(1) == classes[changed]).all()
    # Predictions never come from the look: they are those of the exact model.
    np.testing.assert_allclose(
        nip.attach(torch_classifier).predict(attacked),
        torch_classifier.predict(defended),
        atol=1e-5,
    )


def test_it_is_saved_told_apart_and_left_to_no_trace(torch_classifier, digits, tmp_path):
    before = traces("pytorch", torch_classifier.model)
    x, y = digits["bank"]
    exact, half = (
        fitted(torch_classifier, x[:60], y[:60], look=look) for look in ("float32", "bfloat16")
    )
    assert fingerprint(exact) != fingerprint(half)
    images = digits["test"][0][:20]
    half.save(tmp_path / "nip.safetensors")
    loaded = NIPPreprocessor.load(tmp_path / "nip.safetensors", torch_classifier)
    assert loaded.look == "bfloat16"
    np.testing.assert_array_equal(loaded.retrieve(images), half.retrieve(images))
    assert traces("pytorch", torch_classifier.model) == before


def test_a_gradient_passes_through(torch_classifier, digits):
    nip = fitted(torch_classifier, digits["bank"][0][:60], look="bfloat16")
    x, y = digits["test"]
    gradient = nip.attach(torch_classifier).loss_gradient(x[:8], np.eye(10)[y[:8]])
    assert np.isfinite(gradient).all()
    assert gradient.any(axis=(1, 2, 3)).all()


@no_autocast
def test_a_model_that_overflows_is_refused():
    model = small("pytorch")
    model[0].weight.data *= 1e6
    classifier = make_classifier("pytorch", model, SMALL_SHAPE["pytorch"], 4)
    NIPPreprocessor.for_estimator(classifier, look="bfloat16")
    with pytest.raises(ValueError, match=r'not finite.*take look="bfloat16"'):
        NIPPreprocessor.for_estimator(classifier, look="float16")


def test_what_is_refused(framework, classifier, nip):
    with pytest.raises(ValueError, match=r"Unknown look.*Allowed: float32, bfloat16, float16"):
        NIPPreprocessor.for_estimator(classifier, look="half")
    if framework == "tensorflow":
        with pytest.raises(ValueError, match=r"look='bfloat16' is for PyTorch.*mixed_precision"):
            NIPPreprocessor.for_estimator(classifier, look="bfloat16")
        with pytest.raises(ValueError, match="look='float16'"):
            nip.set_params(look="float16")
        assert nip.look == "float32"
