"""The whole of an ART classifier as one model of its framework, for tools that know nothing of ART.

`classifier.model` is the network alone: without defences, and without mean and std. Foolbox,
AutoAttack or a training loop that is given it works on another function than ART predicts with.
"""

from __future__ import annotations

from typing import Any

from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator

from art_nip.utils.frameworks import code_of, framework_of


def as_module(classifier: Any, *, straight_through: bool = False, unit_images: bool = False) -> Any:
    """Return an ART classifier as a model of its framework, which gives what ART predicts.

    Images go through the preprocessing defences that ART applies when it predicts, in their order,
    then through the classifier's `preprocessing` of mean and std, then through the model. Outputs
    are the model's own (logits, if it gives these), and differentiable: outputs and gradients equal
    ART's `predict` and `loss_gradient`. Defences are those that the classifier has now; they and
    the model are shared with it, not copied: to train or to move the module trains or moves the
    classifier's model. `copy.deepcopy` makes a PyTorch module independent.

    :param classifier: a `PyTorchClassifier`, `TensorFlowV2Classifier`, or `KerasClassifier` in
        eager mode, defended or not.
    :param straight_through: whether defences that are written for NumPy, and so have no gradient,
        may be there. On the way back they count as ART counts them in `loss_gradient`: as their
        `estimate_gradient`, which is the identity unless a defence defines another.
    :param unit_images: whether the module takes images in [0, 1], and scales them to the range of
        `clip_values` itself. Tools that clip to [0, 1] without asking (AutoAttack, torchattacks,
        adv-lib) need this for a classifier of any other range.
    :return: for PyTorch a `torch.nn.Module`, in evaluation mode, which takes floating-point tensors
        of shape (N, *input_shape) and works in `DataParallel`; for TensorFlow a `keras.Model`,
        which runs eagerly, with `training=False` unless it is called with another. Both take images
        in the range of `clip_values`, unless `unit_images` is set.
    :raises TypeError: if it is no ART classifier, or one that predicts with more than one model.
    :raises ValueError: if a defence is not differentiable and `straight_through` is not set, if
        there are postprocessing defences (ART's gradients leave these out), or `unit_images` is set
        and there are no `clip_values`.
    """
    framework = framework_of(classifier)
    name = type(classifier).__name__
    if not isinstance(classifier, BaseEstimator):
        hint = (
            "a model alone has no defences to go with it: use it as it is, or wrap it in a "
            "PyTorchClassifier or TensorFlowV2Classifier first."
            if framework is not None
            else "give a PyTorchClassifier, TensorFlowV2Classifier or KerasClassifier."
        )
        raise TypeError(f"as_module takes an ART classifier, and was given a {name}; {hint}")
    if framework is None or not isinstance(classifier, ClassifierMixin):
        raise TypeError(
            f"as_module needs a classifier whose model it can call, and a {name} has none: give a "
            "PyTorchClassifier, TensorFlowV2Classifier or KerasClassifier."
        )
    if any(defence.apply_predict for defence in classifier.postprocessing_defences or []):
        raise ValueError(
            "The classifier has postprocessing defences, which change predictions but not ART's "
            "gradients, so no module can give both: make it of a classifier without them."
        )
    if unit_images and classifier.clip_values is None:
        raise ValueError(
            "unit_images=True needs the range of the images: give the classifier clip_values."
        )
    code = code_of("art_nip.estimators.module", framework)
    return code.module_of(classifier, straight_through, unit_images)
