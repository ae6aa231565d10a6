"""Neuron-importance masking: a class is decided by the neurons that matter to it, and by no others.

After IG-Defense, which is interpretability-guided: Kulkarni and Weng, "Interpretability-Guided
Test-Time Adversarial Defense", ECCV 2024, https://arxiv.org/abs/2409.15190.
"""

import inspect
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.validation import check_images, check_number, check_whole, class_indices, numeric


def importance_masked(
    classifier: Any,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    layer: str = "auto",
    keep: float = 0.1,
    sharpness: float = 100.0,
    batch_size: int = 64,
) -> Any:
    """Return a classifier that masks the neurons that do not matter to what it is about to say.

    It runs the model twice. The first pass gives a class; in the second, whose scores are returned,
    the neurons of one layer are multiplied by that class's mask, zeros and ones, learnt from benign
    images. The thought: an attack raises neurons that matter to the class it makes for, and lowers
    those of the true one; without the others, it has less to raise.

    From the paper: the two passes, a mask for each class that keeps its most important neurons, in
    the layer before the classifying one, and a first pass that chooses the mask softly, by the
    softmax of `sharpness` × logits, so that gradients go through the choice. `keep` is that of its
    script for ResNet-18, 50 neurons of 512.

    Our choices: the paper measures importance by leaving a neuron out, or by what CLIP says that it
    sees; here it is |∂y_c/∂φ · φ| with y_c the logit, the mean over images of class c: what leaving
    it out changes to first order, and exactly where only one dense layer follows. Neurons are
    single values, where the paper masks whole channels of convolutional layers. The first pass gets
    no noise, as it does in the paper's script.

    What to expect: the class of the first pass chooses the mask, and so has the second one on its
    side. The paper adds a few points to adversarially trained models. On GTSRB's ResNet-20, trained
    without, no image that FGSM or PGD had got through came back, and one in eleven of DeepFool's.

    ART's attacks go through both passes. The model is shared with the given classifier and left as
    it is; train it before, not through this one.

    :param classifier: an ART `PyTorchClassifier` whose model gives logits. Its `preprocessing` of
        (mean, std) and its defences are kept.
    :param x: benign images, shape (N, *input_shape), in the range of its clip values, as the model
        will receive them (after the classifier's defences). Those that the model classifies wrongly
        are left out.
    :param y: their classes, shape (N,), or one-hot, shape (N, nb_classes).
    :param layer: "auto" (the one between the convolutional and the dense part), or a
        layer as `NIPPreprocessor` takes it.
    :param keep: share of neurons that a mask keeps, above 0, at most 1; rounded to whole neurons,
        at least one.
    :param sharpness: how sharply the first pass chooses, above 0.
    :param batch_size: how many of these images are looked at together.
    :return: an ART classifier of the same class, for `Benchmark` to take as a trained defence.
    :raises TypeError: if it is no `PyTorchClassifier`, or images are no numbers.
    :raises ValueError: if a parameter is not allowed, images or labels are not as above, the model
        gives probabilities or has no such layer, or no image of a class is classified correctly.
    """
    from art.estimators.classification import PyTorchClassifier

    if not isinstance(classifier, PyTorchClassifier):
        raise TypeError(
            "Importance masking changes what a PyTorch model computes, and "
            f"{type(classifier).__name__} has none: give a PyTorchClassifier of ART."
        )
    check_number("keep", keep, low=1e-6, high=1)
    check_number("sharpness", sharpness, low=1e-6)
    check_whole("batch_size", batch_size, least=1)
    from art_nip.defences.masked_module import MaskedModule
    from art_nip.estimators.pytorch import PyTorchAdapter

    adapter = PyTorchAdapter(classifier, layer, "logit")
    images = numeric(x)
    check_images(images, adapter.input_shape, classifier.clip_values)
    importance = class_importance(
        adapter, images, class_indices(y, len(images), adapter.nb_classes), batch_size
    )
    module = MaskedModule(adapter.model, adapter.layer, masks(importance, keep), sharpness)
    known = inspect.signature(type(classifier)).parameters
    parameters = {name: each for name, each in classifier.get_params().items() if name in known}
    return type(classifier)(**{**parameters, "model": module, "optimizer": None})


def class_importance(
    adapter: Any, x: npt.NDArray[np.float32], y: npt.NDArray[np.int64], batch_size: int
) -> npt.NDArray[np.float32]:
    """Return how much each neuron matters to each class, float32, shape (nb_classes, n).

    :param adapter: tells neuron influence; see :class:`art_nip.estimators.base.EstimatorAdapter`.
    :param x: benign images.
    :param y: their classes.
    :param batch_size: how many are looked at together.
    :raises ValueError: if no image of a class is classified correctly.
    """
    total = np.zeros((adapter.nb_classes, adapter.n_neurons))
    counts = np.zeros(adapter.nb_classes, int)
    for start in range(0, len(x), batch_size):
        images, labels = (
            adapter.tensor(x[start : start + batch_size]),
            y[start : start + batch_size],
        )
        logits, _ = adapter.logits_and_activations(images, ())
        right = adapter.numpy(logits).argmax(axis=1) == labels
        # Of the predicted class, which is the true one then.
        influence = adapter.numpy(adapter.influence(images[right]))
        np.add.at(total, labels[right], np.abs(influence))
        np.add.at(counts, labels[right], 1)
    if missing := np.flatnonzero(counts == 0).tolist():
        raise ValueError(
            f"No image of the classes {', '.join(map(str, missing))} is classified correctly; give "
            "more benign images, some of each class."
        )
    return (total / counts[:, None]).astype(np.float32)


def masks(importance: npt.NDArray[np.float32], keep: float) -> npt.NDArray[np.float32]:
    """Return zeros and ones, ones for the most important neurons of each class, shape as given.

    :param importance: shape (nb_classes, n).
    :param keep: share of the n neurons; at least one is kept.
    """
    kept = max(1, round(keep * importance.shape[1]))
    most = np.argsort(-importance, axis=1, kind="stable")[:, :kept]
    chosen = np.zeros_like(importance)
    np.put_along_axis(chosen, most, 1, axis=1)
    return chosen
