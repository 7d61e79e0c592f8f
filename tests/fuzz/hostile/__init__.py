"""Hostile files and arguments, and forked processes that meet them."""
