"""The coordinator: calls the roll, schedules the stages, keeps the results."""

import shared as shared  # before all that could import MONAI, as it says
