"""The hospital: reads its own data, trains and tests the visiting model."""

import shared as shared  # before all that could import MONAI, as it says
