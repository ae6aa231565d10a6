"""The file of a fitted NIP: fitting straight into it, saving, and loading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from art_nip.data.batches import Batches
from art_nip.estimators.base import EstimatorAdapter
from art_nip.nip import bank_file, fitting
from art_nip.nip.bank import CodesInMemory, Fitted
from art_nip.nip.parameters import Parameters
from art_nip.nip.partner import changed_since, check_images_alike
from art_nip.nip.retrieval.registry import check_loadable
from art_nip.utils.files import clear_leftovers, destination
from art_nip.utils.warned import warn

if TYPE_CHECKING:
    from art_nip.nip.preprocessor import NIPPreprocessor

FINGERPRINT_LENGTH = 64


def fit_to_file(
    path: Path, adapter: EstimatorAdapter, parameters: Parameters, batches: Batches
) -> Fitted:
    """Fit into a file; the result is mapped from it.

    :param path: the file; an existing one is replaced when all is written.
    :param adapter: the model.
    :param parameters: the parameters of NIP.
    :param batches: see :func:`art_nip.nip.fitting.fit`.
    :raises FileNotFoundError: if the file's folder does not exist.
    :raises ValueError: if a file cannot hold the retrieval, or as of `fitting.fit`.
    """
    path = place_for(path)
    check_loadable(parameters.retrieval)
    if not parameters.retrieval.uses_candidates:
        codes = CodesInMemory(adapter.input_shape, parameters.bank_dtype, 0)
        fitted = fitting.fit(adapter, parameters, batches, codes, path.parent)
        bank_file.save(path, fitted.arrays(), _metadata(adapter, parameters, fitted.fingerprint))
        return _mapped(bank_file.load(path)[0], adapter, parameters, fitted.fingerprint)
    room = _metadata(adapter, parameters, "0" * FINGERPRINT_LENGTH)
    with bank_file.growing(path, adapter.input_shape, parameters.bank_dtype, room) as file:
        fitted = fitting.fit(adapter, parameters, batches, file, path.parent)
        metadata = _metadata(adapter, parameters, fitted.fingerprint)
        arrays = file.finish(fitted.arrays(), metadata)
    return _mapped(arrays, adapter, parameters, fitted.fingerprint)


def place_for(path: Path) -> Path:
    """Return the file to write for a path; raise an error unless it can be written.

    What is left beside it of fits that were killed is removed.

    :raises FileNotFoundError: if its folder does not exist.
    :raises ValueError: if something is there that is no file.
    """
    target = destination(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {target.parent} to write {target.name} into.")
    clear_leftovers(target)
    return target


def save(path: Path, adapter: EstimatorAdapter, parameters: Parameters, fitted: Fitted) -> None:
    """Save a fit; see :meth:`art_nip.NIPPreprocessor.save`."""
    path = place_for(path)
    metadata = _metadata(adapter, parameters, fitted.fingerprint)
    check_loadable(parameters.retrieval)
    changed = changed_since(fitted, adapter, parameters.clip_values)
    if changed:
        warn(f"{changed} The file is for the model of then.")
    bank_file.save(path, fitted.arrays(), metadata)


def load(path: Path, estimator: Any, make: Callable[..., NIPPreprocessor]) -> NIPPreprocessor:
    """Load a fit; see :meth:`art_nip.NIPPreprocessor.load`.

    :param path: the file.
    :param estimator: an ART classifier that NIP can look into.
    :param make: makes an unfitted NIP of an estimator and parameters.
    """
    arrays, metadata = bank_file.load(path)
    model = metadata["model"]
    if tuple(model["input_shape"]) != tuple(estimator.input_shape):
        raise ValueError(
            f"{path} was fitted on images of shape {tuple(model['input_shape'])}; the "
            f"classifier takes {tuple(estimator.input_shape)}. Fit anew."
        )
    fitted_layer = f"{model['layer']} with {model['n_neurons']} neurons"
    try:
        nip = make(estimator, **metadata["parameters"])
        adapter, parameters = nip._adapter, nip.parameters
        check_images_alike(adapter, parameters.clip_values, estimator)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} was fitted on layer {fitted_layer}, and does not suit this classifier: {error}"
        ) from error
    if adapter.n_neurons != model["n_neurons"]:
        raise ValueError(
            f"{path} was fitted on layer {fitted_layer}; in this classifier it is "
            f"{nip.layer_name} with {adapter.n_neurons}. Fit anew."
        )
    if adapter.fingerprint() != model["fingerprint"]:
        raise ValueError(
            f"{path} was fitted on other weights than this classifier has, or with another "
            "preprocessing of mean and std. Give the classifier these, or fit anew."
        )
    try:
        fitted = _mapped(arrays, adapter, parameters, model["fingerprint"])
        nip._adopt(fitted)
        nip._check_learned()
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}. {bank_file.FIT_ANEW}") from error
    changed = changed_since(fitted, adapter, parameters.clip_values)
    if changed:
        raise ValueError(f"{path} does not suit this classifier. {changed}")
    return nip


def _mapped(
    arrays: Mapping[str, npt.NDArray[Any]],
    adapter: EstimatorAdapter,
    parameters: Parameters,
    fingerprint: str,
) -> Fitted:
    return Fitted.of_arrays(
        arrays,
        fingerprint=fingerprint,
        bank_dtype=parameters.bank_dtype if parameters.retrieval.uses_candidates else None,
        n_neurons=adapter.n_neurons,
        input_shape=adapter.input_shape,
        nb_classes=adapter.nb_classes,
    )


def _metadata(
    adapter: EstimatorAdapter, parameters: Parameters, fingerprint: str
) -> dict[str, Any]:
    return {
        "parameters": parameters.as_dict(),
        "model": {
            "fingerprint": fingerprint,
            "layer": str(adapter.layer),
            "n_neurons": adapter.n_neurons,
            "input_shape": adapter.input_shape,
        },
        "versions": {
            "art_nip": version("art-nip"),
            "art": version("adversarial-robustness-toolbox"),
            "framework": adapter.framework,
        },
    }
