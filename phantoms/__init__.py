"""Digital phantoms of MS patients: eight simulated hospitals and others like them, written as BIDS data sets.

from phantoms import PhantomSettings, make_hospital

folder = make_hospital("milan", PhantomSettings(spacing=2.0), root=Path("simulated"))
"""

from phantoms.centers import CENTERS, CenterProfile
from phantoms.hospitals import hospital_folder, make_hospital, subject_count
from phantoms.settings import PhantomSettings

__all__ = [
    "CENTERS",
    "CenterProfile",
    "PhantomSettings",
    "hospital_folder",
    "make_hospital",
    "subject_count",
]
