"""The red team: what a coordinator that lies, or is only curious, gets out of hospitals.

- attacks.py: the three attacks, as functions of an `Ask`, the coordinator's way to the hospitals (hospitals.py). That
  they work is shown on simulated nodes, which do all that they are asked; a hospital that protects itself lets them end
  with `Refused`: `with pytest.raises(Refused, match=...): read_own_patch(deployed(study), ...)`.
- variants.py: lies, each in one message of an honest course (course.py), of which a hospital's answer is refused,
  ignored or obeyed. test_variants.py lists those that are still obeyed.
- honest_leakage.py: what honest models give away, by inversion.py; its figures stand in docs/threat-model.md.
"""
