"""Does the answer hold?

`retrieval` holds rankings against planted truth; `tail_patch` and `proponent_steps` take one more
step of training; `bank`, `effects`, `lds` and `removal` train the testbed again without groups of
examples; `stability` compares rankings; `leaderboard` puts methods side by side. Groups of
examples are arguments throughout.
"""
