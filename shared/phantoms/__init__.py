"""Digital phantoms of MS patients: anatomy, lesions and scanners of hospitals that do not exist."""
