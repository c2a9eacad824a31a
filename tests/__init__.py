"""The tests, one folder an app."""
