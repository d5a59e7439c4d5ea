"""What we promise to others: the two kinds, their conditions and reasons, and the worker's wire types."""
