"""Tests of the hidden tests: right answers, the mistake bank and automatic mutants."""
