"""From an LMS download to submissions: who handed in what, when, and which attempt counts."""
