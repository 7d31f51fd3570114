"""The apps of the API's tests serve here, too."""

from tests.api.conftest import api

__all__ = ["api"]
