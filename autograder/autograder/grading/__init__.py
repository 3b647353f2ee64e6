"""From submissions to marks: the run in the sandbox, the record in the gradebook, the page."""
