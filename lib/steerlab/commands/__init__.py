"""The larger commands of `steerlab`, one module each; nothing heavy is imported before one runs."""
