"""Prepares data sets: problems, correct and wrong solutions, rewards found by executing tests."""
