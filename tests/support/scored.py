"""Test scores by the handful, where a test is not about the scores."""

from shared.metrics.scores import Scores
from shared.wire.headers import CaseScore

SCORES = tuple(Scores.model_fields)
SHARES = tuple(name for name in SCORES if not name.endswith(("_ml", "_mm")))


def case_score(subject: str = "s", contrast: str = "FLAIR", **scores: float) -> CaseScore:
    """One image's scores: each share a half and each amount 3 unless given."""
    plain = {name: 0.5 if name in SHARES else 3.0 for name in SCORES}
    return CaseScore.model_validate({"subject": subject, "contrast": contrast} | plain | scores)
