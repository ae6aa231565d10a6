"""Evidence of views: all of them, and one by how sure the model is."""

import numpy as np
import pytest
from art.defences.preprocessor import JpegCompression, SpatialSmoothing
from hypothesis import given
from hypothesis import strategies as st

from art_nip import NIPPreprocessor
from art_nip.estimators.pass_counting import counting
from art_nip.nip.retrieval import (
    ClassEvidence,
    GradedViewEvidence,
    ViewEvidence,
)
from art_nip.nip.retrieval.evidence.graded_views import least_lead
from art_nip.nip.retrieval.evidence.probabilities import lead, softmax
from art_nip.testing import check_preprocessor
from tests.helpers import make_classifier
from tests.nip.helpers import fitted_on, predictions, verdicts


def test_views_are_the_mean_over_preprocessors(framework, classifier, images, attacked):
    x = attacked[0]
    channels_first = framework == "pytorch"
    nip = fitted_on(
        classifier, tuple(part[:100] for part in images["bank"]), ClassEvidence("views")
    )
    assert not nip._fitted.learned
    posterior = 0
    for defence in (
        SpatialSmoothing(2, channels_first, clip_values=(0, 1)),
        JpegCompression((0, 1), 75, channels_first),
    ):
        logits = classifier.predict(defence(x.copy())[0])
        posterior = posterior + softmax(logits.astype(np.float64)) / 2
    predicted, classes = verdicts(nip, x)
    assert np.array_equal(classes, posterior.argmax(1))
    assert (classes != predicted).sum() > 5
    assert np.array_equal(predictions(classifier, nip(x)[0]), classes)


def test_views_conform_and_are_saved(classifier, images, attacked, tmp_path):
    retrieval = ClassEvidence(
        ViewEvidence([{"name": "SpatialSmoothing", "window_size": 3}, {"name": "JpegCompression"}])
    )
    bank = tuple(part[:150] for part in images["bank"])
    nip = fitted_on(classifier, bank, retrieval)
    check_preprocessor(nip, attacked[0][:2])
    nip.save(tmp_path / "nip.safetensors")
    loaded = NIPPreprocessor.load(tmp_path / "nip.safetensors", classifier)
    assert loaded.retrieval == retrieval
    assert np.array_equal(loaded(attacked[0])[0], nip(attacked[0])[0])


def test_views_of_images_that_left_the_range(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = fitted_on(classifier, digits["bank"], ClassEvidence("views"))
    x = nip._adapter.tensor(digits["test"][0][:4] - 0.1)
    assert nip._adapter.numpy(nip.forward(x)[0]).min() >= 0


@pytest.mark.parametrize(
    ("defences", "error", "message"),
    [
        ([{"name": "SpatialSmothing"}], ValueError, "'SpatialSmothing'. Did you mean 'SpatialS"),
        ([{"window_size": 3}], ValueError, "Unknown ART preprocessor"),
        ([{"name": "SpatialSmoothing", "window": 3}], ValueError, "'window'. Did you mean 'windo"),
        ([{"name": "JpegCompression", "clip_values": 1}], ValueError, "'clip_values'"),
        ([], TypeError, r"defences=\[\]; give a sequence of mappings"),
        (["SpatialSmoothing"], TypeError, "give a sequence of mappings"),
    ],
)
def test_wrong_views_are_refused(defences, error, message):
    with pytest.raises(error, match=message):
        ViewEvidence(defences)


def test_a_value_that_art_refuses_is_refused_at_once(lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    evidence = ViewEvidence([{"name": "SpatialSmoothing", "window_size": 0}])
    with pytest.raises(ValueError, match="window size must be a positive integer"):
        NIPPreprocessor.for_estimator(classifier, retrieval=ClassEvidence(evidence))


FINE = {"name": "JpegCompression", "quality": 90}
COARSE = {"name": "SpatialSmoothing", "window_size": 3}


def test_each_image_gets_one_view_by_how_sure_the_model_is(classifier, images, attacked):
    x, y = attacked[0], attacked[1]
    evidence = GradedViewEvidence([FINE, COARSE], budget=0.02)
    nip = fitted_on(classifier, images["bank"], ClassEvidence(evidence))
    (sure,) = nip._fitted.learned["leads"]
    logits = classifier.predict(x)
    leads = lead(logits, logits.argmax(1))
    assert 5 < (leads >= sure).sum() < len(x) - 5
    told = {"channels_first": classifier.channels_first, "clip_values": (0.0, 1.0)}
    fine = predictions(classifier, JpegCompression(quality=90, **told)(x.copy())[0])
    coarse = predictions(classifier, SpatialSmoothing(window_size=3, **told)(x.copy())[0])
    assert (fine != coarse).sum() > 5
    expected = np.where(leads >= sure, coarse, fine)
    predicted, classes = verdicts(nip, x)
    assert np.array_equal(classes, expected)
    assert np.array_equal(predictions(classifier, nip(x)[0]), expected)
    assert (expected == y).sum() > (predicted == y).sum()


def test_a_coarse_view_costs_what_the_budget_allows(classifier, images):
    x, y = images["bank"]
    right = predictions(classifier, x) == y
    x, y = x[right], y[right]
    told = {"channels_first": classifier.channels_first, "clip_values": (0.0, 1.0)}
    wrong = predictions(classifier, SpatialSmoothing(window_size=3, **told)(x.copy())[0]) != y
    leads = lead(classifier.predict(x), y)
    allowed = 0.02 * len(x)
    assert wrong.sum() > allowed + 1
    evidence = GradedViewEvidence([FINE, COARSE, COARSE], budget=0.02)
    first, second = fitted_on(classifier, (x, y), ClassEvidence(evidence))._fitted.learned["leads"]
    assert first == second
    assert 0 < wrong[leads >= first].sum() <= allowed


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30),
    st.floats(0, 10),
)
def test_the_least_lead_is_the_least(images, allowed):
    leads = np.float32([each[0] + place / 100 for place, each in enumerate(images)])
    wrong = np.array([each[1] for each in images])
    found = least_lead(leads, wrong, allowed)
    assert wrong[leads >= found].sum() <= allowed
    below = leads[leads < found]
    if len(below):
        assert wrong[leads >= below.max()].sum() > allowed


def test_graded_views_conform_and_are_saved(classifier, images, attacked, tmp_path):
    retrieval = ClassEvidence(GradedViewEvidence([FINE, COARSE], budget=0.02))
    nip = fitted_on(classifier, tuple(part[:150] for part in images["bank"]), retrieval)
    check_preprocessor(nip, attacked[0][:2])
    nip.save(tmp_path / "nip.safetensors")
    loaded = NIPPreprocessor.load(tmp_path / "nip.safetensors", classifier)
    assert loaded.retrieval == retrieval
    assert np.array_equal(loaded(attacked[0])[0], nip(attacked[0])[0])


def test_graded_views_cost_one_pass_where_they_agree(classifier, images):
    nip = fitted_on(classifier, images["bank"], ClassEvidence("graded views"))
    x = images["test"][0][:40]
    predicted, classes = verdicts(nip, x)
    agreed = x[predicted == classes]
    with counting(classifier) as passes:
        nip(agreed)
    assert (passes.forward, passes.backward) == (2 * len(agreed), 0)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"defences": [{"name": "JpegCompresion"}]}, ValueError, "Did you mean 'JpegCompression'"),
        ({"defences": "JpegCompression"}, TypeError, "defences='JpegCompression'; give a sequence"),
        ({"defences": [FINE]}, ValueError, "give two views or more, or take ViewEvidence"),
        ({"budget": -1}, ValueError, "budget=-1; give a number from 0 to 1"),
        ({"budget": None}, ValueError, "budget=None; give a number"),
    ],
)
def test_wrong_graded_views_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        GradedViewEvidence(**parameters)


def test_a_preprocessor_of_training_is_no_view(lenet):
    evidence = {"name": "views", "defences": [{"name": "GaussianAugmentation"}]}
    with pytest.raises(ValueError, match="changes images in training only"):
        NIPPreprocessor.for_estimator(
            make_classifier("pytorch", lenet["pytorch"]),
            retrieval={"name": "class", "evidence": evidence},
        )
