"""The coordinator: calls the roll, schedules the stages, keeps the results."""
