"""Cleaning of text: normal form, rules with reasons, and a quality classifier that is bootstrapped with a judge."""
