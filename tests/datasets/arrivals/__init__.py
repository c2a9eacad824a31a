"""Tests of what arrives."""
