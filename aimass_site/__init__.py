"""Wires the apps together: settings, urls, navigation. No logic lives here."""
