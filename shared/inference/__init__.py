"""What the facts say and how surely. Pure arithmetic over counts; docs/results.md has every definition and its proof.

Whatever cannot be said yet is a `NotEnough`, never a number.
"""
