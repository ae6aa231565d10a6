"""A classifier that answers with what a retrieval makes of the model's answer and its evidence.

No image is changed: the classifier has another model, which takes images in the range that NIP
takes, standardises them itself, and gives scores of the kind that the first one gave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from art_nip.estimators import clones
from art_nip.utils.frameworks import code_of, framework_of

if TYPE_CHECKING:
    from art_nip.nip.preprocessor import NIPPreprocessor

FIXED = ("clip_values", "preprocessing")
"""What the new model depends on."""


class Answers:
    """A mixin for ART's classifiers: what NIP was fitted with stays as it was."""

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters as ART does.

        :raises ValueError: if they change how images are scaled.
        """
        changed = [name for name in FIXED if name in kwargs]
        if changed:
            raise ValueError(
                f"{' and '.join(changed)} cannot change on a classifier that answers with NIP's "
                "evidence, which was fitted on images as they are: set them on the undefended "
                "classifier, and fit a NIPPreprocessor for that."
            )
        super().set_params(**kwargs)  # type: ignore[misc]

    def fit(self, *arguments: Any, **keywords: Any) -> None:
        """Refuse: evidence belongs to the weights that it was fitted with."""
        raise NotImplementedError(
            "A classifier that answers with NIP's evidence cannot be trained: the evidence belongs "
            "to the weights that the model has now. Train the undefended classifier, fit a "
            "NIPPreprocessor for that, and attach it."
        )


def answering(nip: NIPPreprocessor, estimator: Any) -> Any:
    """Return a clone of an ART classifier whose model gives NIP's answers.

    :param nip: fitted for the classifier's model.
    :param estimator: the classifier; it stays as it is.
    """
    framework = framework_of(estimator)
    assert framework is not None
    other = code_of(__name__, framework).answering(nip, estimator)
    return clones.clone_with(Answers, other)
