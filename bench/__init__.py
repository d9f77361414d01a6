"""softlane beside its peers and beside the machine's own limit: `python -m bench`.

Importing this package imports no numerical library: a worker has to pin its process before that.
"""
