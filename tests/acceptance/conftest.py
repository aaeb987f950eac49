"""A study that ends when a test says so, beside the shipped ones."""

from tests.faults.conftest import field as field
