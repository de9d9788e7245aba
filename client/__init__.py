"""The hospital: reads its own data, trains and tests the visiting model."""
