"""The choice of class evidence: by name, of another classifier, of one's own."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from art_nip import NIPPreprocessor
from art_nip.nip.retrieval import (
    ClassEvidence,
    EstimatorEvidence,
    Evidence,
    EvidenceReader,
    ShallowEvidence,
    ViewEvidence,
)
from art_nip.testing import check_preprocessor
from art_nip.zoo import training
from art_nip.zoo.training import Recipe
from tests.helpers import make_classifier
from tests.nip.helpers import fitted_on, predictions

# The choice


def test_a_name_an_object_and_what_a_file_says_are_one(lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])

    def chosen(retrieval):
        return NIPPreprocessor.for_estimator(classifier, retrieval=retrieval).retrieval

    assert chosen("class") == chosen(ClassEvidence()) == chosen({"name": "class"})
    assert (
        chosen("class")
        == chosen(ClassEvidence("shallow"))
        == chosen(
            {"name": "class", "evidence": {"name": "shallow", "shrinkage": 0.03}, "steps": 40}
        )
    )
    layers = ["features.1", "features.3:input"]
    assert chosen(
        {"name": "class", "evidence": {"name": "shallow", "layers": layers}, "step": 0.1}
    ) == ClassEvidence(ShallowEvidence(tuple(layers)), step=0.1)
    view = {"name": "SpatialSmoothing", "window_size": 3}
    assert chosen(
        {"name": "class", "evidence": {"name": "views", "defences": [view]}}
    ) == ClassEvidence(ViewEvidence([view]))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"evidence": "shalow"}, ValueError, "Unknown evidence 'shalow'. Did you mean 'shallow'"),
        ({"evidence": 3}, TypeError, "evidence=3; give a name, one of 'shallow', 'views', 'graded"),
        ({"evidence": {"name": "views", "views": []}}, ValueError, "of evidence 'views' 'views'"),
        ({"steps": 0}, ValueError, "steps=0; give a whole number of at least 1"),
        ({"lead": 0}, ValueError, "lead=0; give a finite number above 0"),
        ({"step": float("nan")}, ValueError, "step=nan; give a finite number above 0"),
    ],
)
def test_a_wrong_parameter_is_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        ClassEvidence(**parameters)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"layers": "features.3"}, TypeError, "layers='features.3'; give a sequence of layers"),
        ({"layers": []}, TypeError, r"layers=\[\]; give a sequence"),
        ({"shrinkage": 0}, ValueError, "shrinkage=0; give a finite number above 0 and at most 1"),
    ],
)
def test_wrong_shallow_evidence_is_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        ShallowEvidence(**parameters)


def test_a_layer_that_is_not_there_is_refused(lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with pytest.raises(ValueError, match=r"'feature.3' is not in the model. The nearest: feat"):
        NIPPreprocessor.for_estimator(
            classifier, retrieval=ClassEvidence(ShallowEvidence(["features.0", "feature.3"]))
        )


# Another classifier


@pytest.fixture(scope="module")
def other_model(digits):
    """A small dense model of digits."""
    from torch import nn

    training.seed_weights("pytorch", 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    recipe = Recipe(epochs=3, batch_size=64, bfloat16=False)
    training.train(model, *digits["train"], recipe, verbose=False)
    return model.eval()


@pytest.mark.parametrize("probabilities", [False, True])
def test_another_classifier_decides(lenet, digits, other_model, attacked_digits, probabilities):
    from torch import nn

    model = nn.Sequential(other_model, nn.Softmax(1)) if probabilities else other_model
    other = make_classifier("pytorch", model)
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = fitted_on(classifier, digits["bank"], ClassEvidence(EstimatorEvidence(other)))
    x, y = attacked_digits
    found = predictions(classifier, nip(x)[0])
    assert np.array_equal(found, predictions(other, x))
    assert (found == y).mean() > (predictions(classifier, x) == y).mean() + 0.05
    check_preprocessor(nip, x[:4], skip=["check_deepcopy", "check_pickle"])


def test_a_nip_that_asks_another_classifier_is_not_saved(
    lenet, digits, other_model, attacked_digits, tmp_path
):
    other = make_classifier("pytorch", other_model)
    nip = fitted_on(
        make_classifier("pytorch", lenet["pytorch"]),
        digits["bank"],
        ClassEvidence(EstimatorEvidence(other)),
    )
    with pytest.raises(ValueError, match=r"cannot be saved: .* fit NIP anew with"):
        nip.save(tmp_path / "nip.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_classifier_that_does_not_fit_is_refused(lenet, other_model):
    classifier = make_classifier("tensorflow", lenet["tensorflow"])
    evidence = EstimatorEvidence(make_classifier("pytorch", other_model))
    with pytest.raises(ValueError, match=r"10 classes of images of shape \(1, 28, 28\); the"):
        NIPPreprocessor.for_estimator(classifier, retrieval=ClassEvidence(evidence))
    with pytest.raises(TypeError, match="takes an ART classifier; Sequential has no predict"):
        EstimatorEvidence(other_model)


# The seam: evidence of another kind


@dataclass(frozen=True)
class Always(Evidence):
    """Says the same class of every image."""

    name: ClassVar[str] = "always"
    label: int = 3

    def learn(self, context, images, labels):
        return {"seen": np.array([sum(len(batch) for batch in images()), len(labels)])}

    def reader(self, context):
        reader = AlwaysReader()
        reader.posterior = context.adapter.tensor(np.eye(10)[[self.label]])
        return reader


class AlwaysReader(EvidenceReader):
    def log_posterior(self, x, logits, maps):
        assert logits.shape == (len(x), 10)
        assert maps == []
        return self.posterior + x[:, :1, 0, 0] * 0


def test_evidence_of_ones_own(classifier, images):
    bank = tuple(part[:100] for part in images["bank"])
    nip = fitted_on(classifier, bank, ClassEvidence(Always()))
    assert nip._fitted.learned["seen"].tolist() == [len(nip.candidates)] * 2
    x = images["test"][0][:60]
    before, after = predictions(classifier, x), predictions(classifier, nip(x)[0])
    assert (before == 3).mean() < 0.2
    assert (after == 3).mean() > 0.6  # a stroke of light on black is not always enough
    assert np.array_equal(nip(x)[0][before == 3], x[before == 3])
