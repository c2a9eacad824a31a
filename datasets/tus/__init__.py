"""Uploads that go on where they stopped: the tus 1.0 protocol (https://tus.io), in pieces that are durable before the answer.

A Transfer is a file on its way; whole, it becomes an Upload (datasets.intake) like any other. See ADR 21.
"""
