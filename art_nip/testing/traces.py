"""What a preprocessor leaves behind in its framework: nothing."""

from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.testing.assertions import Array, as_check, random_gradients, require
from art_nip.testing.frameworks import framework_state, natives


@as_check
def check_no_trace(preprocessor: Preprocessor, x: Array) -> None:
    """No gradient, hook, mode or weight changes, on the preprocessor's models or on anyone's."""
    before = [(thing, read, read(thing)) for thing, read in framework_state()]
    preprocessor(x)
    preprocessor.estimate_gradient(x, random_gradients(x.shape))
    for native in natives(preprocessor):
        native.forward(x)
        native.vector_jacobian_product(x, random_gradients(x.shape))
    changes = {
        f"{name} of a {type(thing).__name__}"
        for thing, read, state in before
        for name, value in read(thing).items()
        if state[name] != value
    }
    require(not changes, f"it changes {', '.join(sorted(changes))}")


CHECKS = (check_no_trace,)
