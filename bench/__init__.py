"""Measuring a served medical vision-language model: items, arms, answer parsing, scores, statistics, reports."""
