"""A fitted NIP behind the other defences of a classifier, its own or one of a copy of the model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from art_nip.estimators import clones
from art_nip.nip.answering import answering
from art_nip.nip.partner import changed_since, check_images_alike
from art_nip.nip.shared_pass import sharing

if TYPE_CHECKING:
    from art_nip.nip.preprocessor import NIPPreprocessor


def attached(nip: NIPPreprocessor, estimator: Any) -> Any:
    """Return a new classifier with NIP; see :meth:`art_nip.NIPPreprocessor.attach`."""
    check_images_alike(nip._adapter, nip.parameters.clip_values, estimator)
    if nip._adapter.unwrapped(estimator.model) is not nip._adapter.model:
        nip = _moved_to(nip, estimator)
    elif nip._fitted:
        changed = changed_since(nip._fitted, nip._adapter, nip.parameters.clip_values)
        if changed:
            raise ValueError(changed)
    if nip.retrieval.answers:
        # A copy: graphs of TensorFlow hold the weight of now.
        defended = answering(copy.copy(nip), estimator)
        defended.clone_for_refitting = _refuse_to_clone
        return defended
    defended = sharing(clones.defended(estimator, nip), nip)
    defended.clone_for_refitting = _refuse_to_clone
    return clones.clone_with(KeepsScale, defended)


class KeepsScale:
    """A mixin for ART's classifiers: images stay to the model what they are to its NIP."""

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters as ART does; all of them, or none if one is not allowed.

        :raises ValueError: if NIP takes images in another range, or by another mean and std.
        """
        from art_nip.nip.preprocessor import NIPPreprocessor

        this: Any = self
        before = {**vars(this), "preprocessing_operations": [*this.preprocessing_operations]}
        try:
            super().set_params(**kwargs)  # type: ignore[misc]
            for defence in this.preprocessing_defences or []:
                if isinstance(defence, NIPPreprocessor):
                    check_images_alike(defence._adapter, defence.parameters.clip_values, this)
        except BaseException:
            vars(this).clear()
            vars(this).update(before)
            raise


def _moved_to(nip: NIPPreprocessor, estimator: Any) -> NIPPreprocessor:
    """Return a NIP of the same fit for a classifier of a copy of the model."""
    refused = ValueError(
        "This NIPPreprocessor looks at another model than the classifier has. Fit one with "
        "NIPPreprocessor.for_estimator(classifier), or load a saved one with load(path, "
        "classifier)."
    )
    if nip._fitted is None or tuple(estimator.input_shape) != nip._adapter.input_shape:
        raise refused
    try:
        other = type(nip)(
            estimator,
            apply_fit=nip.apply_fit,
            apply_predict=nip.apply_predict,
            **nip.parameters.as_keywords(),
        )
    except (TypeError, ValueError) as error:
        raise refused from error
    if changed_since(nip._fitted, other._adapter, other.parameters.clip_values):
        raise refused
    other._adopt(nip._fitted)
    return other


def _refuse_to_clone() -> Any:
    raise NotImplementedError(
        "A classifier defended by NIP cannot be cloned for refitting: its candidates belong to the "
        "weights that it has now. Clone and refit the undefended classifier, fit a NIPPreprocessor "
        "for that, and attach it."
    )
