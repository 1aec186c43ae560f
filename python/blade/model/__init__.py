"""Helpers for the kinds of models that Blade optimizes."""
