"""The house of the API's tests serves here, too."""

from tests.api.conftest import house

__all__ = ["house"]
