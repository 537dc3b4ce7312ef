"""What the edge's log says of the traffic, and whether the share that moved does as well as the share that stayed.

Pure: no clock, no file, no socket; lines, counters and the time come in as arguments.
"""
