"""How many examples of a property are tried, as a share of the profile's (tests/conftest.py)."""

from hypothesis import HealthCheck, settings


def examples(share: float = 1.0, *, fixture: bool = False) -> settings:
    """Fewer where each is dear, more where each is cheap and much hangs on it.

    `fixture`: the examples may share what a fixture made for their test.
    """
    profile = settings()
    allowed = [HealthCheck.function_scoped_fixture] if fixture else []
    return settings(
        max_examples=max(2, round(share * profile.max_examples)),
        suppress_health_check=[*profile.suppress_health_check, *allowed],
    )
