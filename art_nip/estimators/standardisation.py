"""The mean and standard deviation that an ART estimator puts before its model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Standardisation:
    """The estimator's own `preprocessing=(mean, std)`, as arrays that broadcast to a batch."""

    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    @classmethod
    def of(cls, estimator: Any) -> "Standardisation | None":
        """Read it off an ART estimator; None if there is none, or it changes nothing.

        :raises TypeError: if the estimator's `preprocessing` is anything but (mean, std).
        """
        from art.preprocessing.standardisation_mean_std.utils import broadcastable_mean_std

        preprocessing = estimator.preprocessing
        if preprocessing is None:
            return None
        if not type(preprocessing).__name__.startswith("StandardisationMeanStd"):
            raise TypeError(
                f"The estimator's preprocessing is {type(preprocessing).__name__}; NIP can look "
                "through preprocessing=(mean, std) only. Put other steps into the model, or into "
                "preprocessing_defences before NIP."
            )
        batch = np.empty((1, *estimator.input_shape), np.float32)
        found = cls(
            *broadcastable_mean_std(
                batch, np.asarray(preprocessing.mean), np.asarray(preprocessing.std)
            )
        )
        # ART has 0 and 1 for none.
        return None if np.all(found.mean == 0) and np.all(found.std == 1) else found
