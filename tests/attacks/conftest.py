"""What tests of several attacks need."""

import warnings

import pytest


@pytest.fixture
def quiet():
    """Let attacks that are made too short to succeed warn of it unheard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
