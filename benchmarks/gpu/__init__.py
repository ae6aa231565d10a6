"""What a GPU answers about art-nip, in one call of at most ten minutes.

    python -m benchmarks.gpu --json docs/results/gpu/NAME.json [--seconds 540] [--only predict,bank]
    python -m benchmarks.gpu --tiny            # all rows on a CPU, for their form and not the time

A question is a file here: a generator of rows, each with a name and a function that measures it. A
row is printed and written as soon as it is there, so a call that is cut off leaves what it had; a
row that fails keeps its error, and one that has no time left says so.

It needs PyTorch, and no TensorFlow, data or weights: models have random weights and images are
noise, which changes no time. For a machine without a network, save two wheels where there is one,
and install them there, with nothing that they ask for:

    pip download --no-deps -d wheels adversarial-robustness-toolbox==1.20.1 array-api-compat==1.16.0
    pip install --no-index --no-deps --target site wheels/*.whl
    PYTHONPATH=site:. python -m benchmarks.gpu --json gpu.json

What else is imported is PyTorch, NumPy, SciPy, scikit-learn (with joblib, threadpoolctl,
cloudpickle and narwhals), Pillow, safetensors, tqdm, packaging, setuptools and six: what the
machine lacks of these is one more wheel, for its version of Python (`--only-binary=:all:
--python-version 3.12 --platform manylinux_2_28_x86_64`).

An H100 answered all in 147 seconds: docs/results/gpu has its rows, and what they say.
"""
