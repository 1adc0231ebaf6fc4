"""The tiny world of the trainings."""

from tests.training.conftest import world as world
