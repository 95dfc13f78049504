"""The read path: recall (fan out, deadline, degrade), ranking, recent context, packing a token budget."""
