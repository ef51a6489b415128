"""What `train` and the in-process back end share: opening checkpoints, turning texts into ids, decoding and scoring with shared prefixes.

Importing this package loads no torch; `digest` and `rendering` never do, the other modules do.
"""
