"""Models of one's own: a file of weights, and the function that makes the model."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

from art_nip.utils.frameworks import code_of, model_framework
from art_nip.zoo.origins.base import Made, Origin, made_by
from art_nip.zoo.origins.given import check_arguments


@dataclass(frozen=True)
class Checkpoint(Origin):
    """A file of weights, of PyTorch (`state_dict`, also of safetensors) or Keras.

    Nothing in such a file says how images are standardised, so `mean` and `std` have to be given:
    0 and 1 if the model takes them as they are.

    :param name: the file.
    :param factory: "package.module:function", which returns the model, untrained; also a class, or
        "package.module:Class.method". Modules are also looked for in the working directory.
    :param arguments: of that function, by their names.
    :param entry: which entry of a PyTorch file holds the weights; None: the one that does.
    """

    _: KW_ONLY
    factory: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    entry: str | None = None

    key: ClassVar[str] = "checkpoint"

    def __post_init__(self) -> None:
        if isinstance(self.name, Path):
            self._set("name", str(self.name))
        super().__post_init__()
        module, _, function = str(self.factory).partition(":")
        if not (module and function):
            raise ValueError(
                f"factory={self.factory!r}; give the function that makes the model, as "
                '"package.module:function".'
            )
        if self.mean is None:
            raise ValueError(
                "A checkpoint does not say how its images are standardised: give mean and std, "
                "or mean: 0, std: 1 if the model takes them as they are."
            )
        if self.entry is not None and not isinstance(self.entry, str):
            raise TypeError(f"entry={self.entry!r}; give the name of an entry as text.")
        check_arguments(self.arguments)

    def _made(self) -> Made:
        path = Path(self.name)
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint: there is no file {self.name}.")
        function = self._function()
        with made_by(self, random=True):
            model = function(**self.arguments)
            framework = model_framework(model)
            code_of(__package__, framework).load_weights(model, path, self.entry)
        return Made(model, _declared_shape(model))

    def _function(self) -> Any:
        module_name, _, name = self.factory.partition(":")
        here = os.getcwd()
        if here not in sys.path:
            # As `python -m` does. It stays there, as the model's class may be imported later.
            sys.path.append(here)
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise ValueError(
                f"factory: there is no module {module_name!r}. Modules are looked for where Python "
                f"looks for them, and in {here}."
            ) from error
        try:
            function = attrgetter(name)(module)
        except AttributeError:
            function = None
        if not callable(function):
            raise ValueError(f"factory: {module_name} has no function {name!r}.")
        return function


def _declared_shape(model: Any) -> tuple[int, ...] | None:
    """Return the shape of images that a Keras model says it takes, if it does."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or None in shape[1:]:
        return None
    return shape[1:]
