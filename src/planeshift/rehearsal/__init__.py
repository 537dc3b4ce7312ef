"""Rehearsals of a change on a lab: what is built, what is broken when, and what came of it. Pure.

`scale` makes a lab and two cloud files (before, after) of the declared ones; `faults` says what is broken at which step;
`account` and `report` say what came of it. `app.rehearse` carries it out.
"""
