"""A package, so that what the tests share is imported by one name: `from tests.echo import Echo`."""
